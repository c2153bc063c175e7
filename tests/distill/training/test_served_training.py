"""Runs whose teacher is behind a server: objective, readings, gates, and what a recipe may not ask of one."""

import json

import pandas as pd
import pytest
import torch
from pydantic import ValidationError

from analysis import load, stage_table
from distill.models import load_recognizer
from distill.models.base import pack
from distill.progress.bars import probe_table
from distill.recipe import DivergenceObjective, Recipe, Teacher, load_recipe
from distill.scoring.pair import Pair
from distill.scoring.positions import Positions
from distill.scoring.served import TopkScores
from distill.teacher import load_served_teacher
from distill.training import launch
from distill.training.objectives import on_policy_objective
from tests.distill.test_cli import as_toml
from tests.distill.training.test_objectives import V, comparison

TEACHER = {"type": "divergence", "support": "teacher", "tail": True}


@pytest.fixture
def served(mini, server, served_models):
    """The miniature recipe with its teacher behind the server."""
    mini["teacher"] = {
        "model": str(served_models["teacher"]),
        "url": server.url,
        "server": {"served_name": "teacher"},
    }
    mini["stages"][2]["objective"] = TEACHER
    return mini


def topk_comparison(student, teacher, k, m, blocked=()) -> TopkScores:
    """What `compare` hands on where the server returns the m best tokens of these logits."""
    local = comparison(student, teacher, k, blocked=blocked)
    logprobs, ids = teacher.double().log_softmax(-1).topk(m)
    aligned = torch.zeros_like(local.used)
    return TopkScores.from_answer(
        Positions(local.pair, local.transcripts, student, aligned, local.support), [ids, logprobs]
    )


@pytest.mark.parametrize("divergence", ["forward_kl", "reverse_kl", "jensen_shannon"])
@pytest.mark.parametrize(("tail", "m"), [(False, 5), (True, V)])
def test_the_objective_is_that_of_a_local_teacher(divergence, tail, m):
    """Renormalized on its top-k set it needs k tokens and the blocked ones above them; with a tail, here all."""
    generator = torch.Generator().manual_seed(0)
    student = (2 * torch.randn(3, 4, V, generator=generator)).requires_grad_()
    teacher, blocked = 2 * torch.randn(3, 4, V, generator=generator), (2, 9)
    objective = DivergenceObjective(type="divergence", support="teacher", divergence=divergence, tail=tail, beta=0.3)
    results = [
        on_policy_objective(topk_comparison(student, teacher, 3, m, blocked), objective),
        on_policy_objective(comparison(student, teacher, 3, blocked=blocked), objective),
    ]
    gradients = [torch.autograd.grad(result.loss, student)[0] for result in results]
    torch.testing.assert_close(results[0].loss, results[1].loss, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(gradients[0], gradients[1], atol=1e-5, rtol=1e-4)
    assert results[0].positions == results[1].positions
    torch.testing.assert_close(results[0].student_mass, results[1].student_mass, atol=1e-5, rtol=0)
    if m == V:
        torch.testing.assert_close(results[0].teacher_mass.float(), results[1].teacher_mass, atol=1e-5, rtol=0)


def test_a_certain_teacher_has_finite_objectives():
    student, teacher = torch.zeros(1, 1, V, requires_grad=True), torch.full((1, 1, V), -80.0)
    teacher[..., 0] = 80.0
    for divergence in ("forward_kl", "reverse_kl", "jensen_shannon"):
        objective = DivergenceObjective(type="divergence", support="teacher", divergence=divergence, tail=True)
        loss = on_policy_objective(topk_comparison(student, teacher, 3, 5), objective).loss
        (gradient,) = torch.autograd.grad(loss, student)
        assert loss.isfinite()
        assert gradient.isfinite().all()


def test_a_run_from_beginning_to_end(served, tmp_path):
    served["stages"][1]["gate"] = {"type": "threshold", "statistic": "total_variation.upper", "at_most": 1.1}
    off_policy = {"fraction": 0.5, "states": "teacher", "transcription": {"max_new_tokens": 8}}
    served["stages"][2]["off_policy"] = off_policy | {"filters": served["stages"][1]["filters"]}
    result = launch.train(Recipe.model_validate(served), tmp_path / "run")
    assert result.outcome == "finished"
    probes = pd.read_parquet(tmp_path / "run" / "probes")
    assert set(probes["states"]) == {"student", "fixed", "teacher"}
    last = probes[(probes["step"] == result.step) & (probes["states"] == "student")].set_index("statistic")
    assert last.loc["forward_kl.lower", "value"] <= last.loc["forward_kl.upper", "value"]
    assert last.loc["union_size", "n_undefined"] == 0
    assert "forward_kl" not in last.index
    decisions = [json.loads(line) for line in (tmp_path / "run" / "decisions.jsonl").read_text().splitlines()]
    read = [row["reason"] for row in decisions if row["gate"] == "threshold(total_variation.upper)"]
    assert any("satisfies at most 1.1" in reason for reason in read)
    steps = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    onward = [row for row in steps if row["stage"] == "on-policy"]
    assert all(0 < row["objective"]["teacher_mass"] <= 1 and row["loss"] > 0 for row in onward)
    assert onward[0]["overlap"]["forward_kl.lower"] <= onward[0]["overlap"]["forward_kl.upper"]
    assert "VUSS" in stage_table(load(tmp_path / "run")).to_text()
    assert probe_table(probes[probes["step"] == result.step].to_dict("records")).row_count == 3
    assert launch.resume(tmp_path / "run").outcome == result.outcome  # the recipe as written is a recipe


def test_a_run_ends_with_the_servers_error_and_what_it_wrote_stays(served, server, tmp_path):
    served["teacher"]["server"] |= {"retries": 0}
    del served["stages"][1], served["probe"]
    served["stages"][0]["steps"] = 2
    served["evaluation"] = None
    server.control(max_logprobs=100, faults=[{"status": 500}])
    with pytest.raises(ValueError, match="status 500"):
        launch.train(Recipe.model_validate(served), tmp_path / "run")
    server.control(max_logprobs=100)
    assert launch.resume(tmp_path / "run").outcome == "finished"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            lambda r: r["stages"][2].pop("objective"),
            r'stages\.2\.objective: .* type = "divergence" and support = "teacher"',
        ),
        (
            lambda r: r["stages"][2].update(rollout={"sample": True}, objective={"type": "policy_gradient"}),
            r"stages\.2\.objective: a server returns top-k log-probabilities",
        ),
        (lambda r: r["support"].update(temperature=2.0), r"support\.temperature = 2: a server's .* temperature 1"),
        (lambda r: r["teacher"]["server"].update(top_logprobs=3), r"top_logprobs = 3 is fewer than support\.k = 4"),
        (lambda r: r["teacher"].update(dtype="bfloat16"), "dtype: the server sets this"),
        (lambda r: r["teacher"].pop("url"), "server: these are settings of a server's requests; give teacher.url"),
    ],
)
def test_what_a_recipe_may_not_ask_of_a_server(served, change, words):
    change(served)
    with pytest.raises(ValidationError, match=words):
        Recipe.model_validate(served)


@pytest.mark.parametrize(
    ("gate", "words"),
    [
        (
            {"type": "threshold", "statistic": "forward_kl", "at_most": 1.0},
            "give only bounds of forward_kl; read the upper bound here: forward_kl.upper",
        ),
        (
            {"type": "threshold", "statistic": "fixed.teacher_mass.upper", "at_least": 0.5},
            "bounds of fixed.teacher_mass; read the lower bound here: fixed.teacher_mass.lower",
        ),
        (
            {"type": "plateau", "statistic": "union_kl.lower", "mode": "min"},
            "bounds of union_kl; read the upper bound here: union_kl.upper",
        ),
        (
            {"type": "collapse", "limits": {"teacher_entropy.lower": [0.1, 5.0]}},
            "bounds of teacher_entropy; give one limit, not two",
        ),
        ({"type": "collapse", "limits": {"teacher_mass.lower": [0.1, None]}}, "read the upper bound here"),
        ({"type": "threshold", "statistic": "nucleus_overlap", "at_least": 0.5}, 'no statistic "nucleus_overlap"'),
    ],
)
def test_gates_read_the_end_that_leaves_no_doubt(served, gate, words):
    served["stages"][1]["gate"] = gate
    with pytest.raises(ValidationError) as refused:
        Recipe.model_validate(served)
    assert words in str(refused.value)


@pytest.mark.parametrize(
    "gate",
    [
        {"type": "threshold", "statistic": "overlap_ratio", "at_least": 0.5},
        {"type": "threshold", "statistic": "teacher.forward_kl.upper", "at_most": 1.0},
        {"type": "plateau", "statistic": "teacher_mass.lower"},
        {"type": "collapse", "limits": {"student_entropy": [0.1, 5.0], "teacher_mass.upper": [0.1, None]}},
    ],
)
def test_gates_that_may_be_read(served, gate):
    served["stages"][1]["gate"] = gate
    Recipe.model_validate(served)


def test_the_cache_is_beside_the_recipe(tmp_path, served):
    served["teacher"]["server"]["cache"] = "kept"
    (tmp_path / "recipe.toml").write_text(as_toml(served))
    assert load_recipe(tmp_path / "recipe.toml").teacher.server.cache == str(tmp_path / "kept")


def test_pairs_of_one_vocabulary_are_aligned_by_text(served_models, server):
    """A server cuts the text anew: what the student spelled otherwise has no counterpart, and is counted."""
    student = load_recognizer(str(served_models["glm"]))
    section = Teacher(model=str(served_models["glm"]), url=server.url, server={"served_name": "glm"})
    pair = Pair.from_models(student, load_served_teacher(section, 4), 4)
    canonical = student.encode(["other"])
    view = pair.view(canonical)
    assert not view.alignment.misaligned.any()
    assert view.texts == ("other",)
    assert [student.tokens.strings[token] for token in canonical.ids[0].tolist()[:-1]] == ["o", "th", "er"]
    letters = [*student.tokenizer.convert_tokens_to_ids(list("other")), student.tokens.end_of_text]
    split = pair.view(pack([letters], student.tokens.end_of_text))
    assert split.texts == ("other",)
    assert split.alignment.misaligned[0].tolist() == [False, False, True, False, True, False]
