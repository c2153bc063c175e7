"""Every file and column of a run directory."""

from __future__ import annotations

from .schema import Column, File


def _required(name: str, type_: str, meaning: str) -> Column:
    return Column(name, type_, meaning, required=True)


STEP = _required("step", "integer", "training steps taken in the run")
VISIT = _required("visit", "integer", "number of the stay in a stage, as in `visits.jsonl`")
STAGE = _required("stage", "text", "name of the stage")
STAGE_STEP = _required("stage_step", "integer", "training steps taken in this stay")
PLACE = (STEP, VISIT, STAGE)

RESOLVED = File(
    "resolved.json",
    "What the run was started with. Written once; a resumption with other data replaces the data's digests.",
    (
        _required("schema", "integer", "version of this page; files of another one are refused"),
        _required("recipe.name", "text", "runs of one recipe are compared over their seeds"),
        _required("recipe.stages", "list of objects", "a stage each, with `name` and `type` (`sft`, `td`, `opd`)"),
        _required("recipe.support", "object", "`k` and `temperature` of the top-k sets"),
        Column("recipe.*", "any", "the rest of the recipe, with all its defaults, see RECIPES.md"),
        Column("recipe_sha256", "text", "digest of the recipe"),
        Column("manifest_sha256.*", "text", "digest of each manifest"),
        Column("background_sha256.*", "text", "digest of each folder of noise"),
        Column("datasets.*", "object", "revision and digest of each data set of the Hub"),
        Column("seed", "integer", "of weights, order of the data and intervals"),
        Column("python", "text", "version of Python"),
        Column("versions.*", "text or null", "version of each library, this one first"),
        Column("seen_in_training", "list of objects", "how many utterances of each set a model was trained on before"),
        Column("tokenizers.*", "any", "what was found of each model's tokenizer"),
        Column("unusable_lines.*", "list of integers", "lines that the run goes without, by manifest"),
    ),
    required=True,
)

VISITS = File(
    "visits.jsonl",
    "A row when a stay in a stage begins. A stage that a gate falls back to is visited again.",
    (
        _required("visit", "integer", "number of the stay, from 0, in the order of the run"),
        _required("stage", "text", "name of the stage"),
        _required("type", "text", "`sft`, `td` or `opd`"),
        _required("first_step", "integer", "training steps taken before it"),
        _required(
            "started_from",
            "text",
            "the weights it begins with: `model` of the recipe; `previous` where the visit before ended; `entry`: "
            "after a fall back those with which the visit that was left had begun",
        ),
        _required("source_visit", "integer or null", "the visit that had them; null for `model`"),
        _required("source_step", "integer or null", "the training step that they are of; null for `model`"),
    ),
)

METRICS = File(
    "metrics.jsonl",
    "A row a training step.",
    (
        *PLACE,
        STAGE_STEP,
        _required("loss", "number or null", "in nats a position"),
        Column("n_positions", "integer", "positions that the loss is over"),
        Column("gradient_norm", "number", "before clipping"),
        Column("lr", "number", "learning rate of the step"),
        Column("objective.*", "text or number", "name of the objective, and both models' mass on its set"),
        Column("overlap.*", "number or null", "mean of a statistic over the step's positions, by name"),
        Column("funnel.*", "integer", "positions in each bin of the funnel"),
        Column("rollouts.*", "text or number", "whose transcripts the step is on, how many, and how long in tokens"),
        Column("seconds.*", "number", "what each phase took"),
    ),
)

DECISIONS = File(
    "decisions.jsonl",
    "A row a gate reading, and one (`decision` is `end`) where the run ends. Stays without a row are not shown yet.",
    (
        *PLACE,
        STAGE_STEP,
        _required("gate", "text", "the gate; `entry`, `exhausted` and `run` stand for one where none has read"),
        _required("decision", "text", "`stay`, `advance`, `fall_back`, `abort`, `stop` or `end`"),
        _required("outcome", "text or null", "of an `end`: `finished`, `stopped` or `aborted`; null otherwise"),
        _required("reason", "text", "why, in words"),
        Column("numbers", "object", "what the gate read and compared, as it has it"),
        _required(
            "levels",
            "list of objects",
            "every level that the reading was held against: `statistic`; `states` on whose transcripts (null of a "
            "number of the user's own); `side`, which is `at_least` or `at_most` of a threshold, `lowest` or `highest` "
            "healthy value, or `best`, the mark of a plateau; `level`; `bound`, the end of the interval that was "
            "compared, or null; `satisfied`, whether it reaches the threshold, keeps within the limit or improves on "
            "the mark",
        ),
    ),
)

_COUNTS = "`errors`, `total`, `substitutions`, `deletions`, `insertions`"
EVALUATIONS = File(
    "evaluations.jsonl",
    "A row an evaluation of a model on a set: the teacher's once, the student's where a stay ends and on the way.",
    (
        *PLACE,
        _required("set", "text", "name of the evaluation set"),
        _required("model", "text", "`student` or `teacher`"),
        Column("wer.*", "number or null", f"word error rate: `value`, `low`, `high` (95 %) as shares, {_COUNTS}"),
        Column("mer.*", "number or null", "mixed error rate in its place, where the normalizer counts mixed tokens"),
        Column("cer.*", "number or null", "character error rate, likewise"),
        _required("normalizer", "text", "applied to both sides"),
        _required("normalizer_version", "text", "of the normalizer"),
        Column("interval.over", "text", "what intervals are over: `speakers` or `utterances`"),
        Column("interval.n", "integer", "how many of these"),
        _required("n_utterances", "integer", "in the set"),
        Column("n_empty_references", "integer", "references without a word after normalization"),
        Column("n_empty_hypotheses", "integer", "transcripts without a word after normalization"),
        _required("transcripts", "text or null", "path of the evaluation's transcripts in this directory, or null"),
    ),
)

PROBES = File(
    "probes/*.parquet",
    "A file a probe, never written again: a row a kind of states and statistic. Any names; files of this trainer are "
    "called by step and visit.",
    (
        *PLACE,
        _required("states", "text", "on whose transcripts: `student`, `fixed`, `teacher` or `reference`"),
        _required("statistic", "text", "name as in STATISTICS.md, `forward_kl.lower` of a bound, or `funnel.used` …"),
        _required("value", "number", "mean over positions; of a bin of the funnel, positions"),
        _required("standard_error", "number", "of the mean"),
        _required("low", "number", "lower end of the 95 % interval over utterances"),
        _required("high", "number", "upper end"),
        _required("n_positions", "integer", "positions that it rests on"),
        _required("n_groups", "integer", "utterances"),
        _required("n_undefined", "integer", "positions where it is undefined"),
    ),
)

TRACES = File(
    "traces/*.parquet",
    "A file a traced probe (where a stay begins and ends), called like the probe: a row an utterance and kind of "
    "states, with lists as long as its transcript. `distill probe --output` writes one such file, without the first "
    "three columns.",
    (
        *PLACE,
        _required("id", "text", "of the utterance"),
        _required("states", "text", "on whose transcripts"),
        _required("k", "integer", "size of the top-k sets"),
        _required("temperature", "number", "of both models' distributions"),
        _required("text", "text", "the transcript"),
        _required("reference", "text or null", "the manifest's text"),
        _required("token_ids", "list of integers", "the transcript's tokens in the student's ids"),
        _required("tokens", "list of texts", "as the vocabulary spells them, such as `Ġtwo`"),
        _required("token_bytes", "list of bytes or null", "the bytes that each stands for; null of control tokens"),
        _required("used", "list of booleans", "whether the position is in the means"),
        _required("finished", "boolean", "whether the transcript ends by itself"),
        Column("union_ids", "list of lists of integers", "tokens of both models' top-k sets at each position"),
        Column("union_tokens", "list of lists of texts", "as the vocabulary spells them"),
        Column("union_bytes", "list of lists of bytes or null", "the bytes that they stand for"),
        Column("student_logprobs", "list of lists of numbers", "of these tokens, in nats; NaN where not known"),
        Column("teacher_logprobs", "list of lists of numbers", "likewise"),
        Column("in_student", "list of lists of booleans", "whether a token is in the student's set"),
        Column("in_teacher", "list of lists of booleans", "whether it is in the teacher's"),
        Column("<statistic>", "list of numbers", "each statistic of a position, NaN where undefined"),
        Column("words.*", "integer or null", "`errors` and `total` of words after normalization"),
        Column("tokens.*", "integer or null", "of mixed tokens in their place"),
        Column("normalizer", "text", "its name and version"),
    ),
)

TRANSCRIPTS = File(
    "transcripts/*.parquet",
    "A file an evaluation, at the path that its row names: a row an utterance.",
    (
        _required("id", "text", "of the utterance"),
        _required("reference", "text", "as the manifest has it"),
        _required("text", "text", "as the model wrote it"),
        _required("seconds", "number or null", "of audio"),
        _required("language", "text or null", "as the manifest has it"),
        _required("speaker", "text or null", "likewise: intervals are over ten or more of these"),
        Column("words.*", "integer", f"{_COUNTS} of words after normalization; the first two are required"),
        Column("tokens.*", "integer", "of mixed tokens in their place"),
        _required("characters.errors", "integer", "of characters"),
        _required("characters.total", "integer", "likewise"),
        Column("characters.*", "integer", "likewise"),
        Column("normalizer", "text", "what errors were counted under, with its version"),
    ),
)

STATE = File(
    "checkpoints/step-*/state.json",
    "The state of the loop in a checkpoint, which stands there whole or not at all.",
    (
        Column("schema", "integer", "as in `resolved.json`"),
        Column("step", "integer", "training steps taken in the run"),
        Column("stage", "integer", "index of the stage in the recipe"),
        Column("stage_step", "integer", "steps taken in this stay"),
        Column("horizon", "integer", "steps of the stage's learning-rate schedule"),
        Column("entries.*", "integer", "step at which each stage was last entered, by its index"),
        Column("gate", "object or null", "state of the stage's gate"),
        Column("fallbacks", "integer", "fall backs so far"),
        Column("rows.*", "integer", "rows of each log: a resumed run cuts them back to these"),
        Column("visit", "integer", "number of the current stay"),
        Column("outcome", "text or null", "how the run ended"),
        Column("reason", "text", "why"),
        Column("best", "object or null", "the best weights so far, as in `best.json`"),
    ),
)

OTHERS = (
    File("checkpoints/step-*/*", "A student for `from_pretrained`; `optimizer.pt`; what it was trained on."),
    File(
        "best/step-*/best.json",
        "What the weights beside it are: those with the least error rate.",
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
        "Who works on the run, or did last; written anew every few seconds.",
        (
            Column("host", "text", "name of the machine"),
            Column("machine", "text", "what tells machines of one name apart"),
            Column("pid", "integer", "the process there"),
            Column("since", "text", "when it began, in UTC"),
            Column("beat", "integer", "signs of life so far"),
            Column("left", "text or null", "how it left; null while it is there, or if it died"),
        ),
    ),
    File(".lock", "Locked by the process that works on the run."),
    File("fixed_rollouts.json*", "Recorded transcripts of the student, by utterance: token ids, and whether they end."),
    File("round_trip.json*", "How often the teacher's own transcripts are cut otherwise when they are encoded again."),
    File("unusable.jsonl*", "Lines of manifests that the run goes without or doubts, a finding a line."),
    File("data_lines/*", "A digest a line of each manifest, in a file called by the manifest's digest."),
    File("data_changes.jsonl", "Data that changed while the run went on all the same, a manifest a line."),
    File("teacher-transcripts-*", "Of a stage of teacher data: manifest, journal, what was dropped, summary."),
    File("trackers.json", "Which runs of trackers are copies of this one, and how many rows of each log they hold."),
    File("tensorboard/*", "TensorBoard's copy."),
    File("wandb/*", "Weights & Biases' files."),
)

FILES = (RESOLVED, VISITS, DECISIONS, EVALUATIONS, PROBES, TRACES, TRANSCRIPTS, METRICS, STATE, *OTHERS)
"""In the order of the page."""
