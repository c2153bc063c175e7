"""What reads statistics of a probe and has settings of its own: gates, and soft switches."""

from abc import ABC, abstractmethod
from dataclasses import Field, fields
from typing import Any, ClassVar, cast

from overlap.gates.criteria import Criterion
from overlap.plain_json import plain


class Reader(ABC):
    """A dataclass whose fields are the settings; recipes derive keys from these and check what is read.

    In every kind a field named ``on`` has the meaning that `Threshold` gives it.
    """

    kind: ClassVar[str]

    @property
    @abstractmethod
    def name(self) -> str:
        """The reader as records name it, such as ``threshold(union_size)``."""

    @property
    def criteria(self) -> tuple[Criterion, ...]:
        """What is read, a criterion for each statistic; none if it looks at no statistic."""
        return ()

    @property
    def statistics(self) -> tuple[str, ...]:
        """Names of the statistics that are read."""
        return tuple(criterion.statistic for criterion in self.criteria)

    @property
    def works_without_intervals(self) -> bool:
        """Whether readings without intervals, such as those of a single utterance, suffice."""
        return not self.criteria or getattr(self, "on", "bound") == "value"

    def parameters(self) -> dict[str, Any]:
        """Return the constructor's arguments, as JSON can hold them."""
        return {item.name: plain(getattr(self, item.name)) for item in self._fields(init=True)}

    def _fields(self, *, init: bool) -> list[Field]:
        return [item for item in fields(cast(Any, self)) if item.init is init]
