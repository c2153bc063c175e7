"""Soft switches in recipes: what is built, what is refused and with which remedy, what has no effect."""

import pytest

from distill.recipe import Recipe, RecipeError, load_recipe
from distill.recipe.loading import recipe_of
from distill.recipe.without_effect import RecipeWarning
from overlap.soft_switches import LinearShare, OverlapShare
from tests.distill.test_recipe import STAGED, write
from tests.distill.test_recipe_words import said

SHARE = 'stages.2.off_policy={{states="teacher", fraction={}}}'
OVERLAP = '{{type="overlap", statistic="{}", low={}, high={}{}}}'


def share(text: str) -> str:
    return SHARE.format(text)


def overlap(statistic="top1_agreement.without_repeats", low=0.45, high=0.85, more="") -> str:
    return share(OVERLAP.format(statistic, low, high, more))


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        (share("0.25"), None),
        (share('{type="linear", steps=20}'), LinearShare(1.0, 0.0, steps=20)),
        (share('{type="linear", from=0.2, to=0.8, steps=20}'), LinearShare(0.2, 0.8, steps=20)),
        (overlap(), OverlapShare("top1_agreement.without_repeats", 0.45, 0.85)),
        (
            overlap("fixed.total_variation", 0.2, 0.6, ', mode="min", on="value"'),
            OverlapShare("fixed.total_variation", 0.2, 0.6, "min", "value"),
        ),
        (overlap("VUSS", 40, 60, ', mode="min"'), OverlapShare("union_size", 40.0, 60.0, "min")),
    ],
)
def test_what_is_built_and_read_back_from_a_run(tmp_path, change, rule):
    recipe = load_recipe(write(tmp_path, STAGED), [change, "probe.every=10"])
    section = recipe.stages[2].off_policy
    assert section.rule == rule
    assert rule is not None or section.fraction == 0.25
    again = Recipe.model_validate_json(recipe.model_dump_json())
    assert again == recipe
    assert again.stages[2].off_policy.rule == rule


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (share("1.5"), "stages.2.off_policy.fraction: must be at most 1, not 1.5"),
        (share("0.0"), "stages.2.off_policy.fraction: must be above 0, not 0.0"),
        (share("true"), "stages.2.off_policy.fraction: must be a number, not true"),
        (share('"often"'), 'stages.2.off_policy.fraction: must be a number, not "often"'),
        (share("{low=0.1}"), 'stages.2.off_policy.fraction.type is missing; write one of "linear", "overlap"'),
        (
            share('{type="lineer"}'),
            'stages.2.off_policy.fraction.type = "lineer" is unknown; did you mean "linear"? Or write one of "linear", '
            '"overlap"',
        ),
        (share('{type="linear"}'), "stages.2.off_policy.fraction.steps is missing: Steps from the first share to"),
        (share('{type="linear", steps=0}'), "stages.2.off_policy.fraction.steps: must be at least 1, not 0"),
        (share('{type="linear", steps=3, from=2.0}'), "stages.2.off_policy.fraction.from: must be at most 1, not 2.0"),
        (
            share('{type="linear", steps=3, start=0.5}'),
            "unknown key stages.2.off_policy.fraction.start; the keys of stages.2.off_policy.fraction are from, steps, "
            "to, type",
        ),
        (
            share('{type="linear", steps=3, to=1.0}'),
            "stages.2.off_policy.fraction: from = 1 and to = 1: the share never changes; write fraction = 1",
        ),
        (
            share('{type="linear", steps=3, from=0.0}'),
            "stages.2.off_policy.fraction: from = 0 and to = 0: the share never changes; leave off_policy out",
        ),
        (
            overlap(low=0.85, high=0.45),
            "stages.2.off_policy.fraction: low = 0.85 and high = 0.45: low must be below high; where smaller is "
            'better, write mode = "min" and keep low below high',
        ),
        (
            overlap(more=', on="interval"'),
            'stages.2.off_policy.fraction.on: must be one of "bound", "value", not "interval"',
        ),
        ("stages.2.rollout.trust_region={}", "stages.2.rollout.trust_region.radius is missing: Radius in the stage's"),
        ("stages.2.rollout.trust_region={radius=0}", "stages.2.rollout.trust_region.radius: must be above 0, not 0"),
        ("stages.2.rollout.trust_region=0.5", "stages.2.rollout.trust_region: must be a table, not 0.5"),
    ],
)
def test_wrong_values_in_the_words_of_a_file(tmp_path, change, line):
    found = said(tmp_path, STAGED, change)
    assert len(found) == 1
    assert found[0].startswith(line)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            [overlap("total_varaition")],
            'off_policy.fraction: the probe has no statistic "total_varaition" .*variation"',
        ),
        ([overlap("reference.union_size")], 'the probe has no statistic "reference.union_size" on its states'),
        ([overlap("own.dev.error_rate", more=', mode="min"')], "named own.NAME.error_rate after an \\[evaluation\\]"),
        (
            [overlap("total_variation.before_repeats", 0.2, 0.6)],
            'fraction.mode = "max": smaller is better in total_variation.before_repeats, .*; write mode = "min"',
        ),
        (
            [overlap(more=', mode="min"')],
            'fraction.mode = "min": larger is better in top1_agreement.without_repeats, .*; write mode = "max"',
        ),
        ([overlap(high=1.1)], "high = 1.1: top1_agreement.without_repeats lies between 0 and 1, so no reading reach"),
        ([overlap("total_variation", -0.1, 0.5, ', mode="min"')], "low = -0.1: .*, so no reading reaches it"),
        (
            [overlap(), "probe.max_utterances=1", 'stages.1.gate.on="value"'],
            "probe.max_utterances = 1: stages.2.off_policy.fraction needs intervals, .* it would never fall to 0",
        ),
        (
            [overlap("end_of_text", 0.5, 0.95), "probe.max_utterances=20"],
            "stages.2.off_policy.fraction on end_of_text never falls to 0 with 20 utterances, .*: it takes 72 utt",
        ),
        (
            ['stages.2.objective={type="policy_gradient"}', "stages.2.rollout={sample=true, trust_region={radius=1}}"],
            'rollout.trust_region: "policy_gradient" needs tokens that the student drew; leave rollout.trust_region',
        ),
        (
            ['stages.2.objective={weights="iw"}', "stages.2.rollout.trust_region={radius=1}"],
            "objective.weights are for transcripts that the student wrote alone; remove one",
        ),
    ],
)
def test_what_cannot_come_to_anything_is_refused_when_the_recipe_is_read(tmp_path, changes, message):
    with pytest.raises(RecipeError, match=message):
        load_recipe(write(tmp_path, STAGED), changes)


def test_a_share_that_reads_needs_a_probe(tmp_path):
    text = STAGED[: STAGED.index("[probe]")].replace("[stages.gate]", "[stages.curriculum_]").split("[[stages]]")
    text = f"{text[0]}[[stages]]{text[1]}[[stages]]{text[3]}".replace('type = "threshold"', "")
    with pytest.raises(RecipeError, match=r"stages\.1\.off_policy\.fraction reads probes: add a \[probe\] table"):
        load_recipe(write(tmp_path, text), [overlap().replace("stages.2", "stages.1")])


SERVED = ['teacher.url="http://localhost:1"', 'stages.2.objective={support="teacher"}']


def test_a_servers_bounds_are_read_by_the_conservative_one(tmp_path):
    path = write(tmp_path, STAGED)
    with pytest.raises(
        RecipeError, match=r"fraction: .* only bounds of forward_kl; read the upper bound here: forward"
    ):
        load_recipe(path, [*SERVED, overlap("forward_kl", 0.2, 2.0, ', mode="min"')])
    recipe = load_recipe(path, [*SERVED, overlap("forward_kl.upper", 0.2, 2.0, ', mode="min"'), "probe.every=10"])
    assert recipe.stages[2].off_policy.rule.statistics == ("forward_kl.upper",)


def test_a_server_cannot_write_along(tmp_path):
    with pytest.raises(
        RecipeError, match=r"stages\.2\.rollout\.trust_region: .* a server does not return them; remove"
    ):
        load_recipe(write(tmp_path, STAGED), [*SERVED, "stages.2.rollout.trust_region={radius=0.5}"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (share('{type="linear", steps=31}'), r"fraction\.steps = 31: the stage has 30, so the share never reaches 0"),
        ("stages.2.rollout.trust_region={radius=1, steps=31}", "the stage has 30, so the radius never reaches 0"),
        (overlap(), "probe.every = 50 and the stage has 30 steps, so the share is that of the reading at entry"),
    ],
)
def test_settings_without_effect(tmp_path, change, message):
    with pytest.warns(RecipeWarning, match=message):
        load_recipe(write(tmp_path, STAGED), [change])


def test_nothing_is_on_by_default():
    tables = {"student": {"model": "s"}, "teacher": {"model": "t"}}
    stage = {"type": "opd", "name": "a", "manifest": "a.jsonl", "steps": 3}
    found = recipe_of(tables | {"stages": [stage]}).stages[0]
    assert found.off_policy is None
    assert found.rollout.trust_region is None
