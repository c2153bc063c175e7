"""Groups of a probe's utterances in a run: their readings, gates that require every one, resuming, refusals."""

import json
import shutil

import pandas as pd
import pytest

from analysis import load
from analysis.run.kinds import required
from analysis.run.probe_sums import group_sums
from analysis.run.records import ProbeGroup
from distill import Utterance, read_manifest, resume, train, write_manifest
from distill.data.manifest import ManifestError
from distill.recipe import Recipe
from distill.training.dry_run import _longest_first
from distill.training.setup import prepare_run
from overlap.estimates.paired_change import paired_change
from overlap.estimates.summary import estimate
from tests.distill.training.test_trainer import _Interrupt

EVERY = {
    "type": "every_group",
    "of": "language",
    "gate": {"type": "threshold", "statistic": "fixed.top1_agreement", "at_least": 0.0, "patience": 2},
}
CHANGE = {
    "type": "every_group",
    "of": "language",
    "gate": {"type": "saturation", "statistic": "fixed.total_variation", "min_delta": 0.0, "mode": "min"},
}
SIZES = {"German": 24, "English": 20, "Czech": 3}


@pytest.fixture(scope="module")
def probe_set(tmp_path_factory):
    """Prompts of three languages, one line without any; speakers of two ages."""
    path = tmp_path_factory.mktemp("groups") / "probe.jsonl"
    names = [name for name, n in SIZES.items() for _ in range(n)] + [None]
    words = ["zero", "one", "two", "three", "four", "five"]
    said = [" ".join(words[(i * 7 + j) % 6] for j in range(1 + i % 3)) for i in range(len(names))]
    write_manifest(
        path,
        [
            Utterance(f"u-{i}", prompt=f"repeat {text}", text=text, language=name, extra={"age": 20 + i % 2})
            for i, (name, text) in enumerate(zip(names, said, strict=True))
        ],
    )
    return path


@pytest.fixture
def staged(texts, probe_set):
    """Teacher data and on-policy steps; gates read groups, probes are every second step."""
    probe = {"manifest": str(probe_set), "every": 2, "states": ["student", "fixed"], "groups": ["language", "age"]}
    evaluation = {"manifest": str(probe_set), "max_new_tokens": 4}
    first, second = (stage | {"when_exhausted": "advance", "steps": 4} for stage in texts["stages"][1:])
    guarded = {"type": "any", "gates": [CHANGE, {"type": "collapse", "limits": {"repetition": ["off", 90.0]}}]}
    second["rollout"] = {"max_new_tokens": 3}
    stages = [first | {"gate": EVERY, "gate_at_entry": True}, second | {"gate": guarded}]
    return texts | {"probe": probe, "evaluation": evaluation, "stages": stages, "checkpoint": {"every": 1}}


def decisions(run):
    return [json.loads(line) for line in (run / "decisions.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    return {"folder": tmp_path_factory.mktemp("runs")}


@pytest.fixture
def whole(staged, kept):
    if "run" not in kept:
        kept["run"] = train(Recipe.model_validate(staged), kept["folder"] / "run").path
    return kept["run"]


def test_every_probe_has_the_readings_of_each_large_group_and_the_sizes_of_all(whole, probe_set):
    files = {path.name for path in (whole / "probes").iterdir()}
    assert {path.name for path in (whole / "probe_groups").iterdir()} == files
    groups = pd.concat([pd.read_parquet(path) for path in sorted((whole / "probe_groups").iterdir())])
    assert list(groups.columns) == list(required(ProbeGroup))
    sizes = groups[(groups["statistic"] == "utterances") & (groups["field"] == "language")]
    for _, part in sizes.groupby(["step", "visit", "states"]):
        named = {group: value for group, value in zip(part["group"], part["value"], strict=True) if pd.notna(group)}
        assert named == SIZES
        assert part["value"].sum() == 48
    probes = pd.concat([pd.read_parquet(path) for path in (whole / "probes").iterdir()])
    statistics = set(probes.loc[~probes["statistic"].str.startswith("funnel."), "statistic"])
    for group in ("German", "English"):
        assert set(groups.loc[groups["group"] == group, "statistic"]) == statistics | {"utterances"}
    assert set(groups.loc[groups["group"] == "Czech", "statistic"]) == {"utterances"}
    assert set(groups.loc[groups["field"] == "age", "group"]) == {"20", "21"}


def test_they_follow_from_the_sums_by_utterance(whole, probe_set):
    run = load(whole)
    english = {u.id for u in read_manifest(probe_set) if u.language == "English"}
    place = {"step": 2, "visit": 0, "states": "student"}
    sums = run.probe_sums
    for name, value in place.items():
        sums = sums[sums[name] == value]
    sums = sums[(sums["statistic"] == "union_size") & sums["id"].isin(english)]
    expected = estimate(group_sums(sums))["union_size"]
    rows = pd.read_parquet(whole / "probe_groups/step-000002-visit-000.parquet")
    row = rows[(rows["group"] == "English") & (rows["states"] == "student") & (rows["statistic"] == "union_size")]
    assert row["value"].item() == pytest.approx(expected.value, rel=1e-5)  # sums are kept in float32
    assert row["low"].item() == pytest.approx(expected.low, rel=1e-4)
    assert row["n_positions"].item() == expected.n_positions


def test_a_gate_reads_every_group_and_its_row_names_them(whole):
    [first, second] = [row for row in decisions(whole) if row["stage"] == "teacher data" and row["levels"]][:2]
    assert (first["decision"], second["decision"]) == ("stay", "advance")
    read = {one["group"]: one["numbers"] for one in second["numbers"]["groups"]}
    assert set(read) == {"German", "English"}
    assert {level["group"] for level in second["levels"]} == {"language=German", "language=English"}
    rows = pd.read_parquet(whole / f"probe_groups/step-{second['step']:06d}-visit-{second['visit']:03d}.parquet")
    mine = rows[(rows["states"] == "fixed") & (rows["statistic"] == "top1_agreement")].set_index("group")
    for group, numbers in read.items():
        assert numbers["value"] == mine.loc[group, "value"]
        assert numbers["n_groups"] == SIZES[group]
    assert "language=German: fixed.top1_agreement" in second["reason"]
    assert set(load(whole).decisions.iloc[0]["levels"][0]) >= {"group"}


def test_changes_since_the_probe_before_are_paired_within_a_group(whole, probe_set):
    row = next(row for row in decisions(whole) if row["stage"] == "on-policy" and row["stage_step"] == 4)
    read = {one["group"]: one["numbers"] for one in row["numbers"]["members"][0]["numbers"]["groups"]}
    german = [u.id for u in read_manifest(probe_set) if u.language == "German"]
    parts = []
    for step in (row["step"] - 2, row["step"]):
        kept = pd.read_parquet(whole / f"probe_sums/step-{step:06d}-visit-{row['visit']:03d}.parquet")
        kept = kept[(kept["states"] == "fixed") & (kept["statistic"] == "total_variation") & kept["id"].isin(german)]
        parts.append(group_sums(kept))
    expected = paired_change(*parts)["total_variation.change"]
    assert read["German"]["value"] == pytest.approx(expected.value, abs=1e-12)
    assert (read["German"]["low"], read["German"]["high"]) == pytest.approx((expected.low, expected.high), abs=1e-9)


def test_resuming_changes_nothing(staged, whole, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        train(
            Recipe.model_validate(staged), tmp_path / "cut", observer=_Interrupt(1)
        )  # between two readings of a streak
    again = resume(tmp_path / "cut").path
    assert decisions(again) == decisions(whole)
    for path in (whole / "probe_groups").iterdir():
        pd.testing.assert_frame_equal(pd.read_parquet(again / "probe_groups" / path.name), pd.read_parquet(path))


def test_transcripts_of_evaluations_have_the_fields(whole, probe_set):
    found = load(whole).transcripts
    ages = {u.id: str(u.extra["age"]) for u in read_manifest(probe_set)}
    assert found["groups.age"].tolist() == [ages[id_] for id_ in found["id"]]
    assert found["groups.language"].equals(found["language"])


def test_groups_are_said_before_the_first_step(staged, tmp_path):
    class Noted(_Interrupt):
        def __init__(self):
            super().__init__(1)
            self.notes = []

        def notice(self, text):
            self.notes.append(text)

    seen = Noted()
    with pytest.raises(KeyboardInterrupt):
        train(Recipe.model_validate(staged), tmp_path / "run", observer=seen)
    assert seen.notes[0] == (
        "probe.groups: language: German (24), English (20); without readings, fewer than 20 utterances: Czech (3), "
        "3 in all; 1 utterance names none"
    )


def test_a_dry_run_reads_groups_of_any_size(staged):
    setup = _longest_first(prepare_run(Recipe.model_validate(staged), device="cpu"))
    assert len(setup.probe) == setup.recipe.probe.batch_size
    assert set(setup.groups[0].large) == {u.language for u in setup.probe if u.language}


def refused(staged, tmp_path, said):
    with pytest.raises(ManifestError, match=said):
        train(Recipe.model_validate(staged), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_fields_without_groups_are_refused_before_training(staged, tmp_path):
    staged["probe"]["groups"] = ["language", "accent"]
    refused(
        staged, tmp_path, r'probe\.jsonl: no line has the field "accent", which probe\.groups names; add it to them'
    )
    staged["probe"] |= {"groups": ["language"], "max_utterances": 12}
    sizes = r"of its 12 utterances, no language has 20, which readings of a group take: German \(12\); probe more"
    refused(staged, tmp_path, sizes)


def test_a_gate_that_the_smallest_group_cannot_open_is_refused(staged, tmp_path):
    ends = {"type": "threshold", "statistic": "end_of_text", "at_least": 0.85}  # takes 23 utterances
    staged["stages"][0]["gate"] = {"type": "precondition", "conditions": [EVERY | {"gate": ends}], "then": EVERY}
    said = r"probe\.jsonl: language 'English': stages\.0\.gate\.conditions\.0\.gate on end_of_text never opens with 20"
    refused(staged, tmp_path, said)


@pytest.mark.parametrize(
    ("gate", "groups", "said"),
    [
        (
            EVERY | {"of": "accent"},
            ["language"],
            r'of = "accent": probe\.groups = \["language"\] does not name it; write',
        ),
        (EVERY, [], r'of = "language": probe\.groups is not set; write groups = \["language"\] there'),
        (EVERY, ["text"], '"text" does not group utterances'),
        (EVERY | {"gate": {"type": "fixed_steps", "steps": 3}}, ["language"], "reads no statistic"),
        (EVERY | {"gate": EVERY}, ["language"], "no groups within groups"),
        (EVERY | {"gate": EVERY["gate"] | {"at_least": 1.5}}, ["language"], r"lies between 0 and 1, so no reading"),
        (EVERY | {"gate": EVERY["gate"] | {"statistic": "top"}}, ["language"], 'no statistic "top"'),
        (
            EVERY | {"gate": {"type": "threshold", "statistic": "own.test.error_rate", "at_most": 0.2}},
            ["language"],
            r"own\.test\.error_rate is of a whole evaluation set and is not read by group; read it beside this gate",
        ),
    ],
)
def test_recipes_that_read_groups_which_no_probe_has_are_refused(staged, gate, groups, said):
    staged["probe"]["groups"] = groups
    staged["stages"][0]["gate"] = {"type": "any", "gates": [gate]}
    with pytest.raises(ValueError, match=said):
        Recipe.model_validate(staged)


def test_a_run_of_before_has_none(whole, tmp_path):
    shutil.copytree(whole, tmp_path / "run")
    shutil.rmtree(tmp_path / "run/probe_groups")
    assert load(tmp_path / "run").probe_groups.empty
