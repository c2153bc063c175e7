"""Files and columns of probes in a run directory."""

from __future__ import annotations

from .schema import PLACE, Column, File
from .schema import required as _required

PROBES = File(
    "probes/*.parquet",
    "One file per probe, written once: one row per kind of states and statistic. File names are free; this trainer's "
    "have step and visit.",
    (
        *PLACE,
        _required("states", "text", "on whose transcripts: `student`, `fixed`, `teacher` or `reference`"),
        _required("statistic", "text", "name as in STATISTICS.md, `forward_kl.lower` of a bound, or `funnel.used` …"),
        _required("value", "number", "mean over positions; for a bin of the funnel, the number of positions"),
        _required("standard_error", "number", "of the mean"),
        _required("low", "number", "lower end of the 95 % interval over utterances"),
        _required("high", "number", "upper end"),
        _required("n_positions", "integer", "positions in the mean"),
        _required("n_groups", "integer", "utterances"),
        _required("n_undefined", "integer", "positions where the statistic is undefined"),
    ),
)

PROBE_SUMS = File(
    "probe_sums/*.parquet",
    "One file per probe, with the probe's name: one row per kind of states, utterance and statistic. Averages, their "
    "intervals and paired changes follow from it; the average of a statistic is the sum of `sum` over the sum of "
    "`count`.",
    (
        *PLACE,
        _required("states", "text", "on whose transcripts"),
        _required("id", "text", "of the utterance"),
        _required("statistic", "text", "as in `probes/*.parquet`, the bins of the funnel excepted"),
        _required("sum", "number", "over the utterance's defined positions, in float32; infinite beyond its range"),
        _required("count", "integer", "defined positions; of a statistic of sequences, 1 or 0"),
        _required("undefined", "integer", "positions where the statistic is undefined"),
    ),
)

TRACES = File(
    "traces/*.parquet",
    "One file per traced probe (at the start and end of a visit), with the probe's name: one row per utterance and "
    "kind of states, with lists as long as its transcript. `distill probe --output` writes such a file without the "
    "first three columns.",
    (
        *PLACE,
        _required("id", "text", "of the utterance"),
        _required("states", "text", "on whose transcripts"),
        _required("k", "integer", "size of the top-k sets"),
        _required("temperature", "number", "of both models' distributions"),
        _required("text", "text", "the transcript"),
        _required("reference", "text or null", "the manifest's text"),
        _required("token_ids", "list of integers", "the transcript's tokens in the student's ids"),
        _required("tokens", "list of texts", "their spelling in the vocabulary, such as `Ġtwo`"),
        _required("token_bytes", "list of bytes or null", "the bytes of each token; null for control tokens"),
        _required("used", "list of booleans", "whether the position is in the means"),
        _required("finished", "boolean", "whether the transcript ends by itself"),
        Column("union_ids", "list of lists of integers", "tokens of both models' top-k sets at each position"),
        Column("union_tokens", "list of lists of texts", "their spelling in the vocabulary"),
        Column("union_bytes", "list of lists of bytes or null", "their bytes"),
        Column("student_logprobs", "list of lists of numbers", "of these tokens, in nats; NaN if not known"),
        Column("teacher_logprobs", "list of lists of numbers", "likewise"),
        Column("in_student", "list of lists of booleans", "whether a token is in the student's set"),
        Column("in_teacher", "list of lists of booleans", "whether it is in the teacher's"),
        Column("<statistic>", "list of numbers", "each statistic of a position, NaN where undefined"),
        Column("words.*", "integer or null", "`errors` and `total` of words after normalization"),
        Column("tokens.*", "integer or null", "of mixed tokens instead"),
        Column("normalizer", "text", "its name and version"),
    ),
)
