"""Writes stored audio to files, for tools that read manifests but not data sets."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote

import soundfile

from overlap.files import replacing

from .audio import AudioError
from .manifest import Utterance
from .stored_audio import StoredAudio


def extract_audio(utterances: Iterable[Utterance], folder: str | Path) -> list[Utterance]:
    """Write audio that is stored inside a data set to files, unchanged, one for each utterance.

    Args:
        utterances: Any; those whose audio has a path are returned unchanged.
        folder: Where to write files named after ids, such as `a%2F1.flac` for `a/1`; created if missing.

    Returns:
        The utterances, all with paths, so that :func:`write_manifest` can write them.

    Raises:
        AudioError: Audio in no format of libsndfile.
    """
    folder = Path(folder).absolute()
    return [
        replace(utterance, audio=_extracted(utterance, utterance.audio, folder))
        if isinstance(utterance.audio, StoredAudio)
        else utterance
        for utterance in utterances
    ]


def _extracted(utterance: Utterance, audio: StoredAudio, folder: Path) -> Path:
    try:
        suffix = soundfile.info(audio.open()).format.lower()
    except soundfile.SoundFileError as error:
        raise AudioError(
            f"utterance {utterance.id!r} ({audio}): cannot be opened ({error}); leave the row out"
        ) from error
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{quote(utterance.id, safe='')}.{suffix}"
    with replacing(path, sync=False) as temporary:
        temporary.write_bytes(audio.open().read())
    return path
