import json
import math

import pytest

from overlap import Action, AllOf, AnyOf, Collapse, Decision, Estimate, FixedSteps, Gate, Plateau, Threshold

pytestmark = pytest.mark.filterwarnings("ignore:.*missing from the reading")
NAN = math.nan
ACTIONS = {"s": Action.stay, "a": Action.advance, "f": Action.fall_back, "x": Action.abort}
LETTERS = {action: letter for letter, action in ACTIONS.items()}


def reading(low, value=None, high=None, *, n_groups=20):
    """An estimate from its interval; the value is the middle unless given."""
    high = low if high is None else high
    value = (low + high) / 2 if value is None else value
    return Estimate(value, (high - low) / 4, low, high, 400, n_groups, 0)


LONELY = Estimate(0.9, NAN, NAN, NAN, 40, 1, 0)  # one utterance: a value, no interval
UNDEFINED = Estimate(NAN, NAN, NAN, NAN, 0, 0, 40)


def drive(gate, readings, *, every=10):
    """First letters of the actions on a sequence of readings of statistic x."""
    letters = ""
    for number, item in enumerate(readings):
        summary = {} if item is None else {"own.x": item}
        decision = gate.read(summary, number * every)
        assert decision.gate == gate.name
        json.dumps(decision.numbers, allow_nan=False)
        letters += LETTERS[decision.action]
    return letters


def intervals(*pairs):
    return [reading(low, high=high) for low, high in pairs]


HIGH, BETWEEN, LOW = reading(0.5, high=0.6), reading(0.35, high=0.6), reading(0.1, high=0.6)


@pytest.mark.parametrize(
    ("options", "readings", "expected"),
    [
        # the bound decides, not the value
        ({"at_least": 0.4}, intervals((0.3, 0.9), (0.39, 0.41), (0.4, 0.5), (0.3, 0.9)), "ssas"),
        ({"at_least": 0.4, "on": "value"}, intervals((0.3, 0.9), (0.1, 0.3)), "as"),
        ({"at_most": 50.0}, intervals((40, 51), (48, 50), (51, 52)), "sas"),
        ({"at_most": 50.0, "on": "value"}, intervals((40, 51), (51, 52)), "as"),
        # patience counts consecutive readings
        ({"at_least": 0.4, "patience": 2}, [HIGH, LOW, HIGH, HIGH, HIGH, LOW, HIGH], "sssaass"),
        # hysteresis: between level and release a streak neither grows nor breaks
        ({"at_least": 0.4, "patience": 2}, [HIGH, BETWEEN, HIGH], "sss"),
        (
            {"at_least": 0.4, "patience": 2, "release": 0.3},
            [HIGH, BETWEEN, BETWEEN, HIGH, BETWEEN, LOW, HIGH],
            "sssaass",
        ),
        ({"at_least": 0.4, "patience": 2, "release": 0.3}, [BETWEEN, BETWEEN, BETWEEN, HIGH, HIGH], "ssssa"),
        ({"at_most": 0.4, "release": 0.5}, intervals((0.1, 0.3), (0.1, 0.45), (0.1, 0.55), (0.1, 0.45)), "aass"),
        # the stage must have its steps; the streak runs meanwhile
        ({"at_least": 0.4, "patience": 2, "min_steps": 30}, [HIGH, HIGH, HIGH, HIGH, LOW], "sssas"),
        # nothing to read is no evidence: stay, and keep the streak
        ({"at_least": 0.4, "patience": 2}, [HIGH, None, UNDEFINED, LONELY, HIGH], "ssssa"),
        ({"at_least": 0.4, "on": "value"}, [None, UNDEFINED, LONELY], "ssa"),
        ({"at_least": 0.4}, [HIGH, None], "as"),
    ],
)
def test_threshold(options, readings, expected):
    assert drive(Threshold("own.x", **options), readings) == expected


@pytest.mark.parametrize(
    ("options", "readings", "expected"),
    [
        ({"patience": 2}, intervals((0.1, 0.1), (0.2, 0.2), (0.2, 0.2), (0.2, 0.2), (0.3, 0.3)), "sssas"),
        # an improvement smaller than min_delta does not count, however certain
        ({"patience": 2, "min_delta": 0.1}, intervals((0.1, 0.1), (0.15, 0.15), (0.2, 0.2)), "ssa"),
        # nor one that the interval leaves open
        ({"patience": 2}, intervals((0.1, 0.3), (0.15, 0.4), (0.18, 0.42)), "ssa"),
        ({"patience": 2, "on": "value"}, intervals((0.1, 0.3), (0.15, 0.4), (0.18, 0.42)), "sss"),
        # slow progress adds up, because the mark moves on certain improvement only
        (
            {"patience": 3},
            intervals((0.0, 0.2), (0.05, 0.25), (0.11, 0.31), (0.1, 0.3), (0.1, 0.3), (0.1, 0.3)),
            "sssssa",
        ),
        ({"patience": 1, "mode": "min"}, intervals((9, 9), (8, 8), (7.9, 8.1), (6, 7)), "ssas"),
        ({"patience": 1, "mode": "min", "min_delta": 1.0}, intervals((9, 9), (8, 8)), "sa"),
        ({"patience": 2, "min_steps": 40}, intervals(*[(0.1, 0.1)] * 6), "ssssaa"),
        # a fall is no improvement
        ({"patience": 2}, intervals((0.5, 0.5), (0.1, 0.1), (0.2, 0.2)), "ssa"),
        ({"patience": 1}, [HIGH, None, UNDEFINED, LONELY, HIGH], "ssssa"),
        ({"patience": 1, "on": "value"}, [LONELY, LONELY], "sa"),
    ],
)
def test_plateau(options, readings, expected):
    assert drive(Plateau("own.x", **options), readings) == expected


@pytest.mark.parametrize(
    ("options", "readings", "expected"),
    [
        # certain only when the whole interval is outside
        ({"limits": {"own.x": (0.2, None)}}, intervals((0.1, 0.3), (0.0, 0.2), (0.0, 0.19)), "ssf"),
        ({"limits": {"own.x": (None, 3.0)}}, intervals((2, 9), (3, 4), (3.1, 4)), "ssf"),
        ({"limits": {"own.x": (None, 3.0)}, "action": "abort"}, intervals((3.1, 4), (1, 2)), "xs"),
        ({"limits": {"own.x": (1.0, 3.0)}, "patience": 2}, intervals((0, 0.5), (4, 5), (2, 2), (4, 5)), "sfss"),
        ({"limits": {"own.x": (None, 3.0)}, "on": "value"}, intervals((2, 5)), "f"),
        # nothing to read keeps the streak
        ({"limits": {"own.x": (1.0, None)}, "patience": 2}, [reading(0), None, UNDEFINED, LONELY, reading(0)], "ssssf"),
        # one that can be judged and is well ends it; the streak is of readings, whichever statistic is out
        (
            {"limits": {"own.x": (1.0, None), "own.y": (0, 1)}, "patience": 2},
            [reading(0), reading(2), reading(0)],
            "sss",
        ),
    ],
)
def test_collapse(options, readings, expected):
    assert drive(Collapse(**options), readings) == expected


def test_collapse_reports_what_it_cannot_judge():
    gate = Collapse({"own.x": (0.5, None), "own.y": (None, 3.0), "own.z": (0, 1)})
    decision = gate.read({"own.x": reading(0.1, high=0.2), "own.y": UNDEFINED}, 7)
    assert decision.action is Action.fall_back
    assert decision.reason == (
        "own.x 0.15 [0.1, 0.2] over 20 utterances, 400 positions is below 0.5 (1 reading of 1 needed); "
        "not judged: own.y is undefined (40 positions without a value); not judged: own.z is missing from the reading"
    )
    assert decision.numbers["outside"] == ["own.x"]
    assert decision.numbers["undefined"] == ["own.y", "own.z"]
    assert decision.numbers["statistics"]["own.y"]["value"] is None
    calm = gate.read({"own.x": reading(0.6), "own.y": UNDEFINED}, 8)
    assert calm.action is Action.stay
    assert calm.reason.startswith(
        "nothing certainly outside its limits (0 readings of 1 needed); not judged: own.y is undefined"
    )


def test_fixed_steps():
    gate = FixedSteps(20)
    assert drive(gate, [None] * 4) == "ssaa"
    assert gate.read({}, 5) == Decision(Action.stay, "step 5 of 20", "fixed_steps", {"step": 5, "steps": 20})


def test_reasons_have_words_and_numbers():
    gate = Threshold("union_size", at_most=50.0, patience=2, min_steps=100)
    first = gate.read({"union_size": reading(51, high=53)}, 0)
    assert first.reason == (
        "union_size 52 [51, 53] over 20 utterances, 400 positions misses at most 50 (0 readings of 2 needed)"
    )
    assert first.numbers == {
        **{"step": 0, "at_least": None, "at_most": 50.0, "value": 52.0, "standard_error": 0.5, "low": 51, "high": 53},
        **{"n_positions": 400, "n_groups": 20, "n_undefined": 0, "bound": 53, "streak": 0},
    }
    gate.read({"union_size": reading(40)}, 10)
    early = gate.read({"union_size": reading(40)}, 20)
    assert early.reason.endswith("(2 readings of 2 needed), but step 20 is before the 100 steps the stage must have")
    lonely = Threshold("own.x", at_least=0.1).read({"own.x": LONELY}, 3)
    assert lonely.reason == "own.x is 0.9 without an interval (1 utterance, 40 positions)"
    assert lonely.numbers["low"] is None
    held = Threshold("own.x", at_least=0.4, patience=2, release=0.3)
    held.read({"own.x": HIGH}, 1)
    assert (
        "misses, but is not past the release at 0.3, at least 0.4 (1 reading of 2"
        in held.read({"own.x": BETWEEN}, 2).reason
    )
    plateau = Plateau("own.x", patience=1)
    assert "is the first mark (0 readings of 1 needed)" in plateau.read({"own.x": HIGH}, 1).reason
    assert "does not certainly improve on 0.55 by more than 0" in plateau.read({"own.x": HIGH}, 2).reason
    assert "improves on 0.55 by more than 0 (0 readings" in plateau.read({"own.x": reading(0.7)}, 3).reason


class Says(Gate):
    """A gate with prepared answers."""

    kind = "says"
    name = "says"

    def __init__(self, letters):
        self.letters = iter(letters)

    def read(self, summary, step):
        return Decision(ACTIONS[next(self.letters)], "so", "says")


@pytest.mark.parametrize(
    ("members", "all_says", "any_says"),
    [
        ("s", "s", "s"),
        ("a", "a", "a"),
        ("ss", "s", "s"),
        ("as", "s", "a"),
        ("aa", "a", "a"),
        ("fs", "f", "f"),
        ("af", "f", "f"),
        ("aaf", "f", "f"),
        ("fx", "x", "x"),
        ("asfx", "x", "x"),
        ("xa", "x", "x"),
    ],
)
def test_precedence(members, all_says, any_says):
    assert drive(AllOf(*map(Says, members)), [None]) == all_says
    assert drive(AnyOf(*map(Says, members)), [None]) == any_says


def test_all_does_not_latch():
    gates = Threshold("own.x", at_least=0.4), FixedSteps(20)
    assert drive(AllOf(*gates), [HIGH, LOW, LOW, HIGH]) == "sssa"  # an early high reading does not count later
    assert drive(AnyOf(*gates), [LOW, HIGH, LOW, LOW]) == "saaa"


def test_guards_have_no_vote():
    guard = {"limits": {"own.x": (0.2, None)}}
    assert drive(AllOf(Threshold("own.x", at_least=0.4), Collapse(**guard)), [BETWEEN, HIGH, reading(0.1)]) == "saf"
    assert drive(AllOf(FixedSteps(10), AnyOf(Collapse(**guard))), [HIGH, HIGH]) == "sa"
    assert drive(AllOf(Collapse(**guard)), [HIGH]) == "s"
    assert drive(AnyOf(Collapse(**guard)), [HIGH]) == "s"


def test_every_member_reads_every_time():
    plateau = Plateau("own.x", patience=2)
    drive(AnyOf(FixedSteps(1), plateau), [HIGH] * 3)
    assert plateau.since == 2


def test_combined_reasons_begin_with_the_decisive_member():
    decision = AnyOf(Threshold("own.x", at_least=0.9), FixedSteps(5)).read({"own.x": HIGH}, 5)
    assert decision.gate == "any(threshold(own.x), fixed_steps)"
    assert decision.reason.startswith(
        "fixed_steps says advance: step 5 of 5; threshold(own.x) says stay: own.x 0.55 [0.5, 0.6]"
    )
    assert [member["decision"] for member in decision.numbers["members"]] == ["stay", "advance"]


SEQUENCE = [LOW, HIGH, None, HIGH, BETWEEN, reading(0.05), UNDEFINED, HIGH, HIGH, HIGH, LOW, LOW, LOW]
GATES = {
    "fixed": lambda: FixedSteps(70),
    "threshold": lambda: Threshold("own.x", at_least=0.4, patience=3, release=0.2),
    "plateau": lambda: Plateau("own.x", patience=3),
    "collapse": lambda: Collapse({"own.x": (0.2, None), "own.y": (None, 3)}, patience=1, action="abort"),
    "nested": lambda: AnyOf(
        AllOf(Threshold("own.x", at_least=0.4, patience=2), FixedSteps(30)),
        Plateau("own.x"),
        Collapse({"own.x": (0.2, None)}),
    ),
}


@pytest.mark.parametrize("make", GATES.values(), ids=GATES)
@pytest.mark.parametrize("cut", range(len(SEQUENCE)))
def test_state_goes_on_where_it_stopped(make, cut):
    whole = make()
    expected = drive(whole, SEQUENCE)
    first = make()
    begun = drive(first, SEQUENCE[:cut])
    second = make()
    second.load_state_dict(json.loads(json.dumps(first.state_dict(), allow_nan=False)))
    assert second.state_dict() == first.state_dict()
    rest = ""
    for number in range(cut, len(SEQUENCE)):
        item = SEQUENCE[number]
        rest += LETTERS[second.read({} if item is None else {"own.x": item}, number * 10).action]
    assert begun + rest == expected
    second.reset()
    assert second.state_dict() == make().state_dict()


def test_the_sequence_exercises_the_gates():
    said = {name: "".join(sorted(set(drive(make(), SEQUENCE)))) for name, make in GATES.items()}
    assert said == {"fixed": "as", "threshold": "as", "plateau": "as", "collapse": "sx", "nested": "afs"}


@pytest.mark.parametrize(
    ("mine", "saved"),
    [
        (FixedSteps(5), FixedSteps(6)),
        (FixedSteps(5), Plateau("own.x")),
        (Threshold("own.x", at_least=0.4), Threshold("own.x", at_least=0.5)),
        (Threshold("own.x", at_least=0.4), Threshold("own.y", at_least=0.4)),
        (Threshold("own.x", at_least=0.4), Threshold("own.x", at_most=0.4)),
        (Plateau("own.x"), Plateau("own.x", mode="min")),
        (Collapse({"own.x": (0, 1)}), Collapse({"own.x": (0, 2)})),
        (Collapse({"own.x": (0, 1)}), Collapse({"own.x": (0, 1)}, action="abort")),
        (AllOf(FixedSteps(5)), AnyOf(FixedSteps(5))),
        (AllOf(FixedSteps(5)), AllOf(FixedSteps(6))),
        (AllOf(FixedSteps(5)), AllOf(FixedSteps(5), FixedSteps(5))),
    ],
)
def test_another_gates_state_is_refused(mine, saved):
    before = mine.state_dict()
    with pytest.raises(ValueError, match="gate state: this gate is") as caught:
        mine.load_state_dict(saved.state_dict())
    for gate in (mine, saved):
        assert f"{gate.kind} with {gate.parameters()}" in str(caught.value)
    assert mine.state_dict() == before
    mine.load_state_dict(before)


def test_a_state_that_is_none():
    with pytest.raises(ValueError, match="the state was saved by None with None"):
        FixedSteps(5).load_state_dict({})


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: FixedSteps(0), "steps: expected a whole number of at least 1, received 0"),
        (
            lambda: Threshold("own.x"),
            "threshold on own.x: expected exactly one of at_least and at_most, received neither$",
        ),
        (lambda: Threshold("own.x", at_least=1, at_most=2), "for a corridor combine two with AllOf"),
        (
            lambda: Threshold("own.x", at_least=0.4, release=0.5),
            r"expected release at most 0.4 \(the level\), received 0.5",
        ),
        (
            lambda: Threshold("own.x", at_most=0.4, release=0.3),
            r"expected release at least 0.4 \(the level\), received 0.3",
        ),
        (lambda: Threshold("own.x", at_least=1, on="low"), 'on: expected "bound" .* or "value", received \'low\''),
        (
            lambda: Threshold("own.x", at_least=1, patience=0),
            "patience: expected a whole number of readings of at least 1",
        ),
        (
            lambda: Threshold("own.x", at_least=1, min_steps=-1),
            "min_steps: expected a whole number of steps of at least 0",
        ),
        (lambda: Plateau("own.x", mode="up"), 'mode: expected "max" or "min", received \'up\''),
        (lambda: Plateau("own.x", min_delta=NAN), "min_delta: expected a number of at least 0, received nan"),
        (lambda: Collapse({}), "limits: expected at least one statistic"),
        (lambda: Collapse({"own.x": (None, None)}), "limits: own.x has neither a low nor a high limit"),
        (lambda: Collapse({"own.x": (2, 1)}), r"limits: own.x expects low < high, received \(2, 1\)"),
        (
            lambda: Collapse({"own.x": (0, 1)}, action="advance"),
            'expected "fall_back" or "abort", received \'advance\'',
        ),
        (lambda: AllOf(), "all: expected at least one gate, received none"),
        (lambda: AnyOf([FixedSteps(1)]), r"any: expected gates, received list; write AnyOf\(\*gates\)"),
        (lambda: FixedSteps(1).read({}, -1), "step: expected the whole number of steps done in the stage, received -1"),
        (lambda: Plateau("own.x").read({}, 1.5), "step: expected .* received 1.5"),
    ],
)
def test_errors(make, message):
    with pytest.raises(ValueError, match=message):
        make()
