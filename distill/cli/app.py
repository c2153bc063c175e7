"""The command `distill` itself, and what its verbs share."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import torch
from cyclopts import App, Parameter
from rich.console import Console
from rich.markup import escape

from ..extras import MissingExtraError
from ..training.errors import TrainingError

if TYPE_CHECKING:
    from ..models import Recogniser

app = App(name="distill", help="Distil a speech recogniser on-policy, in stages gated on support overlap.")
stderr = Console(stderr=True)

JsonFlag = Annotated[bool, Parameter(name="--json")]


@Parameter(name="*")
@dataclass(frozen=True)
class Loading:
    """How the models of a command are loaded.

    Attributes:
        trust_remote_code: Run Python code that checkpoints bring, as Ark-ASR's do; read it first.
        prompt_format: How text models read prompts: auto wraps them in the chat template where there is one.
        chat_template_kwargs: Further variables of text models' chat templates, as JSON.
        timestamps: Let Whisper write points in time, as a model that was trained with them does; they are not scored.
    """

    trust_remote_code: bool = False
    prompt_format: Literal["auto", "chat", "plain"] | None = None
    chat_template_kwargs: str | None = None
    timestamps: bool = False

    def load(self, model: str) -> Recogniser:
        """Load a directory or Hub name."""
        options: dict[str, Any] = {} if self.prompt_format is None else {"prompt_format": self.prompt_format}
        if self.timestamps:
            options["timestamps"] = True
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
    """Entry point; a user's mistake is one message and exit code 1 (2 for the command itself).

    Args:
        arguments: Words of the command line; None takes the process's own.
    """
    try:
        sys.exit(app(sys.argv[1:] if arguments is None else arguments, result_action="return_value") or 0)
    except (MissingExtraError, OSError, TrainingError, ValueError) as error:
        stderr.print(f"[bold red]error:[/] {escape(str(error))}", highlight=False, soft_wrap=True)
        sys.exit(1)
    except (MemoryError, torch.OutOfMemoryError) as error:
        remedy = "lower the stage's micro_batch_size or batch_size, or set student.gradient_checkpointing = true"
        stderr.print(
            f"[bold red]error:[/] out of memory: {escape(str(error))}\n{remedy}", highlight=False, soft_wrap=True
        )
        sys.exit(1)
    except KeyboardInterrupt:
        stderr.print("interrupted; continue a run with `distill resume RUN`, transcripts with the same command again")
        sys.exit(130)


def write_rows(path: Path, rows: list[dict[str, Any]]) -> None:
    """Write rows to a Parquet file."""
    import pandas as pd

    from ..run.run_directory import write_parquet

    write_parquet(path, pd.DataFrame(rows))
