"""Readings of a group of a probe's utterances are those of a probe of these utterances alone."""

import dataclasses
import json

import pytest

import distill
from distill import cli, read_manifest, write_manifest
from distill.data.audio import AudioCache
from distill.data.batch import AudioSource
from distill.data.groups import groups_by
from distill.models import load_recognizer
from distill.probing.groups import readings_by_group
from distill.probing.probe import probe
from distill.recipe import Decoding, SupportSettings
from distill.recipe.paths import packaged
from distill.scoring.pair import Pair
from overlap.errors import UserError

SUPPORT, SHORT, SOURCE = SupportSettings(k=5), Decoding(max_new_tokens=6), AudioSource(AudioCache())


@pytest.fixture(scope="module")
def utterances():
    """The shortest of the demo's test set, 20 "German" ones before 20 "English" ones, then a few of others."""
    found, few = (
        sorted(read_manifest(packaged(f"corpus/{name}.jsonl")), key=lambda u: u.end_time - u.begin_time)[:n]
        for name, n in (("test", 40), ("pool", 5))
    )
    groups = (("German", found[::-2]), ("English", found[::2]))
    named = [dataclasses.replace(u, language=of, extra={"age": len(of)}) for of, part in groups for u in part]
    return [*named, *(dataclasses.replace(u, language="Czech" if i else None, extra={}) for i, u in enumerate(few))]


@pytest.fixture(scope="module")
def pair(student_path, teacher_path):
    return Pair.from_models(load_recognizer(str(student_path)), load_recognizer(str(teacher_path)), SUPPORT.k)


@pytest.fixture(scope="module")
def teacher(pair, utterances):
    return probe(pair, SOURCE, utterances, SUPPORT, SHORT, states="teacher", batch_size=20)


def same(one, other):
    """All numbers of two estimates, up to the order of sums."""
    return list(vars(one).values()) == pytest.approx(list(vars(other).values()), rel=1e-9, abs=1e-12, nan_ok=True)


def test_they_equal_a_probe_of_the_group_alone(pair, utterances, teacher):
    # Batches of 20, so that the group's are the same in both: padding changes the last digits.
    settings = {"batch_size": 20, "teacher_rollouts": teacher.rollouts}
    whole = probe(pair, SOURCE, utterances, SUPPORT, SHORT, **settings)
    [found] = readings_by_group(whole, [groups_by(utterances, "language")])
    assert dict(found.sizes) == {"German": 20, "English": 20, "Czech": 4}
    assert (list(found.groups), found.small, found.unnamed) == (["English", "German"], {"Czech": 4}, 1)
    alone = [u for u in utterances if u.language == "German"]
    expected = probe(pair, SOURCE, alone, SUPPORT, SHORT, **settings).readings
    assert {"end_of_text", "stop_density", "top1_agreement.without_repeats", "end_gap.past_teacher"} <= set(expected)
    assert set(found.groups["German"]) == set(expected)
    assert [name for name, one in expected.items() if not same(one, found.groups["German"][name])] == []
    assert found.groups["German"]["union_size"] != found.groups["English"]["union_size"]


def test_the_whole_set_is_a_group_of_itself(utterances, teacher):
    """Also on other states, and for the intervals of statistics of sequences."""
    everyone = [dataclasses.replace(u, language="one") for u in utterances]
    [found] = readings_by_group(teacher, [groups_by(everyone, "language")])
    assert [name for name, one in teacher.readings.items() if not same(one, found.groups["one"][name])] == []


def test_values_that_are_no_text_are_groups_too(utterances):
    by_age = groups_by(utterances, "age")
    assert {value: len(ids) for value, ids in by_age.members.items()} == {"6": 20, "7": 20}
    assert len(by_age.without) == 5
    assert by_age.line == "age: 6 (20), 7 (20); 5 utterances name none"
    assert groups_by(utterances, "language").line == (
        "language: English (20), German (20); without readings, fewer than 20 utterances: Czech (4), 4 in all; "
        "1 utterance names none"
    )


def test_the_verb_prints_them(utterances, pair):
    some = [*utterances[:20], *utterances[38:]]
    result = distill.probe(pair, some, max_new_tokens=2, batch_size=32, groups=["language"], traced=0, quiet=True)
    assert result.groups[0].readings["language=German/end_of_text"].n_groups == 20
    small = "of each; without readings, fewer than 20 utterances: Czech (4), English (2); 1 utterance without one"
    assert small in str(result)
    assert "by language" in result._repr_html_()
    tree = json.loads(json.dumps(result.to_dict()["groups"]["language"], allow_nan=False))
    assert (tree["sizes"], tree["unnamed"]) == ({"German": 20, "Czech": 4, "English": 2}, 1)
    assert tree["groups"]["German"]["end_of_text"]["n_groups"] == 20


def test_the_command_takes_fields(utterances, student_path, tmp_path, capsys):
    write_manifest(tmp_path / "probe.jsonl", utterances)
    models = ["--student", student_path, "--teacher", student_path, "--manifest", tmp_path / "probe.jsonl"]
    with pytest.raises(SystemExit) as exit_:
        cli.main([*map(str, ["probe", *models, "--group", "age", "--group", "accent"])])
    assert exit_.value.code == 1
    assert 'no line has the field "accent", which groups names; add it to them, or name one' in capsys.readouterr().err


@pytest.mark.parametrize(
    ("groups", "said"),
    [
        (["langauge"], r'no line has the field "langauge", which groups names; did you mean "language"\?'),
        (["text"], r'groups: "text" does not group utterances; name a field that many of them share'),
        (["age", "age"], 'groups: "age" is there twice; name every field once'),
        (["a=b"], 'groups: expected the name of a field without "="'),
        (["id_"], 'has the field "id_", which groups names; add it to them, or name one that they have: language, age'),
    ],
)
def test_fields_that_give_no_groups_are_refused_before_models_are_loaded(utterances, tmp_path, groups, said):
    write_manifest(tmp_path / "probe.jsonl", utterances)
    with pytest.raises(UserError, match=said):
        distill.probe(lambda: pytest.fail("loaded"), tmp_path / "probe.jsonl", groups=groups)


def test_fields_whose_groups_are_all_small_are_refused_with_their_sizes(utterances, tmp_path):
    write_manifest(tmp_path / "probe.jsonl", [*utterances[:13], *utterances[28:]])
    sizes = r"German \(13\), English \(12\), Czech \(4\) \(1 line names none\); probe more"
    said = rf"probe\.jsonl: of its 30 utterances, no language has 20, which readings of a group take: {sizes}"
    with pytest.raises(UserError, match=said):
        distill.probe(lambda: pytest.fail("loaded"), tmp_path / "probe.jsonl", groups=["language"])
