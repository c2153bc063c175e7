"""Weights of positions in the objective: in the loss, in the recipe, in a step's row, and nowhere when off."""

import json
from typing import get_args

import pytest
import torch
from pydantic import ValidationError

import distill.training.objectives
from distill import train
from distill.recipe import DivergenceObjective, PolicyGradientObjective, Recipe, RecipeError, load_recipe
from distill.recipe.stages import Weights
from distill.training.objectives import on_policy_objective
from distill.training.steps import weight_summary
from overlap.errors import UserError
from overlap.weights import OFFERED
from tests.distill.test_cli import as_toml
from tests.distill.training.test_objectives import ALL, V, comparison
from tests.distill.training.test_served_training import topk_comparison
from tests.overlap.weights import loops


def test_a_recipe_offers_what_the_library_offers():
    assert get_args(Weights) == OFFERED


def case():
    generator = torch.Generator().manual_seed(4)
    student = (2 * torch.randn(3, 5, V, generator=generator)).requires_grad_()
    teacher = 2 * torch.randn(3, 5, V, generator=generator)
    mask = torch.arange(5)[None] < torch.tensor([5, 3, 1])[:, None]
    ids = torch.randint(V, (3, 5), generator=generator)
    return student, teacher, mask, ids


def expected_weights(name, student, teacher, mask, ids):
    """[n] in the order of positions, from softmaxes in float64; V is below 16, so Prune-OPD's sets are all of it."""
    log_p, log_q = (
        logits.detach().double().log_softmax(-1).gather(-1, ids[..., None]).squeeze(-1) for logits in (student, teacher)
    )
    best = teacher.topk(5).indices == student.argmax(-1, keepdim=True)
    rows = {
        "prune": [loops.prune([1.0] * int(keep.sum())) for keep in mask],
        "selectkd": [loops.selectkd(row) for row in loops.rows(best.any(-1), mask)],
        "iw": [loops.iw(p, q) for p, q in zip(loops.rows(log_p, mask), loops.rows(log_q, mask), strict=True)],
        "tropd": [loops.tropd(p, q) for p, q in zip(loops.rows(log_p, mask), loops.rows(log_q, mask), strict=True)],
    }[name]
    return torch.tensor([weight for row in rows for weight in row], dtype=torch.float64)


@pytest.mark.parametrize("name", OFFERED)
@pytest.mark.parametrize("objective", ALL, ids=lambda one: one.name)
def test_the_loss_is_the_weighted_sum_of_each_positions_own(objective, name):
    student, teacher, mask, ids = case()
    weighted = objective.model_copy(update={"weights": name})
    result = on_policy_objective(comparison(student, teacher, 3, temperature=1.0, mask=mask, ids=ids), weighted)
    weights = expected_weights(name, student, teacher, mask, ids)
    torch.testing.assert_close(result.weights, weights, atol=1e-5, rtol=1e-5)
    assert result.positions == int(mask.sum())  # the divisor, whatever the weights are
    total = torch.zeros(())
    for weight, place in zip(weights, mask.nonzero().tolist(), strict=True):
        alone = torch.zeros_like(mask)
        alone[tuple(place)] = True
        own = on_policy_objective(comparison(student, teacher, 3, mask=alone, ids=ids), objective)
        total = total + weight.float() * own.loss
    torch.testing.assert_close(result.loss, total, atol=1e-4, rtol=1e-4)
    gradients = [torch.autograd.grad(loss, student)[0] for loss in (result.loss, total)]
    torch.testing.assert_close(*gradients, atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("objective", ALL, ids=lambda one: one.name)
def test_without_weights_nothing_is_computed_and_the_numbers_are_the_same_to_the_last_bit(objective, monkeypatch):
    """Compared with weights that are all 1."""
    student, teacher, mask, ids = case()
    compared = comparison(student, teacher, 3, mask=mask, ids=ids, temperature=1.3)
    ones = on_policy_objective(compared, objective.model_copy(update={"weights": "prune"}))  # sets are all of V
    assert (ones.weights == 1).all()
    monkeypatch.setattr(distill.training.objectives, "rule_inputs", None)
    plain = on_policy_objective(compared, objective)
    assert plain.weights is None
    assert plain.loss.item() == ones.loss.item()
    gradients = [torch.autograd.grad(result.loss, student, retain_graph=True)[0] for result in (plain, ones)]
    assert torch.equal(*gradients)


def test_where_a_weight_is_undefined_the_term_stays_as_it_was():
    student, teacher, mask, ids = case()
    teacher[0, 1, ids[0, 1]] = -torch.inf
    objective = DivergenceObjective(support="student", divergence="forward_kl")
    result = on_policy_objective(
        comparison(student, teacher, 3, mask=mask, ids=ids), objective.model_copy(update={"weights": "iw"})
    )
    assert result.weights.isnan().nonzero().tolist() == [[1]]
    assert result.loss.isfinite()
    assert weight_summary(result.weights)["n"] == int(mask.sum()) - 1


def test_masked_positions_may_hold_anything():
    student, teacher, mask, ids = case()
    with torch.no_grad():
        student[~mask] = torch.nan
    for name in OFFERED:
        objective = DivergenceObjective(weights=name)
        (gradient,) = torch.autograd.grad(
            on_policy_objective(comparison(student, teacher, 3, mask=mask, ids=ids), objective).loss, student
        )
        assert gradient.isfinite().all()
        assert (gradient[~mask] == 0).all()


def test_names_of_objectives_say_how_they_are_weighted():
    assert DivergenceObjective(weights="prune").name == "forward_kl(union, tail) × prune"
    assert PolicyGradientObjective(type="policy_gradient", weights="iw").name == "policy_gradient(k1) × iw"
    assert DivergenceObjective().name == "forward_kl(union, tail)"


def steps(run):
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text("utf-8").splitlines()]
    return [row for row in rows if row["stage"] == "on-policy"]


def test_rows_have_number_and_mean_of_the_weights_of_the_students_own_rollouts(mini, tmp_path):
    """Half of the parts of a step are on references, which have none."""
    on_policy = mini["stages"][2] | {"objective": {"weights": "iw"}, "steps": 6, "micro_batch_size": 2}
    on_policy |= {"manifest": mini["stages"][0]["manifest"]}
    on_policy["off_policy"] = {"fraction": 0.5, "states": "reference"}
    result = train(Recipe.model_validate(mini | {"stages": [on_policy], "probe": None}), tmp_path / "run")
    rows = steps(result.path)
    assert {"student", "reference+student"} <= {row["rollouts"]["states"] for row in rows}
    for row in rows:
        assert row["objective"]["name"] == "forward_kl(union, tail) × iw"
        own = row["rollouts"]["states"]
        if own == "reference":
            assert "weights" not in row
            continue
        assert 1 <= row["weights"]["mean"] <= 1.5
        assert (row["weights"]["n"] == row["n_positions"]) == (own == "student")
        assert 0 < row["weights"]["n"] <= row["n_positions"]


def test_a_stage_without_weights_has_none_in_its_rows(mini, tmp_path):
    on_policy = mini["stages"][2] | {"steps": 1}
    result = train(Recipe.model_validate(mini | {"stages": [on_policy], "probe": None}), tmp_path / "run")
    assert all("weights" not in row for row in steps(result.path))


@pytest.fixture
def served(mini, server, served_models):
    """The miniature recipe with its teacher behind the server."""
    settings = {"served_name": "teacher", "top_logprobs": 20}
    mini["teacher"] = {"model": str(served_models["teacher"]), "url": server.url, "server": settings}
    mini["stages"] = [mini["stages"][2] | {"objective": {"support": "teacher"}, "steps": 1}]
    return mini | {"probe": None, "evaluation": None}


@pytest.mark.parametrize("name", ["prune", "selectkd"])
def test_a_served_teachers_best_tokens_suffice_for_two_rules(name, served):
    """The server lists all of its tokens here, which are fewer than 16."""
    served["stages"][0]["objective"] |= {"weights": name}
    objective = Recipe.model_validate(served).stages[0].objective
    student, teacher, *_ = case()
    there, local = topk_comparison(student, teacher, 3, V), comparison(student, teacher, 3)
    found, expected = (on_policy_objective(compared, objective) for compared in (there, local))
    assert torch.equal(found.weights, expected.weights)
    torch.testing.assert_close(found.loss, expected.loss, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", ["iw", "tropd"])
def test_rules_that_a_served_teacher_cannot_compute_are_refused_without_a_recipe_too(name):
    student, teacher, *_ = case()
    with pytest.raises(UserError, match=f'weights "{name}": student_logprob, teacher_logprob not known'):
        on_policy_objective(
            topk_comparison(student, teacher, 3, V), DivergenceObjective(support="teacher", weights=name)
        )


@pytest.mark.parametrize(
    ("name", "listed", "words"),
    [
        (
            "iw",
            20,
            r'recipe\.toml.*stages\.0\.objective\.weights = "iw": it reads student_logprob and teacher_logprob at '
            r'every position, and a server shows only its best tokens\. Remove it, set "prune" or "selectkd", or use a '
            r"local teacher \(remove teacher\.url\)",
        ),
        ("tropd", 20, r'stages\.0\.objective\.weights = "tropd": it reads'),
        (
            "prune",
            15,
            r'stages\.0\.objective\.weights = "prune": it compares the 16 best tokens, and 15 are requested; raise '
            r"teacher\.server\.top_logprobs to at least 16",
        ),
        ("selectkd", 4, r"compares the 5 best tokens, and 4 are requested"),
        ("selectkd", None, r"compares the 5 best tokens, and 4 are requested"),
    ],
)
def test_rules_that_a_served_teacher_cannot_compute_are_refused_with_the_recipe(name, listed, words, served, tmp_path):
    served["stages"][0]["objective"] |= {"weights": name}
    del served["probe"], served["evaluation"]
    served["teacher"]["server"].pop("top_logprobs")
    if listed is not None:
        served["teacher"]["server"]["top_logprobs"] = listed
    (tmp_path / "recipe.toml").write_text(as_toml(served))
    with pytest.raises(RecipeError, match=f"(?s){words}"):
        load_recipe(tmp_path / "recipe.toml")


@pytest.mark.parametrize("wrong", ["tip", "sead", "prune_scaled", "", 1])
def test_rules_that_only_inform_are_not_offered(wrong, mini):
    mini["stages"][2]["objective"] = {"weights": wrong}
    with pytest.raises(ValidationError, match=r"'prune', 'selectkd', 'iw' or 'tropd'"):
        Recipe.model_validate(mini)
