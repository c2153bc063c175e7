"""What a run's models wrote where nobody speaks: `no_speech/*.parquet`."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd

from overlap.estimates.estimate import RECORDED
from overlap.estimates.no_speech import no_speech_estimates

from .doubled import ONCE, check_once
from .files import read_parquet
from .kinds import required
from .records import NoSpeech

KEYS = ("step", "visit", "stage", "model", "kind")
"""What names the clips that a reading is taken over."""


def read_no_speech(folder: Path | None, probes: pd.DataFrame) -> pd.DataFrame:
    """Return the transcripts of all clips without speech of a run, one row for each probe, model and clip.

    Args:
        folder: `no_speech` of a run directory; it may be absent. None where there is no run directory.
        probes: The run's probes. Files of steps without a probe are left over from before a resumption and are ignored.

    Raises:
        UserError: A file is damaged, or a clip is there twice; names the files, and the columns or rows.
    """
    known = set(zip(probes["step"], probes["visit"], strict=True))
    parts = []
    for path in sorted(folder.glob("*.parquet")) if folder else ():
        frame = read_parquet(path, required(NoSpeech))
        probed = [place in known for place in zip(frame["step"], frame["visit"], strict=True)]
        parts.append((path, frame.loc[np.array(probed, dtype=bool)]))
    check_once(parts, ONCE["no_speech"])
    filled = [frame for _, frame in parts if len(frame)]
    if not filled:
        return pd.DataFrame(columns=list(required(NoSpeech)))
    return pd.concat(filled, ignore_index=True).sort_values(["visit", "step"], kind="stable", ignore_index=True)


def no_speech_readings(clips: pd.DataFrame) -> pd.DataFrame:
    """Return invented words a minute, the share of clips with words and the share that never ends, with intervals.

    Args:
        clips: From `read_no_speech`.

    Returns:
        One row for each probe, model, kind of clip and statistic, with the numbers of `Estimate`; `n_groups` is the
        number of clips.
    """
    rows = []
    for key, group in clips.groupby(list(KEYS), sort=False):
        found = no_speech_estimates(
            words=group["words"].tolist(), seconds=group["seconds"].tolist(), finished=group["finished"].tolist()
        )
        about: dict[str, Any] = dict(zip(KEYS, cast(tuple[Any, ...], key), strict=True))
        rows += [{**about, "statistic": name, **one.to_dict()} for name, one in found.items()]
    return pd.DataFrame(rows, columns=[*KEYS, "statistic", *RECORDED])
