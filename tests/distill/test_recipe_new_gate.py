"""A new kind of gate needs its dataclass and its section: everything else asks the gate."""

import warnings
from dataclasses import dataclass, field
from functools import reduce
from operator import or_
from typing import Annotated, ClassVar

import pytest
from pydantic import Field

import overlap
from distill.recipe import Recipe, loading
from distill.recipe.gates import SECTIONS, AnyGate, fixed_steps, section_of
from distill.recipe.reference import _row
from distill.recipe.stages import OnPolicyStage
from distill.recipe.without_effect import RecipeWarning
from overlap.definitions import checked
from overlap.gates import Action, Amount, Criterion, Decision, Gate, Wait
from overlap.gates.settings import check_settings, minimum
from tests.distill.test_pointless_recipes import recipe

__all__ = ["recipe"]


@dataclass
class Corridor(Gate):
    """Advance when a statistic has been low enough twice.

    Attributes:
        statistic: what is read.
        ceiling: the highest value allowed.
        times: readings in a row.
        on: judge on the ``"bound"`` or on the ``"value"``.
        delay: steps to take first.
        checkpoint: step at which it must be read.
    """

    kind: ClassVar[str] = "corridor"
    statistic: str
    ceiling: float
    times: int = field(default=2, metadata=minimum(1, "readings"))
    on: str = "bound"
    delay: int = field(default=0, metadata=minimum(0, "steps"))
    checkpoint: int = field(default=7, metadata=minimum(1, "steps"))
    streak: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        self.statistic = checked(self.statistic)
        check_settings(self)

    @property
    def name(self) -> str:
        return f"{self.kind}({self.statistic})"

    @property
    def criteria(self) -> tuple[Criterion, ...]:
        return (Criterion(self.statistic, ("high",), (Amount(("ceiling",), self.ceiling, "at_most"),)),)

    @property
    def first_reading(self) -> Wait:
        return Wait(self.times, "times")

    @property
    def first_step(self) -> Wait:
        return Wait(self.delay, "delay")

    @property
    def due_steps(self) -> frozenset[int]:
        return frozenset({self.checkpoint})

    def read(self, summary, step):
        reading = self._look_up(summary, self.statistic, self.on)
        self.streak = self.streak + 1 if reading.bound("high", self.on) <= self.ceiling else 0
        return Decision(Action.advance if self.streak >= self.times else Action.stay, reading.words(), self.name)


CorridorGate = section_of(Corridor)
Kinds = Annotated[reduce(or_, (*SECTIONS, CorridorGate)), Field(discriminator="type")]


class Either(AnyGate):
    """`AnyGate` whose members may be of the new kind."""

    gates: tuple[Kinds, ...]


others = (one for one in SECTIONS if one is not AnyGate)
StageKinds = Annotated[reduce(or_, (*others, CorridorGate, Either)), Field(discriminator="type")]


class Stage(OnPolicyStage):
    """A stage whose gate may be of the new kind."""

    gate: StageKinds | None = None  # pyright: ignore[reportInvalidTypeForm]


class NewRecipe(Recipe):
    """What `Recipe` is once the section stands in `SECTIONS`."""

    stages: tuple[Stage, ...]  # pyright: ignore[reportIncompatibleVariableOverride]


@pytest.fixture
def load(recipe, monkeypatch):
    """Read the recipe with a corridor gate in its on-policy stage, alone or in a combination."""
    monkeypatch.setattr(loading, "Recipe", NewRecipe)
    lines = recipe.read_text().split("[[stages]]")
    recipe.write_text("[[stages]]".join((lines[0], lines[2])))

    def read(gate: str, *more: str):
        return loading.load_recipe(recipe, [f"stages.0.gate={gate}", *more])

    return read


def corridor(settings: str = "", statistic: str = "vuss", ceiling: float = 12.0) -> str:
    return f'{{ type = "corridor", statistic = "{statistic}", ceiling = {ceiling}{settings} }}'


@pytest.mark.parametrize("form", ["{}", '{{ type = "any", gates = [{{ type = "fixed_steps", steps = 9 }}, {}] }}'])
def test_it_is_read_and_built(load, form):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        section = load(form.format(corridor())).stages[0].gate
    gate = section.build()
    alone = gate.members[-1] if gate.members else gate
    assert alone == Corridor("union_size", 12.0)
    assert gate.statistics == ("union_size",)
    assert fixed_steps(section) == ({7} if gate is alone else {7, 9})
    low = {"union_size": overlap.Estimate(10.0, 0.1, 9.8, 10.2, 400, 20, 0)}
    assert [gate.read(low, step).action for step in (1, 2)] == [Action.stay, Action.advance]


@pytest.mark.parametrize(
    ("gate", "more", "message"),
    [
        (corridor(ceiling=-1.0), (), "ceiling = -1: union_size lies between 0 and 16, so no reading reaches it"),
        (corridor(statistic="union_sise"), (), 'no statistic "union_sise" on its .* did you mean "union_size"'),
        (corridor(statistic="wer"), (), "write own.test.error_rate"),
        (
            corridor(statistic="own.test.error_rate", ceiling=20),
            (),
            r"ceiling = 20 of own.test.error_rate: .* 0\.2 for",
        ),
        (corridor(), ("probe.max_utterances=1",), "max_utterances = 1: stages.0.gate needs intervals"),
        (corridor(", delay = 251"), (), "stages.0.gate.delay = 251: the stage has 250 steps, so this gate never opens"),
        (corridor(", times = 0"), (), "times: must be at least 1, not 0"),
        (
            corridor(statistic="forward_kl"),
            ("teacher.url=http://localhost:1", "teacher.server.top_logprobs=8"),
            "upper",
        ),
    ],
)
def test_what_cannot_work_is_refused(load, gate, more, message):
    served = ('stages.0.objective={ type = "divergence", support = "teacher" }',) if "teacher.url" in str(more) else ()
    with pytest.raises(loading.RecipeError, match=message):
        load(gate, *more, *served)


def test_on_the_value_one_utterance_is_enough(load):
    assert load(corridor(', on = "value"'), "probe.max_utterances=1").probe.max_utterances == 1


@pytest.mark.parametrize(
    ("gate", "message"),
    [
        (
            corridor(", times = 9"),
            r"times = 9 takes 9 readings, .* gives 4 in the 250 steps .*; lower times or probe",
        ),
        (corridor(statistic="own.test.error_rate", ceiling=1.5), r"gate\.ceiling: 1\.5 is 150%"),
    ],
)
def test_what_never_comes_is_said(load, gate, message):
    with pytest.warns(RecipeWarning, match=message):
        load(gate)


def test_a_gate_that_does_not_name_what_it_reads_is_found():
    class Silent(Corridor):
        @property
        def criteria(self) -> tuple[Criterion, ...]:
            return ()

    with pytest.raises(AssertionError, match=r"Silent\.criteria lacks union_size"):
        Silent("union_size", 12.0).read({"union_size": 1.0}, 1)


@dataclass
class Recorded(Gate):
    """Advance when all have been low.

    Attributes:
        ceilings: the highest value by statistic.
    """

    kind: ClassVar[str] = "recorded"
    ceilings: tuple[float, ...] = field(default_factory=lambda: (1.0, 2.0))
    seen: list[int] = field(default_factory=list, init=False)
    last: int = field(init=False)

    def __post_init__(self) -> None:
        self.last = -1

    @property
    def name(self) -> str:
        return self.kind

    def read(self, summary, step):
        self.seen.append(step)
        self.last = step
        return Decision(Action.stay, "", self.name)


def test_a_state_may_be_a_list():
    gate, other = Recorded(), Recorded()
    gate.read({}, 1)
    kept = gate.state_dict()
    gate.read({}, 2)
    assert kept["state"] == {"seen": [1], "last": 1}
    other.load_state_dict(kept)
    other.read({}, 3)
    assert (other.seen, kept["state"]["seen"]) == ([1, 3], [1])
    gate.reset()
    assert (gate.seen, gate.last) == ([], -1)
    gate.read({}, 4)
    assert (gate.seen, Recorded().seen) == ([4], [])


def test_a_setting_may_have_a_list_by_default():
    section = section_of(Recorded)
    assert section.model_validate({"type": "recorded"}).build() == Recorded()
    assert section.model_validate({"type": "recorded", "ceilings": [3]}).build() == Recorded((3.0,))
    assert "| `[1.0, 2.0]` |" in _row("ceilings", section.model_fields["ceilings"])
