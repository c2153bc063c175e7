"""Every file and column of a run directory."""

from __future__ import annotations

from collections.abc import Iterable

from .probe_columns import PROBE_SUMS, PROBES, TRACES
from .schema import PLACE, Column, File
from .schema import required as _required


def fields(columns: Iterable[Column]) -> str:
    """The fields of an object in words, those that may be absent in brackets."""
    shown = (
        (f"`{c.name}` ({c.type})" if c.required else f"[`{c.name}` ({c.type})]") + f" {c.meaning}" for c in columns
    )
    return "; ".join(shown)


RECIPE_STAGE = (_required("name", "text", "of the stage"), _required("type", "text", "`sft`, `td` or `opd`"))
"""Of an object in `recipe.stages`."""
SUPPORT = (_required("k", "integer", "size of the sets"), _required("temperature", "number", "of both models"))
"""Of `recipe.support`."""

STAGE_STEP = _required("stage_step", "integer", "training steps of this visit")

RESOLVED = File(
    "resolved.json",
    "The configuration of the run. Written once; resuming with changed data replaces the data's digests.",
    (
        _required("schema", "integer", "version of this schema; files of another version are refused"),
        _required("recipe.name", "text", "runs of one recipe are compared over their seeds"),
        _required("recipe.stages", "list of objects", f"one per stage: {fields(RECIPE_STAGE)}"),
        _required("recipe.support", "object", f"the top-k sets: {fields(SUPPORT)}"),
        Column("recipe.*", "any", "the rest of the recipe, with all its defaults, see RECIPES.md"),
        Column("recipe_sha256", "text", "digest of the recipe"),
        Column("manifest_sha256.*", "text", "digest of each manifest"),
        Column("background_sha256.*", "text", "digest of each folder of noise"),
        Column("datasets.*", "object", "revision and digest of each data set of the Hub"),
        Column("seed", "integer", "seed of weights, data order and intervals"),
        Column("python", "text", "version of Python"),
        Column("versions.*", "text or null", "version of each library, this one first"),
        Column("seen_in_training", "list of objects", "how many utterances of each set a model was trained on before"),
        Column("tokenizers.*", "any", "findings about each model's tokenizer"),
        Column("unusable_lines.*", "list of integers", "dropped lines, by manifest"),
    ),
    required=True,
)

VISITS = File(
    "visits.jsonl",
    "One row when a visit to a stage begins. A stage that a gate falls back to is visited again.",
    (
        _required("visit", "integer", "number of the visit, from 0, in the order of the run"),
        _required("stage", "text", "name of the stage"),
        _required("type", "text", "`sft`, `td` or `opd`"),
        _required("first_step", "integer", "training steps taken before it"),
        _required(
            "started_from",
            "text",
            "the weights at its start: `model` of the recipe; `previous` for the end of the visit before; `entry` "
            "after a fall back: the weights at the start of the visit that was left",
        ),
        _required("source_visit", "integer or null", "the visit that these weights are from; null for `model`"),
        _required("source_step", "integer or null", "their training step; null for `model`"),
    ),
)

METRICS = File(
    "metrics.jsonl",
    "One row per training step.",
    (
        *PLACE,
        STAGE_STEP,
        _required("loss", "number or null", "in nats per position"),
        Column("n_positions", "integer", "positions of the loss"),
        Column("gradient_norm", "number", "before clipping"),
        Column("lr", "number", "learning rate of the step"),
        Column("objective.*", "text or number", "name of the objective, and both models' probability mass on its set"),
        Column("overlap.*", "number or null", "mean of a statistic over the step's positions, by name"),
        Column("funnel.*", "integer", "positions in each bin of the funnel"),
        Column("rollouts.*", "text or number", "whose transcripts the step uses, their number and length in tokens"),
        Column("seconds.*", "number", "seconds of each phase"),
    ),
)

LEVEL = (
    _required("statistic", "text", "name as in STATISTICS.md, or of a number of the user's own"),
    _required("states", "text or null", "on whose transcripts; null for a number of the user's own"),
    _required(
        "side",
        "text",
        "`at_least` or `at_most` of a threshold, `lowest` or `highest` healthy value, or `best`, the mark of a plateau",
    ),
    _required("level", "number or null", "that was compared with"),
    _required("bound", "number or null", "the end of the interval that was compared"),
    _required(
        "satisfied", "boolean", "whether it reaches the threshold, keeps within the limit or improves on the mark"
    ),
)
"""Of an object in `levels`."""

DECISIONS = File(
    "decisions.jsonl",
    "One row per gate reading, and one (`decision` is `end`) at the end of the run. Visits without a row are hidden.",
    (
        *PLACE,
        STAGE_STEP,
        _required("gate", "text", "the gate; `entry`, `exhausted` and `run` if no gate was read"),
        _required("decision", "text", "`stay`, `advance`, `fall_back`, `abort`, `stop` or `end`"),
        _required("outcome", "text or null", "of an `end`: `finished`, `stopped` or `aborted`; null otherwise"),
        _required("reason", "text", "why, in words"),
        Column("numbers", "object", "numbers that the gate read and compared, in its own format"),
        _required(
            "levels",
            "list of objects",
            f"every level that the reading was compared with, an object each: {fields(LEVEL)}",
        ),
    ),
)

_COUNTS = "`errors`, `total`, `substitutions`, `deletions`, `insertions`"
RATE = (
    _required("value", "number or null", "as a share"),
    _required("errors", "integer", "substitutions, deletions and insertions"),
    _required("total", "integer", "of what is counted, in the references"),
    Column("low", "number or null", "lower end of the 95 % interval"),
    Column("high", "number or null", "upper end"),
    *(Column(name, "integer", f"{name} alone") for name in ("substitutions", "deletions", "insertions")),
)
"""Of an error rate."""
EVALUATIONS = File(
    "evaluations.jsonl",
    "One row per evaluation of a model on a set: the teacher once, the student during and at the end of a visit.",
    (
        *PLACE,
        _required("set", "text", "name of the evaluation set"),
        _required("model", "text", "`student` or `teacher`"),
        Column(
            "wer.*",
            "number or null",
            f"word error rate; null if it was not measured, but `wer` or `mer` is there. Its fields: {fields(RATE)}",
        ),
        Column("mer.*", "number or null", "mixed error rate instead, likewise, if the normalizer counts mixed tokens"),
        Column("cer.*", "number or null", "character error rate, likewise"),
        _required("normalizer", "text", "of both reference and transcript"),
        _required("normalizer_version", "text", "of the normalizer"),
        Column("interval.over", "text", "unit of the bootstrap: `speakers` or `utterances`"),
        Column("interval.n", "integer", "number of these units"),
        _required("n_utterances", "integer", "in the set"),
        Column("n_empty_references", "integer", "references without a word after normalization"),
        Column("n_empty_hypotheses", "integer", "transcripts without a word after normalization"),
        _required("transcripts", "text or null", "path of the evaluation's transcripts in this directory, or null"),
    ),
)

TRANSCRIPTS = File(
    "transcripts/*.parquet",
    "One file per evaluation, at the path in its row: one row per utterance.",
    (
        _required("id", "text", "of the utterance"),
        _required("reference", "text", "from the manifest"),
        _required("text", "text", "the model's transcript"),
        _required("seconds", "number or null", "of audio"),
        _required("language", "text or null", "from the manifest"),
        _required("speaker", "text or null", "from the manifest; intervals are over speakers if there are ten or more"),
        Column("words.*", "integer", f"{_COUNTS} of words after normalization; the first two are required"),
        Column("tokens.*", "integer", "of mixed tokens instead"),
        _required("characters.errors", "integer", "of characters"),
        _required("characters.total", "integer", "likewise"),
        Column("characters.*", "integer", "likewise"),
        Column("normalizer", "text", "normalizer of the error counts, with its version"),
    ),
)

STATE = File(
    "checkpoints/step-*/state.json",
    "State of the training loop in a checkpoint, written atomically.",
    (
        Column("schema", "integer", "as in `resolved.json`"),
        Column("step", "integer", "training steps taken in the run"),
        Column("stage", "integer", "index of the stage in the recipe"),
        Column("stage_step", "integer", "training steps of this visit"),
        Column("horizon", "integer", "steps of the stage's learning-rate schedule"),
        Column("entries.*", "integer", "step at which each stage was last entered, by its index"),
        Column("gate", "object or null", "state of the stage's gate"),
        Column("fallbacks", "integer", "fallbacks so far"),
        Column("rows.*", "integer", "rows of each log: a resumed run cuts them back to these"),
        Column("visit", "integer", "number of the current visit"),
        Column("outcome", "text or null", "how the run ended"),
        Column("reason", "text", "why"),
        Column("best", "object or null", "the best weights so far, as in `best.json`"),
    ),
)

OTHERS = (
    File("checkpoints/step-*/*", "A student for `from_pretrained`; `optimizer.pt`; a record of its training data."),
    File(
        "best/step-*/best.json",
        "Describes the weights beside it, which have the lowest error rate.",
        (
            Column("step", "integer", "training step"),
            Column("stage", "text", "its stage"),
            Column("set", "text", "evaluation set"),
            Column("rate", "text", "`wer` or `mer`"),
            Column("value", "number", "the error rate, a share"),
        ),
    ),
    File("best/step-*/*", "A student for `from_pretrained`."),
    File(
        "process.json",
        "The process that works on the run, or did last; updated every few seconds.",
        (
            Column("host", "text", "name of the machine"),
            Column("machine", "text", "distinguishes machines with the same name"),
            Column("pid", "integer", "the process there"),
            Column("since", "text", "its start, in UTC"),
            Column("beat", "integer", "number of updates so far"),
            Column("left", "text or null", "how it ended; null while it runs, or if it was killed"),
        ),
    ),
    File(".lock", "Lock of the process that works on the run."),
    File("fixed_rollouts.json*", "Recorded transcripts of the student, by utterance: token ids, and whether they end."),
    File("round_trip.json*", "How often the teacher's own transcripts are encoded to other tokens than it wrote."),
    File("unusable.jsonl*", "Dropped or doubtful lines of manifests, one finding per line."),
    File("data_lines/*", "A digest of each manifest line, in a file named after the manifest's digest."),
    File("data_changes.jsonl", "Changes of the data that the run accepted, one manifest per line."),
    File("teacher-transcripts-*", "Teacher data of a stage: manifest, journal, dropped utterances, summary."),
    File("trackers.json", "The trackers' runs that mirror this one, and the number of rows of each log in them."),
    File("tensorboard/*", "TensorBoard's copy."),
    File("wandb/*", "Weights & Biases' files."),
)

FILES = (RESOLVED, VISITS, DECISIONS, EVALUATIONS, PROBES, PROBE_SUMS, TRACES, TRANSCRIPTS, METRICS, STATE, *OTHERS)
"""In the order of the page."""
