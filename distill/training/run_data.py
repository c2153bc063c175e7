"""The data of a run: its manifests by use, read and checked as far as no model is needed."""

from __future__ import annotations

from ..data.data_sets import DataSets, Purpose, read_sets
from ..data.groups import required_groups
from ..data.line_findings import errors, lines_of
from ..data.manifest import ManifestError, Utterance
from ..normalize import normalizer
from ..recipe import Recipe, StageConfig
from ..recipe.group_gates import too_small_groups
from ..recipe.paths import require_files
from ..recipe.readers import lacks_intervals, needs_intervals, readers_of, too_small


def read_data(recipe: Recipe) -> DataSets:
    """Read the manifests of a recipe, without the lines that cannot be used.

    Raises:
        FileNotFoundError, ManifestError, MissingExtraError, UserError: A manifest or a normalizer is missing, nothing
            is left of a set, or a gate cannot open with what is left of the probe.
    """
    require_files(recipe)
    data = read_sets(manifest_uses(recipe), max_seconds=recipe.audio.max_seconds, decode=recipe.audio.check == "decode")
    check_intervals(recipe, data)
    for section in recipe.evaluations:
        normalizer(section.normalizer)
    return data.usable()


def check_intervals(recipe: Recipe, data: DataSets) -> None:
    """Refuse probes that are too small for a gate to open or an off-policy share to fall, such as a single utterance
    if these need intervals, and fields of `probe.groups` that give no group readings of its own.

    Raises:
        ManifestError: Names the manifest, how many of its lines were dropped, what reads it and the remedy.
    """
    if recipe.probe is None:
        return
    n = len(by_section(recipe, data)[1])
    dropped = lines_of(one for one in errors(data.all_findings) if one.file == recipe.probe.manifest)
    left = f" left, {dropped} could not be used" if dropped else ""
    readers = [found for i, stage in enumerate(recipe.stages) for found in readers_of(stage, f"stages.{i}")]
    for where, reader in readers:
        if n == 1 and lacks_intervals(reader):
            needs = needs_intervals(reader)
            raise ManifestError(f"{recipe.probe.manifest} has one utterance{left}: {where} {needs}")
        if small := too_small(reader, n, where):
            raise ManifestError(f"{recipe.probe.manifest} has {n} utterances{left}: {'; '.join(small)}")
    fields, probed = recipe.probe.groups, by_section(recipe, data)[1]
    groups = required_groups(probed, fields, recipe.probe.manifest, "probe.groups", left)
    sizes = {one.field: {group: len(ids) for group, ids in one.large.items()} for one in groups}
    for i, stage in enumerate(recipe.stages):
        if small := too_small_groups(stage.effective_gate.build(), sizes, f"stages.{i}.gate"):
            raise ManifestError(f"{recipe.probe.manifest}{left}: {'; '.join(small)}")


def manifest_uses(recipe: Recipe) -> list[tuple[Purpose, str]]:
    """Uses of the recipe's manifests: of the stages, of the probe if there is one, of the evaluations."""
    wanted = []
    for stage in recipe.stages:
        learned = learns_labels(stage)
        kind = "supervised training" if stage.type == "sft" else "training on reference states"
        needs = f"{kind} (stage {stage.name!r})" if learned else ""
        purpose = Purpose(needs, is_scored=learned, is_learned=learned, is_supervised=stage.type == "sft")
        wanted.append((purpose, stage.manifest))
    if recipe.probe:
        needs = "probing on reference transcripts" if "reference" in recipe.probe.states else ""
        first, scored = recipe.probe.max_utterances, bool(needs)
        purpose = Purpose(needs, first=first, is_scored=scored, is_learned=scored)
        wanted.append((purpose, recipe.probe.manifest))
    return [*wanted, *((Purpose(f"evaluation {section.name!r}"), section.manifest) for section in recipe.evaluations)]


def by_section(
    recipe: Recipe, data: DataSets
) -> tuple[tuple[tuple[Utterance, ...], ...], tuple[Utterance, ...], tuple[tuple[Utterance, ...], ...]]:
    """Return the utterances of the stages, of the probe (none without one), and of the evaluations."""
    n, probed = len(recipe.stages), int(recipe.probe is not None)
    return data.sets[:n], data.sets[n] if probed else (), data.sets[n + probed :]


def learns_labels(stage: StageConfig) -> bool:
    """Return whether a stage trains on the text of its manifest."""
    if stage.type == "opd":
        return stage.off_policy is not None and stage.off_policy.states == "reference"
    return stage.type == "sft"
