"""What a run's models wrote where nobody speaks: `no_speech/*.parquet`."""

from __future__ import annotations

from typing import Any, cast

import pandas as pd

from overlap.estimates.estimate import RECORDED
from overlap.estimates.no_speech import no_speech_estimates

KEYS = ("step", "visit", "stage", "model", "kind")
"""What names the clips that a reading is taken over."""


def no_speech_readings(clips: pd.DataFrame) -> pd.DataFrame:
    """Return invented words a minute, the share of clips with words and the share that never ends, with intervals.

    Args:
        clips: Rows of `no_speech/`.

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
