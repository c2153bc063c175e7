"""Reads the trace that `distill probe --output` writes as a run with one probe, for figures and reports."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from overlap import Estimate, Funnel
from overlap.definitions import TOKEN_STATISTICS, Ranges
from overlap.errors import UserError
from overlap.estimates.group_sums import GroupSums
from overlap.estimates.sequences import sequence_values, stop_density_sums
from overlap.estimates.summary import estimate

from .doubled import check_once
from .files import read_parquet, require_columns
from .kinds import required
from .records import Place, Trace
from .schema import check_schema
from .traces import check_lengths

STAGE = "probe"
"""Name of the stage in the frames of a run with only one probe, at step 0."""
COLUMNS = {name: kind for name, kind in required(Trace).items() if name not in required(Place)}
CONSTANT = ("k", "temperature")
WRITER = "distill probe --output"


def read_probe(path: Path) -> tuple[dict[str, Any], pd.DataFrame, pd.DataFrame]:
    """Return the equivalents of `resolved.json`, `Run.probes` and `Run.traces` of a run.

    Args:
        path: A Parquet file with one row for each utterance.

    Raises:
        UserError: Not such a file, or damaged; names it and the columns.
    """
    frame = read_parquet(path, {}, WRITER)
    if {*required(Place)} <= {*frame}:
        folder = path.absolute().parent.parent
        known = f", {folder}" if (folder / "resolved.json").is_file() else ""
        raise UserError(f"{path}: a trace of a run; give the run{known}")
    about: Mapping[str, Any] = frame.attrs.get("probe", {})
    if about:
        check_schema(path, about)
    require_columns(frame, path, COLUMNS, WRITER)
    check_lengths(frame, path)
    check_once([(path, frame)], ("states", "id"))
    if frame.empty:
        raise UserError(f"{path} holds no utterance; make it again with `distill probe --output {path}`")
    for name in CONSTANT:
        if len(set(frame[name])) > 1:
            raise UserError(f"{path}: its rows differ in {name}; keep those of one probe")
    frame.attrs.clear()
    k, temperature = int(frame["k"].iloc[0]), float(frame["temperature"].iloc[0])
    recipe: dict[str, Any] = {"name": path.stem, "stages": [], "support": {"k": k, "temperature": temperature}}
    recipe |= {side: {"model": about[side]} for side in ("student", "teacher") if about.get(side)}
    recipe |= {"probe": {"manifest": about["manifest"], "trace_utterances": len(frame)}} if "manifest" in about else {}
    frame.insert(0, "step", 0)
    frame.insert(1, "visit", 0)
    frame.insert(2, "stage", STAGE)
    ranges = Ranges(k, one_vocabulary=bool(about.get("one_vocabulary")), full_sets=_full_sets(frame, k))
    rows = [row for states, part in frame.groupby("states", sort=False) for row in _rows(part, str(states), ranges)]
    if "funnel" in about and len(set(frame["states"])) == 1:
        rows += _funnel_rows(Funnel.from_dict(about["funnel"]), str(frame["states"].iloc[0]), len(frame))
    against = {name: about[name] for name in ("signal", "calibration") if name in about}
    return {"recipe": recipe, "against_references": against}, pd.DataFrame(rows), frame


def _full_sets(traces: pd.DataFrame, k: int) -> bool:
    """Return whether both sets have k tokens at every used position, if sizes were traced."""
    used = np.concatenate([np.asarray(row, dtype=bool) for row in traces["used"]])
    sizes = (traces[name] for name in ("student_size", "teacher_size") if name in traces)
    return all(bool((np.concatenate([np.asarray(r, dtype=float) for r in size])[used] == k).all()) for size in sizes)


def _rows(traces: pd.DataFrame, states: str, ranges: Ranges) -> Iterator[dict[str, Any]]:
    """Yield rows in the format of a run's probes: one for each statistic."""
    lengths = traces["token_ids"].map(len).to_numpy(dtype=np.int64)
    used = np.concatenate([np.asarray(row, dtype=bool) for row in traces["used"]])
    ids = np.repeat(traces["id"].to_numpy(dtype=str), lengths)[used]
    names = [name for name in traces if str(name).split(".")[0] in TOKEN_STATISTICS]
    values = {
        str(name): np.concatenate([np.asarray(row, dtype=np.float64) for row in traces[name]])[used] for name in names
    }
    found: dict[str, Estimate] = estimate(GroupSums.from_values(values, ids), ranges=ranges) if len(ids) else {}
    n_tokens = (lengths - traces["finished"].to_numpy(dtype=np.int64)).tolist()
    finished, utterances = traces["finished"].tolist(), traces["id"].tolist()
    references = [text if isinstance(text, str) else None for text in traces["reference"]]
    of_sequences = sequence_values(
        texts=traces["text"].tolist(), n_tokens=n_tokens, finished=finished, references=references
    )
    ends = stop_density_sums(n_tokens, finished, utterances)
    # By utterance, as the probe has them: resamples, and so intervals, are the same.
    found |= estimate(GroupSums.side_by_side([GroupSums.from_values(of_sequences, utterances), ends]))
    found |= _forms(traces, names, ranges)
    for name, item in found.items():
        yield {"step": 0, "visit": 0, "stage": STAGE, "states": states, "statistic": name} | item.to_dict()


def _forms(traces: pd.DataFrame, names: Sequence[Any], ranges: Ranges) -> dict[str, Estimate]:
    """Return statistics over some of the positions; those past the teacher's transcripts are not in a trace."""
    import torch  # here: the import takes seconds, and other readers do without

    from overlap.statistics.forms import form_estimates, form_masks, form_sums

    def padded(column: Any, filling: float | bool) -> torch.Tensor:
        rows = [torch.as_tensor(np.array(row)) for row in column]
        return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=filling)

    tokens, used = padded(traces["token_ids"], -1), padded(traces["used"], False)
    masks = form_masks(tokens, tokens >= 0, torch.tensor(traces["finished"].to_numpy(dtype=bool)))
    values = {str(name): padded(traces[name], math.nan) for name in names}
    return form_estimates([form_sums(values, masks, traces["id"].tolist(), used=used)], ranges=ranges)


def _funnel_rows(funnel: Funnel, states: str, utterances: int) -> Iterator[dict[str, Any]]:
    common = {
        "step": 0,
        "visit": 0,
        "stage": STAGE,
        "states": states,
        "n_positions": funnel.total,
        "n_groups": utterances,
    }
    nothing = dict.fromkeys(("standard_error", "low", "high"), np.nan) | {"n_undefined": 0}
    for name, n in funnel.to_dict().items():
        yield common | {"statistic": f"funnel.{name}", "value": float(n)} | nothing
