"""Runs checks one after another, so that an error of one does not keep the others from being reported."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import torch

from overlap.errors import UserError
from overlap.extras import MissingExtraError

from .finding import CheckFinding

T = TypeVar("T")

_OUT_OF_MEMORY = (MemoryError, torch.OutOfMemoryError)


class Attempts:
    """What checks found so far, with the errors that users can mend as findings; any other error is raised.

    Attributes:
        findings: In the order of the checks.
    """

    def __init__(self) -> None:
        self.findings: list[CheckFinding] = []

    def tried(self, check: str, function: Callable[..., T], *arguments: Any, **options: Any) -> T | None:
        """Return what a function returns; None after an error, which becomes a finding.

        Args:
            check: What is checked, in a few words.
            function: The function.
            arguments: Of the function.
            options: Likewise.
        """
        try:
            return function(*arguments, **options)
        except _OUT_OF_MEMORY as error:
            remedy = "lower the stage's micro_batch_size or batch_size, or set student.gradient_checkpointing = true"
            self.findings.append(CheckFinding("error", check, f"out of memory: {error}".removesuffix(": "), remedy))
        except (MissingExtraError, OSError, UserError) as error:
            self.findings.append(CheckFinding("error", check, str(error)))
        return None

    def run(self, check: str, function: Callable[..., Iterable[CheckFinding]], *arguments: Any, **options: Any) -> None:
        """Add the findings of a check.

        Args:
            check: What is checked, for an error of the check itself.
            function: Returns findings.
            arguments: Of the function.
            options: Likewise.
        """
        self.findings += self.tried(check, function, *arguments, **options) or ()
