"""Names of data sets in recipes and commands: on the Hugging Face Hub, or in a folder that its library reads.

``hf:NAME[:CONFIG][:SPLIT][?OPTIONS]``, for instance::

    hf:openslr/librispeech_asr:clean:train.100
    hf:mozilla-foundation/common_voice_17_0:en:test?language=English
    hf:google/fleurs:de_de:train[:10%]?text_column=raw_transcription&revision=refs/convert/parquet
    hf:data/saved?id_column=file

NAME is a Hub name, a folder of Parquet or other files that ``datasets.load_dataset`` reads, or one written by
``save_to_disk``; folders are relative to the recipe, or to where a command runs. A single part after the name is the
split, of two the first is the configuration; only a folder with one split can go without. Options are the keyword
arguments of :func:`distill.utterances_from`, and ``revision``.
"""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import parse_qsl, quote

from ..manifest import ManifestError

PREFIX = "hf:"
OPTIONS = ("audio_column", "text_column", "id_column", "language_column", "language", "context_column", "revision")

# A split may be sliced, as in train[:10%]; a folder may begin with a drive, as in C:\data.
_PARTS = re.compile(
    r"(?P<name>(?:[A-Za-z]:[\\/])?[^:?]+)(?::(?P<config>[^:\[\]]+))??(?::(?P<split>[^:\[\]]+(?:\[.*\])?))?"
)


@dataclass(frozen=True)
class DatasetReference:
    """A data set as a recipe names it.

    Attributes:
        name: Hub name or folder.
        config: Configuration (subset), if it has several.
        split: Split, which may be sliced; None only for a folder with one split.
        options: Columns, language and revision.
    """

    name: str
    config: str | None
    split: str | None
    options: dict[str, str]

    @classmethod
    def parse(cls, text: str) -> DatasetReference:
        """Read a reference.

        Raises:
            ManifestError: It is not of the form described above, or has an unknown option.
        """
        body, _, query = text.removeprefix(PREFIX).partition("?")
        match = _PARTS.fullmatch(body)
        if not match:
            raise ManifestError(f"{text}: not a data set; write hf:NAME:SPLIT or hf:NAME:CONFIG:SPLIT")
        try:
            options = dict(parse_qsl(query, strict_parsing=bool(query)))
        except ValueError as error:
            raise ManifestError(f"{text}: {error}; write options as ?text_column=sentence&language=English") from error
        for key in options:
            if key not in OPTIONS:
                near = difflib.get_close_matches(key, OPTIONS, n=1, cutoff=0.4)
                hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(OPTIONS)}"
                raise ManifestError(f"{text}: unknown option {key}; {hint}")
        return cls(match["name"], match["config"], match["split"], options)

    def relative_to(self, folder: Path) -> DatasetReference:
        """Return the same data set with the absolute path of its folder, if its name is a folder relative to
        `folder`."""
        path = (folder / Path(self.name).expanduser()).resolve()
        return replace(self, name=str(path)) if path.is_dir() else self

    def __str__(self) -> str:
        parts = ":".join(part for part in (self.name, self.config, self.split) if part)
        query = "&".join(f"{key}={quote(value, safe='/')}" for key, value in self.options.items())
        return f"{PREFIX}{parts}{'?' if query else ''}{query}"


def is_dataset(source: str | Path) -> bool:
    """Return whether the source names a data set instead of a manifest."""
    return str(source).startswith(PREFIX)
