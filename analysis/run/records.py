"""Every record of a run's files: its fields, with their kinds and meanings.

What is read is checked against these; the trainer's page RUN_DIRECTORY.md, with the docstrings of rows and files, is
generated from them.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal, TypeVar

from pydantic import model_validator

from .kinds import Boolean, Bytes, Integer, Number, Record, Text, needed, optional

T = TypeVar("T")
By = dict[str, T | None] | None
"""Values by name."""
StageType = Literal["sft", "td", "opd"]


class Stage(Record):
    """A stage of a recipe."""

    name: Text = needed("of the stage")
    type: StageType = needed("of its training")


class Support(Record):
    """The supports."""

    k: Integer = needed("size of the sets")
    temperature: Number = needed("of both models")


class Recipe(Record):
    """What is read of a recipe."""

    name: Text = needed("runs of one recipe are compared over their seeds")
    stages: list[Stage] = needed("one per stage")
    support: Support = needed("the supports")


class Resolved(Record):
    """The configuration of the run. Written once; resuming with changed data replaces the data's digests."""

    schema_version: Integer = needed("version of this schema; files of another version are refused", alias="schema")
    recipe: Recipe = needed("the whole recipe with all its defaults, see RECIPES.md")
    recipe_sha256: Text | None = optional("digest of the recipe")
    manifest_sha256: By[Text] = optional("digest of each manifest")
    background_sha256: By[Text] = optional("digest of each folder of noise")
    datasets: By[dict[str, Any]] = optional("revision and digest of each data set of the Hub")
    seed: Integer | None = optional("seed of weights, data order and intervals")
    python: Text | None = optional("version of Python")
    versions: By[Text] = optional("version of each library, this one first")
    seen_in_training: list[dict[str, Any]] | None = optional(
        "how many utterances of each set a model was trained on before"
    )
    tokenizers: dict[str, Any] | None = optional("findings about each model's tokenizer")
    unusable_lines: By[list[Integer]] = optional("dropped lines, by manifest")


class BegunVisit(Record):
    """One row when a visit to a stage begins. A stage that a gate falls back to is visited again."""

    visit: Integer = needed("number of the visit, from 0, in the order of the run")
    stage: Text = needed("name of the stage")
    type: StageType = needed("of the stage")
    first_step: Integer = needed("training steps taken before it")
    started_from: Literal["model", "previous", "entry", "best_end"] = needed(
        "the weights at its start: `model` of the recipe; `previous` for the end of the visit before; `entry` after a "
        "fall back: the weights at the start of the visit that was left; `best_end` after one within teacher data: "
        "those of the visit that was left whose transcripts ended most often"
    )
    source_visit: Integer | None = needed("the visit that these weights are from; null for `model`")
    source_step: Integer | None = needed("their training step; null for `model`")


class Place(Record):
    """Where a row belongs."""

    step: Integer = needed("training steps taken in the run")
    visit: Integer = needed("number of the visit to a stage, as in `visits.jsonl`")
    stage: Text = needed("name of the stage")


class Metric(Place):
    """One row per training step."""

    stage_step: Integer = needed("training steps of this visit")
    loss: Number | None = needed("in nats per position")
    n_positions: Integer | None = optional("positions of the loss")
    gradient_norm: Number | None = optional("before clipping")
    lr: Number | None = optional("learning rate of the step")
    objective: By[Text | Number] = optional(
        "name of the objective (`cross_entropy` also where the teacher's transcripts replace refused rollouts), and "
        "both models' probability mass on its set"
    )
    overlap: By[Number] = optional("mean of a statistic over the step's positions, by name")
    funnel: By[Integer] = optional("positions in each bin of the funnel")
    weights: By[Number] = optional(
        "with `objective.weights`, of the student's rollouts: `n` weighted positions, and their `mean` weight"
    )
    rollouts: By[Text | Number] = optional(
        "whose transcripts the step uses (`blend`: both models wrote them, with `trust_region`), their number and "
        "length in tokens"
    )
    off_policy: By[Text | Number] = optional(
        "of a stage with `off_policy`: `share` in force and the `reason`; `reading` that decided and the training step "
        "at which it was read (`read_at`), null if the share follows none"
    )
    trust_region: By[Number] = optional(
        "with `rollout.trust_region`: `radius` in nats, and of the `n` tokens that both models wrote together the mean "
        "weight of the teacher (`beta`) and KL from the student in nats (`divergence`), and the share of tokens for "
        "which the teacher was inside the radius (`inside`)"
    )
    rejection: By[Text | Integer] = optional(
        "of a stage with `reject`: rollouts judged, refused and why; what the step was `taken_on`: its `rollouts`, the "
        "`teacher`'s transcripts or `nothing` instead of them, or `off_policy` where it had none to judge; and steps "
        "in a row whose rollouts were refused (`in_a_row`), which steps without rollouts neither add to nor end"
    )
    seconds: By[Number] = optional("seconds of each phase")


class Level(Record):
    """What a reading was compared with."""

    statistic: Text = needed("name as in STATISTICS.md, or of a number of the user's own")
    states: Text | None = needed("on whose transcripts; null for a number of the user's own")
    side: Literal["at_least", "at_most", "lowest", "highest", "best"] = needed(
        "the first two are of a threshold, then the lowest or highest healthy value, and the mark of a plateau"
    )
    level: Number | None = needed("that was compared with")
    bound: Number | None = needed("the bound of the interval that was compared")
    satisfied: Boolean = needed("whether it reaches the threshold, keeps within the limit or improves on the mark")
    group: Text | None = optional("of the utterances that were read, such as `language=de`; null for the whole set")


class Decision(Place):
    """One row per gate reading, and one (`decision` is `end`) at the end of the run.

    Visits without a row are hidden.
    """

    stage_step: Integer = needed("training steps of this visit")
    gate: Text = needed("the gate; `entry`, `exhausted`, `guarded` (it never opens) and `run` if none was read")
    decision: Literal["stay", "advance", "fall_back", "abort", "stop", "end"] = needed(
        "what follows; `end` is the end of the run"
    )
    outcome: Literal["finished", "stopped", "aborted"] | None = needed("of an `end`; null otherwise")
    reason: Text = needed("why, in words")
    levels: list[Level] = needed("every level that the reading was compared with")
    numbers: By[Any] = optional("numbers that the gate read and compared, in its own format")

    @model_validator(mode="after")
    def _has_an_outcome(self) -> Decision:
        if self.decision == "end" and self.outcome is None:
            raise ValueError("field `outcome` is null; an `end` says how the run ended")
        return self


class Rate(Record):
    """An error rate that was measured."""

    hint: ClassVar[str] = "; a rate has `value`, `errors`, `total`, and is null where it was not measured"

    value: Number | None = needed("as a share")
    errors: Integer = needed("substitutions, deletions and insertions")
    total: Integer = needed("of what is counted, in the references")
    low: Number | None = optional("lower bound of the 95 % interval")
    high: Number | None = optional("upper bound")
    substitutions: Integer | None = optional("substitutions alone")
    deletions: Integer | None = optional("deletions alone")
    insertions: Integer | None = optional("insertions alone")


class IntervalUnit(Record):
    """What was drawn for intervals."""

    over: Text | None = optional("`speakers` or `utterances`")
    n: Integer | None = optional("number of these units")


class PartOfSet(Record):
    """Error rates over some of the utterances of an evaluation."""

    n_utterances: Integer = needed("how many these are; with none, rates are undefined")
    wer: Rate | None = optional("word error rate over them, with the evaluation's kind of interval")
    mer: Rate | None = optional("mixed error rate instead")
    cer: Rate | None = optional("character error rate")


class Evaluation(Place):
    """One row per evaluation of a model on a set: the teacher once, the student during and at the end of a visit."""

    set: Text = needed("name of the evaluation set")
    model: Literal["student", "teacher"] = needed("that was evaluated")
    wer: Rate | None = optional("word error rate; null if it was not measured, but `wer` or `mer` is there")
    mer: Rate | None = optional("mixed error rate instead, with the same fields, if the normalizer counts mixed tokens")
    cer: Rate | None = optional("character error rate, likewise")
    normalizer: Text = needed("of both reference and transcript")
    normalizer_version: Text = needed("of the normalizer")
    interval: IntervalUnit | None = optional("unit of the bootstrap")
    n_utterances: Integer = needed("in the set")
    n_empty_references: Integer | None = optional("references without a word after normalization")
    n_empty_hypotheses: Integer | None = optional("transcripts without a word after normalization")
    finished: PartOfSet | None = optional("utterances whose transcript ends by itself")
    unfinished: PartOfSet | None = optional("the others, whose transcript was cut off at the limit on its length")
    transcripts: Text | None = needed("path of the evaluation's transcripts in this directory, or null")


class Probe(Place):
    """One file per probe, written once: one row per kind of states and statistic.

    File names are free; this trainer's have step and visit.
    """

    states: Text = needed("on whose transcripts: `student`, `fixed`, `teacher` or `reference`")
    statistic: Text = needed("name as in STATISTICS.md, `forward_kl.lower` of a bound, or `funnel.used` …")
    value: Number = needed("mean over positions; for a bin of the funnel, the number of positions")
    standard_error: Number = needed("of the mean")
    low: Number = needed("lower bound of the 95 % interval over utterances")
    high: Number = needed("upper bound")
    n_positions: Integer = needed("positions in the mean")
    n_groups: Integer = needed("utterances")
    n_undefined: Integer = needed("positions where the statistic is undefined")


class ProbeSum(Place):
    """One file per probe, with the probe's name: one row per kind of states, utterance and statistic.

    Averages, their intervals and paired changes follow from it; the average of a statistic is the sum of `sum` over the
    sum of `count`. So do readings of `signal/*.parquet`: the mean of `teacher_logprob` over an utterance is its s(y),
    and on the student's states of a set with texts, `error_rate` says which transcripts are right.
    """

    states: Text = needed("on whose transcripts")
    id: Text = needed("of the utterance")
    statistic: Text = needed(
        "as in `probes/*.parquet`, the bins of the funnel excepted; also `error_rate`, whose `sum` is the word errors "
        "(or mixed tokens) of the transcript and whose `count` is the words of its reference"
    )
    sum: Number = needed("over the utterance's defined positions, in float32; infinite beyond its range")
    count: Integer = needed("defined positions; of a statistic of sequences, 1 or 0")
    undefined: Integer = needed("positions where the statistic is undefined; of `error_rate`, 1 without a reference")
    speaker: Text | None = optional("who speaks, from the manifest; null where it does not say")


class TokenRule(Place):
    """One file per probe on the student's states with a local teacher: what rules for single positions would keep.

    One row per number, in a file with the probe's name. Training does not read it.
    """

    states: Text = needed("on whose transcripts")
    rule: Text = needed("name of the rule, as in `overlap.weights.RULES`")
    other: Text | None = needed("the other rule, of a comparison of two")
    quantity: Literal["kept", "weight", "jaccard", "spearman"] = needed(
        "the share of positions that it keeps, or its mean weight; of two rules, Jaccard index of the kept positions "
        "or Spearman correlation of the weights"
    )
    value: Number = needed("the number")
    standard_error: Number = needed("of it")
    low: Number = needed("lower bound of the 95 % interval over utterances")
    high: Number = needed("upper bound")
    n_positions: Integer = needed("positions in it")
    n_groups: Integer = needed("utterances")
    n_undefined: Integer = needed("positions that are not in it")


class NoSpeech(Place):
    """One file per probe with clips without speech: one row per model and clip, in a file with the probe's name.

    Invented words a minute, the share of clips with words and the share that never ends follow from it, with their
    intervals (`overlap.estimates.no_speech`; `Run.no_speech` has them). Gates do not read it.
    """

    model: Literal["student", "teacher"] = needed("that transcribed")
    kind: Literal["silence", "noise"] = needed("what is heard")
    clip: Text = needed("name of the clip; the same settings give the same clips")
    seconds: Number = needed("of the clip")
    words: Integer = needed("of the transcript after normalization; mixed tokens if the normalizer requires them")
    finished: Boolean = needed("whether the transcript ends by itself")
    text: Text = needed("the transcript")
    normalizer: Text = needed("its name and version")


class ProbeGroup(Place):
    """One file per probe of a recipe with `probe.groups`, with the probe's name: its readings for groups of utterances.

    One row per field, group, kind of states and statistic. Groups of fewer than 20 utterances have a row of their size
    alone.
    """

    states: Text = needed("on whose transcripts")
    field: Text = needed("of the manifest, such as `language`")
    group: Text | None = needed("value of the field; null for the utterances without one")
    statistic: Text = needed(
        "as in `probes/*.parquet`, the bins of the funnel excepted; `utterances` for the size of the group"
    )
    value: Number = needed("mean over the group's positions; of `utterances`, their number")
    standard_error: Number = needed("of the mean")
    low: Number = needed("lower bound of the 95 % interval over the group's utterances")
    high: Number = needed("upper bound")
    n_positions: Integer = needed("positions in the mean")
    n_groups: Integer = needed("utterances")
    n_undefined: Integer = needed("positions where the statistic is undefined")


class Utterance(Place):
    """What a trace says of an utterance as a whole."""

    id: Text = needed("of the utterance")
    states: Text = needed("on whose transcripts")
    k: Integer = needed("size of the supports")
    temperature: Number = needed("of both models' distributions")
    finished: Boolean = needed("whether the transcript ends by itself")
    recording: Text | None = optional("where utterances are pieces of recordings, the recording: intervals are over it")


class Trace(Utterance):
    """One file per traced probe, with its name: one row per utterance and kind of states.

    Probes are traced at the start and end of a visit. Lists are as long as the transcript. `distill probe --output`
    writes such a file without the first three columns; what else the probe measured is in the file's metadata, under
    `probe`: `tables` has the rows of the folders above, without their place in a run, and of `windows`.
    """

    text: Text = needed("the transcript")
    reference: Text | None = needed("the manifest's text")
    token_ids: list[Integer] = needed("the transcript's tokens in the student's ids")
    tokens: list[Text] = needed("their spelling in the vocabulary, such as `Ġtwo`")
    token_bytes: list[Bytes | None] = needed("the bytes of each token; null for control tokens")
    used: list[Boolean] = needed("whether the position is in the means")
    union_ids: list[list[Integer]] | None = optional("tokens of both models' supports at each position")
    union_tokens: list[list[Text]] | None = optional("their spelling in the vocabulary")
    union_bytes: list[list[Bytes | None]] | None = optional("their bytes")
    student_logprobs: list[list[Number]] | None = optional("of these tokens, in nats; NaN if not known")
    teacher_logprobs: list[list[Number]] | None = optional("likewise")
    in_student: list[list[Boolean]] | None = optional("whether a token is in the student's set")
    in_teacher: list[list[Boolean]] | None = optional("whether it is in the teacher's")
    statistics: list[Number] | None = optional("each statistic of a position, NaN where undefined", alias="<statistic>")
    words: By[Integer] = optional("`errors` and `total` of words after normalization")
    mixed: Integer | None = optional("of mixed tokens instead", alias="tokens.*")
    normalizer: Text | None = optional("its name and version")


class Transcript(Record):
    """One file per evaluation, at the path in its row: one row per utterance."""

    id: Text = needed("of the utterance")
    reference: Text = needed("from the manifest")
    text: Text = needed("the model's transcript")
    seconds: Number | None = needed("of audio")
    language: Text | None = needed("from the manifest")
    speaker: Text | None = needed("from the manifest; intervals are over speakers if there are ten or more")
    groups: By[Text] = optional("the manifest's value of each field of `probe.groups`; null where it has none")
    character_errors: Integer = needed("of characters", alias="characters.errors")
    character_total: Integer = needed("likewise", alias="characters.total")
    words: By[Integer] = optional(
        "`errors`, `total`, `substitutions`, `deletions`, `insertions` of words after normalization; the first two are "
        "required"
    )
    tokens: By[Integer] = optional("of mixed tokens instead")
    characters: By[Integer] = optional("likewise")
    normalizer: Text | None = optional("normalizer of the error counts, with its version")
    finished: Boolean | None = optional("whether the transcript ends by itself, not at the limit on its length")
    compared: By[Text] = optional(
        "`reference` and `text` as their errors are counted: words or mixed tokens after normalization, separated by "
        "spaces"
    )


class ProcessRecord(Record):
    """The process that works on the run, or did last; updated every few seconds."""

    host: Text = needed("name of the machine")
    pid: Integer = needed("the process there")
    left: Text | None = needed("how it ended; null while it runs, or if it was killed")
    machine: Text | None = optional("distinguishes machines with the same name")
    since: Text | None = optional("its start, in UTC")
    beat: Integer | None = optional("number of updates so far")
