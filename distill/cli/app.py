"""The command `distill` itself, and what its verbs share."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import App, CycloptsError, CycloptsPanel, Parameter
from pydantic import ValidationError
from rich.console import Console
from rich.markup import escape

from ..extras import MissingExtraError
from ..recipe.explaining import explain
from ..training.errors import TrainingError
from .exit_codes import EPILOGUE, ExitCode

if TYPE_CHECKING:
    from ..models import Recogniser


def _worded(error: CycloptsError) -> Any:
    """A mistake in the words of flags; those that are fields of recipes are checked by pydantic, which has its own."""
    cause = error.__cause__ or error.__context__
    if isinstance(cause, ValidationError):
        flags = [
            f"--{line.replace('_', '-', line.partition(':')[0].count('_'))}" for line in explain(cause).split("\n  ")
        ]
        return CycloptsPanel("\n".join(flags))
    return CycloptsPanel(error)


app = App(
    name="distill",
    version=lambda: import_module("overlap.version").__version__,
    help="Distil a speech recogniser on-policy, in stages gated on support overlap.",
    help_epilogue=EPILOGUE,
    error_formatter=_worded,
)
stderr = Console(stderr=True)

JsonFlag = Annotated[bool, Parameter(name="--json")]


def _at_least_one(_: Any, value: Any) -> None:
    if value is not None and value < 1:
        raise ValueError("Must be at least 1.")


def _positive(_: Any, value: Any) -> None:
    if value is not None and not 0 < value < float("inf"):
        raise ValueError("Must be a number above 0.")


def _not_negative(_: Any, value: Any) -> None:
    if not 0 <= value < 2**63:
        raise ValueError("Must be at least 0.")


Count = Annotated[int, Parameter(validator=_at_least_one)]
Amount = Annotated[float, Parameter(validator=_positive)]
Seed = Annotated[int, Parameter(validator=_not_negative)]


@Parameter(name="*")
@dataclass(frozen=True)
class Loading:
    """How the models of a command are loaded.

    Attributes:
        trust_remote_code: Run Python code that checkpoints bring, as Ark-ASR's do; read it first.
        prompt_format: How text models read prompts: auto wraps them in the chat template where there is one.
        chat_template_kwargs: Further variables of text models' chat templates, as JSON.
    """

    trust_remote_code: bool = False
    prompt_format: Literal["auto", "chat", "plain"] | None = None
    chat_template_kwargs: str | None = None

    def load(self, model: str) -> Recogniser:
        """Load a directory or Hub name."""
        options: dict[str, Any] = {} if self.prompt_format is None else {"prompt_format": self.prompt_format}
        if self.chat_template_kwargs is not None:
            try:
                options["chat_template_kwargs"] = dict(json.loads(self.chat_template_kwargs))
            except (ValueError, TypeError) as error:
                raise ValueError(
                    f"--chat-template-kwargs {self.chat_template_kwargs}: expected a JSON object, for instance "
                    '{"enable_thinking": false}'
                ) from error
        from ..models import load_recogniser

        return load_recogniser(model, options=options, trust_remote_code=self.trust_remote_code)


AS_THEY_ARE = Loading()


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point; a user's mistake is one message. Ends the process with one of `ExitCode`.

    Args:
        arguments: Words of the command line; None takes the process's own.
    """
    try:
        sys.exit(app(sys.argv[1:] if arguments is None else arguments, result_action="return_value") or 0)
    except (MissingExtraError, OSError, TrainingError, ValueError) as error:
        stderr.print(f"[bold red]error:[/] {escape(str(error))}", highlight=False, soft_wrap=True)
        sys.exit(ExitCode.MISTAKE)
    except (MemoryError, RuntimeError) as error:
        torch = sys.modules.get("torch")  # which need not be loaded to say that it ran out of memory
        if not isinstance(error, MemoryError if torch is None else (MemoryError, torch.OutOfMemoryError)):
            raise
        remedy = "lower the stage's micro_batch_size or batch_size, or set student.gradient_checkpointing = true"
        stderr.print(
            f"[bold red]error:[/] out of memory: {escape(str(error))}\n{remedy}", highlight=False, soft_wrap=True
        )
        sys.exit(ExitCode.MISTAKE)
    except KeyboardInterrupt:
        stderr.print("interrupted; continue a run with `distill resume RUN`, transcripts with the same command again")
        sys.exit(ExitCode.INTERRUPTED)


def write_rows(path: Path, rows: list[dict[str, Any]], about: dict[str, Any] | None = None) -> None:
    """Write rows to a Parquet file, and in its metadata what they are of."""
    import pandas as pd

    from ..run.run_directory import write_parquet

    frame = pd.DataFrame(rows)
    frame.attrs = about or {}
    write_parquet(path, frame)
