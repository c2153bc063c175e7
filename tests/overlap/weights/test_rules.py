"""Rules by hand, against loops from their formulas, and by their properties."""

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from overlap.errors import UserError
from overlap.weights import (
    OFFERED,
    RULES,
    RuleInputs,
    SeadChoice,
    iw,
    prune,
    scaled_decrement,
    sead,
    selectkd,
    tip,
    tropd,
)
from tests.overlap.weights import loops

NAN = math.nan
NEEDED = sorted({name for rule in RULES.values() for name in rule.needs})


class TestThreeRolloutsOnPaper:
    """Four tokens, one token, and none."""

    mask = torch.tensor([[True] * 4, [True, False, False, False], [False] * 4])

    def values(self, first, second):
        return loops.padded([first, [second], []], 4)

    def shown(self, weights):
        assert weights.dtype == torch.float64
        assert weights[~self.mask].isnan().all()
        return [[round(value, 6) for value in row] for row in loops.rows(weights, self.mask)]

    def test_prune(self):
        overlaps = self.values([0.9, 0.5, 0.75, 0.6], 0.65)
        assert self.shown(prune(overlaps, self.mask)) == [[1.0, 0.98, 0.98, 0.96], [0.98], []]
        outside = self.values([0.0, 1.0, 0.0, 0.0], 1.0)
        weights = prune(overlaps, self.mask, outside_nucleus=outside)
        assert self.shown(weights) == [[1.0, 0.98, 0.98, 0.98], [0.98], []]

    def test_prune_with_a_strict_threshold_and_a_large_decrement_ends_at_zero(self):
        weights = prune(self.values([0.9, 0.5, 0.75, 0.6], 0.65), self.mask, threshold=0.9, decrement=0.5)
        assert self.shown(weights) == [[1.0, 0.5, 0.0, 0.0], [0.5], []]

    def test_prune_scaled_to_a_median_length_of_two_and_a_half(self):
        assert scaled_decrement(self.mask) == pytest.approx(0.02 * 100 / 2.5)
        weights = RULES["prune_scaled"].weights(
            RuleInputs(self.mask, overlap_ratio=self.values([0.9, 0.5, 0.75, 0.6], 0.65))
        )
        assert self.shown(weights) == [[1.0, 0.2, 0.2, 0.0], [0.2], []]

    def test_selectkd(self):
        assert self.shown(selectkd(self.values([1.0, 1.0, 0.0, 1.0], 0.0), self.mask)) == [
            [1.0, 1.0, 0.01, 1.0],
            [0.01],
            [],
        ]

    def test_iw(self):
        """|A| is 1, 0, 3, 1: before the tokens stand 0, 1, 1 and 4 of 5."""
        p, q = self.values([-2.0, -1.0, -4.0, -1.0], -1.0), self.values([-3.0, -1.0, -1.0, -2.0], -1.0)
        assert self.shown(iw(p, q, self.mask)) == [[1.5, 1.4, 1.4, 1.1], [1.5], []]

    def test_tropd(self):
        p, q = self.values([0.8, 0.5, 0.2, 0.9], 0.5).log(), self.values([0.4, 0.5, 0.6, 0.09], 0.125).log()
        assert self.shown(tropd(p, q, self.mask)) == [[0.5, 1.0, 1.0, 0.1], [0.25], []]

    def test_tip(self):
        """ĥ = 0, ½, 1, ¼, ½ and δ̂ = 0, ½, 0, 1, ¼ give s = 0, ¾, 1, 1, ⅝, of which three of five are kept."""
        entropy, divergence = self.values([0.0, 1.0, 2.0, 0.5], 1.0), self.values([0.0, 2.0, 0.0, 4.0], 1.0)
        assert self.shown(tip(entropy, divergence, self.mask)) == [[0.0, 1.0, 1.0, 1.0], [0.0], []]

    def test_sead(self):
        student, teacher = self.values([0.0, 0.5, 0.05, 1.0], 0.05), self.values([0.05, 0.05, 0.3, 0.3], 0.0)
        skip, reverse, forward = SeadChoice.skip, SeadChoice.reverse_kl, SeadChoice.forward_kl
        assert self.shown(sead(student, teacher, self.mask)) == [[skip, reverse, forward, forward], [skip], []]
        trained = RULES["sead"].weights(RuleInputs(self.mask, student_entropy=student, teacher_entropy=teacher))
        assert self.shown(trained) == [[0.0, 1.0, 1.0, 1.0], [0.0], []]


@st.composite
def batches(draw, equal_kl=False):
    """Rollouts of 0 to 6 tokens with every value that a rule reads; some values occur more than once."""
    lengths = draw(st.lists(st.integers(0, 6), min_size=1, max_size=5))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    n_levels = draw(st.sampled_from([2, 5, 1000]))

    def some(high=1.0):
        levels = high * torch.rand(n_levels, generator=generator, dtype=torch.float64)
        return [levels[torch.randint(n_levels, (n,), generator=generator)].tolist() for n in lengths]

    def coins():
        return [torch.randint(2, (n,), generator=generator).double().tolist() for n in lengths]

    values = {
        "overlap_ratio": some(),
        "best_in_teachers": coins(),
        "outside_nucleus": coins(),
        "student_logprob": [[-x for x in row] for row in some(8.0)],
        "teacher_logprob": [[-x for x in row] for row in some(8.0)],
        "student_entropy": some(0.3),
        "teacher_entropy": some(0.3),
        "reverse_kl": [[0.4] * n for n in lengths] if equal_kl else some(3.0),
    }
    return lengths, values


def inputs(lengths, values, padding=0):
    width = max(lengths) + padding
    mask = torch.arange(width)[None] < torch.tensor(lengths)[:, None]
    return RuleInputs(mask, **{name: loops.padded(rollouts, width) for name, rollouts in values.items()})


def by_loops(name, lengths, values):
    """Each rollout's weights from the formulas."""

    def each(rule, *names, **constants):
        rows = zip(*(values[one] for one in names), strict=True)
        return [rule(*row, **constants) for row in rows]

    if name == "prune":
        return each(loops.prune, "overlap_ratio")
    if name == "prune_nucleus":
        return each(loops.prune, "overlap_ratio", "outside_nucleus")
    if name == "prune_scaled":
        there = sorted(n for n in lengths if n)
        half = len(there) // 2
        median = there[half] if len(there) % 2 else (there[half - 1] + there[half]) / 2 if there else 1
        return each(loops.prune, "overlap_ratio", d=0.02 * 100 / median)
    if name == "selectkd":
        return each(loops.selectkd, "best_in_teachers")
    if name in ("iw", "tropd"):
        return each(getattr(loops, name), "student_logprob", "teacher_logprob")
    if name == "sead":
        return [[float(choice > 0) for choice in row] for row in each(loops.sead, "student_entropy", "teacher_entropy")]
    flat = [[*itertools.chain(*values[one])] for one in ("student_entropy", "reverse_kl")]
    kept = iter(loops.tip(*flat) if flat[0] else [])
    return [[next(kept) for _ in range(n)] for n in lengths]


@pytest.mark.parametrize("name", RULES)
@settings(deadline=None)
@given(batch=batches() | batches(equal_kl=True))
def test_weights_are_those_of_a_loop_and_within_their_limits(name, batch):
    lengths, _ = batch
    rule, given_ = RULES[name], inputs(*batch)
    weights = rule.weights(given_)
    assert_close(weights, loops.padded(by_loops(name, *batch), max(lengths)), equal_nan=True, atol=1e-12, rtol=0)
    assert weights[~given_.mask].isnan().all()
    there = weights[given_.mask]
    assert ((there >= rule.smallest) & (there <= rule.largest)).all()


@pytest.mark.parametrize("name", RULES)
@settings(deadline=None)
@given(batch=batches(), padding=st.integers(1, 4))
def test_padding_and_the_order_of_rollouts_change_nothing(name, batch, padding):
    lengths, values = batch
    plain, wider = (RULES[name].weights(inputs(*batch, padding=n)) for n in (0, padding))
    assert_close(wider[:, : max(lengths)], plain, equal_nan=True, rtol=0, atol=0)
    assert wider[:, max(lengths) :].isnan().all()
    turned = RULES[name].weights(inputs(lengths[::-1], {one: rows[::-1] for one, rows in values.items()}))
    assert_close(turned, plain.flip(0), equal_nan=True, rtol=0, atol=0)


@pytest.mark.parametrize("name", ["prune", "prune_nucleus", "prune_scaled", "iw"])
@settings(deadline=None)
@given(batch=batches())
def test_weights_never_rise_along_a_rollout(name, batch):
    for row in loops.rows(RULES[name].weights(inputs(*batch)), inputs(*batch).mask):
        assert all(later <= earlier + 1e-15 for earlier, later in itertools.pairwise(row))


@settings(deadline=None)
@given(batch=batches())
def test_prune_needs_both_signs_in_its_second_version_and_so_keeps_more(batch):
    given_ = inputs(*batch)
    first, second = (RULES[name].weights(given_)[given_.mask] for name in ("prune", "prune_nucleus"))
    assert (second >= first).all()


@settings(deadline=None)
@given(batch=batches())
def test_tip_keeps_at_least_half(batch):
    given_ = inputs(*batch)
    kept = RULES["tip"].weights(given_)[given_.mask]
    assert 2 * kept.sum() >= len(kept)


def test_tip_where_all_positions_are_alike_keeps_all():
    mask = torch.ones(2, 3, dtype=torch.bool)
    same = torch.full((2, 3), 0.7)
    assert (tip(same, same, mask) == 1).all()


def test_tip_where_kl_is_infinite_or_equal_goes_by_the_rest():
    mask = torch.ones(1, 4, dtype=torch.bool)
    entropy, none = torch.tensor([[0.0, 0.1, 0.2, 0.3]]), torch.zeros(1, 4)
    assert tip(entropy, none, mask).tolist() == [[0.0, 0.0, 1.0, 1.0]]
    infinite = torch.tensor([[math.inf, 0.0, 1.0, 0.5]])
    assert tip(none, infinite, mask).tolist() == [[1.0, 0.0, 1.0, 0.0]]
    assert tip(none, torch.full((1, 4), math.inf), mask).tolist() == [[1.0] * 4]


def test_with_one_token_in_the_vocabulary_every_rule_gives_its_largest_but_sead_which_skips():
    """Both models are certain of it: sets are equal, entropies and divergences 0."""
    mask = torch.ones(2, 3, dtype=torch.bool)
    zero, one = torch.zeros(2, 3), torch.ones(2, 3)
    same = RuleInputs(mask, one, one, zero, zero, zero, zero, zero, zero)
    for name, rule in RULES.items():
        expected = 0.0 if name == "sead" else rule.largest
        assert (rule.weights(same) == expected).all(), name


@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize("shape", [(0, 0), (0, 3), (3, 0), (3, 2)])
def test_no_positions_have_no_weights(name, shape):
    nothing = torch.full(shape, NAN)
    mask = torch.zeros(shape, dtype=torch.bool)
    weights = RULES[name].weights(RuleInputs(mask, **dict.fromkeys(NEEDED, nothing)))
    assert weights.shape == shape
    assert weights.isnan().all()


@pytest.mark.parametrize("name", RULES)
def test_an_undefined_value_is_undefined_there_and_adds_nothing_elsewhere(name):
    generator = torch.Generator().manual_seed(3)
    mask = torch.ones(2, 6, dtype=torch.bool)
    values = {one: torch.rand(2, 6, generator=generator) for one in NEEDED}
    holes = {one: value.clone() for one, value in values.items()}
    for value in holes.values():
        value[0, 2] = NAN
    weights = RULES[name].weights(RuleInputs(mask, **holes))
    assert weights.isnan().nonzero().tolist() == [[0, 2]]
    if name != "prune_scaled":  # where the median length would be another
        keep = [0, 1, 3, 4, 5]
        short = {one: value.clone() for one, value in values.items()}
        for value in short.values():
            value[0, :5] = value[0, keep]
        shorter = mask.clone()
        shorter[0, 5] = False
        expected = RULES[name].weights(RuleInputs(shorter, **short))
        assert_close(weights[0, keep], expected[0, :5], rtol=0, atol=1e-15)
        assert_close(weights[1], expected[1], rtol=0, atol=0)


def test_impossible_tokens():
    mask = torch.ones(1, 3, dtype=torch.bool)
    p, q = torch.tensor([[-1.0, -1.0, -math.inf]]), torch.tensor([[-math.inf, -2.0, -math.inf]])
    assert str(tropd(p, q, mask).tolist()[0]) == str([0.0, math.exp(-1.0), NAN])
    assert str(iw(p, q, mask).tolist()[0]) == str([NAN, 1.5, NAN])


@pytest.mark.parametrize("name", RULES)
def test_weights_have_no_gradient_and_half_precision_will_do(name):
    mask = torch.ones(1, 4, dtype=torch.bool)
    values = {one: torch.rand(1, 4, dtype=torch.float32, requires_grad=True) for one in NEEDED}
    assert not RULES[name].weights(RuleInputs(mask, **values)).requires_grad
    halves = {one: value.detach().bfloat16() for one, value in values.items()}
    assert RULES[name].weights(RuleInputs(mask, **halves)).dtype == torch.float64


def test_the_registry():
    assert OFFERED == ("prune", "selectkd", "iw", "tropd")
    assert not {"tip", "sead"} & set(OFFERED)
    assert {name for name, rule in RULES.items() if rule.keeps_all} == {"iw"}
    assert set(NEEDED) == RuleInputs(torch.ones(1, 1, dtype=torch.bool), *[torch.ones(1, 1)] * 8).known
    assert all("arXiv" in rule.source for rule in RULES.values())


MASK = torch.ones(2, 3, dtype=torch.bool)
VALUES = torch.rand(2, 3)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: prune(VALUES, MASK.float()),
            r"mask: expected a bool tensor \[rollouts, positions\], received torch.float32",
        ),
        (lambda: prune(VALUES, MASK[0]), r"mask: .* received torch.bool \[3\]"),
        (
            lambda: prune(VALUES[:, :2], MASK),
            r"overlap_ratio: expected a floating tensor \[2, 3\].* received .*\[2, 2\]",
        ),
        (lambda: prune(VALUES.long(), MASK), r"overlap_ratio: .* received torch.int64"),
        (lambda: prune(VALUES, MASK, outside_nucleus=MASK), r"outside_nucleus: .* received torch.bool"),
        (lambda: prune(VALUES, MASK, decrement=-1.0), r"decrement: expected at least 0, received -1.0"),
        (lambda: tip(VALUES, VALUES, MASK, keep=0.0), r"keep: expected a share within \(0, 1\], received 0.0"),
        (lambda: iw(VALUES, VALUES, MASK, epsilon=0.0), r"gamma, epsilon: .* received 0.5 and 0.0"),
        (lambda: RuleInputs(MASK, overlap_ratio=[0.5]), r"overlap_ratio: .* received list"),  # pyright: ignore[reportArgumentType]
        (lambda: RuleInputs.joined([]), r"RuleInputs: expected at least one batch"),
        (
            lambda: RuleInputs.joined([RuleInputs(MASK), RuleInputs(MASK, VALUES)]),
            r"RuleInputs: expected at least one batch, and the same values in all",
        ),
        (
            lambda: RULES["iw"].weights(RuleInputs(MASK, VALUES, VALUES)),
            r'weights "iw": student_logprob, teacher_logprob not known in this comparison; use "prune" or "selectkd", '
            "or compare with a local teacher",
        ),
        (lambda: RULES["iw"].weights(RuleInputs(MASK)), r"not known in this comparison; compare with a local teacher"),
    ],
)
def test_wrong_arguments_are_named(call, message):
    with pytest.raises(UserError, match=message):
        call()


@settings(deadline=None)
@given(batch=batches())
def test_batches_joined_are_one_batch(batch):
    lengths, values = batch
    parts = [inputs([n], {one: rows[b : b + 1] for one, rows in values.items()}) for b, n in enumerate(lengths)]
    joined, whole = RuleInputs.joined(parts), inputs(*batch)
    assert (joined.mask == whole.mask).all()
    for name, rule in RULES.items():
        assert_close(rule.weights(joined), rule.weights(whole), equal_nan=True, rtol=0, atol=0), name
