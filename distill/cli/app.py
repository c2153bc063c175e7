"""The command `distill` itself, and what its verbs share."""

from __future__ import annotations

import json
import os
import signal
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib import import_module
from io import TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import App, CycloptsError, CycloptsPanel, Parameter
from pydantic import ValidationError
from rich.console import Console
from rich.markup import escape

from ..extras import MissingExtraError
from ..recipe import Server
from ..recipe.explaining import explain
from ..run.at_work import Terminated
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
    suppress_keyboard_interrupt=False,  # or Ctrl-C would end a command without a word on how to go on
    error_formatter=_worded,
)


class PipedConsole(Console):
    """One that leaves it to `main` how a command ends whose output nobody reads; rich would end it with code 1."""

    def on_broken_pipe(self) -> None:
        """Pass on the error that is being handled."""
        raise


stderr = PipedConsole(stderr=True)

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


def require_server(server: Server, url: str | None) -> None:
    """Refuse flags that say how a server is asked where none is.

    Args:
        server: The flags.
        url: Of the server.

    Raises:
        ValueError: Names the flags and the remedy.
    """
    changed = [name for name in type(server).model_fields if getattr(server, name) != getattr(Server(), name)]
    if changed and url is None:
        flags = ", ".join(f"--{name.replace('_', '-')}" for name in changed)
        raise ValueError(f"{flags}: only a server is asked so; give its --teacher-url as well, or leave that out")


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
    """Entry point; a user's mistake is one message. Ends the process with one of `ExitCode`.

    Ctrl-C is exit code 130, another signal 128 and its number, and both say how to go on.

    Args:
        arguments: Words of the command line; None takes the process's own.
    """
    _take_what_the_encoding_lacks()
    with _ending_softly(), _warning_in_a_line():
        try:
            words = sys.argv[1:] if arguments is None else arguments
            code = app(words, console=PipedConsole(), error_console=stderr, result_action="return_value") or 0
            _flush()
        except BrokenPipeError:
            code = ExitCode.NOBODY_READS
        except (MissingExtraError, OSError, TrainingError, ValueError) as error:
            words = explain(error) if isinstance(error, ValidationError) else str(error)
            _say(f"[bold red]error:[/] {escape(words)}", *_notes(error))
            code = ExitCode.MISTAKE
        except (MemoryError, RuntimeError) as error:
            torch = sys.modules.get("torch")  # which need not be loaded to say that it ran out of memory
            if not isinstance(error, MemoryError if torch is None else (MemoryError, torch.OutOfMemoryError)):
                raise
            remedy = "lower the stage's micro_batch_size or batch_size, or set student.gradient_checkpointing = true"
            _say(f"[bold red]error:[/] out of memory: {escape(str(error))}", remedy)
            code = ExitCode.MISTAKE
        except Terminated as error:
            _say(f"interrupted by signal {error.signal}", *_notes(error))
            code = 128 + error.signal
        except KeyboardInterrupt as error:
            _say("interrupted", *_notes(error))
            code = ExitCode.INTERRUPTED
        _let_go_of_output()
    sys.exit(code)


@contextmanager
def _warning_in_a_line() -> Iterator[None]:
    """Print warnings that are meant for users by their message alone; where in the code it was found helps nobody."""
    usual = warnings.formatwarning

    def formatted(message: Warning | str, category: type[Warning], *place: Any) -> str:
        return f"warning: {message}\n" if issubclass(category, UserWarning) else usual(message, category, *place)

    warnings.formatwarning = formatted
    try:
        yield
    finally:
        warnings.formatwarning = usual


def _say(*lines: str) -> None:
    with suppress(OSError):  # standard error may be a pipe that nobody reads
        stderr.print("\n".join(lines), highlight=False, soft_wrap=True)


def _notes(error: BaseException) -> list[str]:
    """What was added to an error on its way up, such as how to go on."""
    return [escape(note) for note in getattr(error, "__notes__", [])]


def _flush() -> None:
    if sys.stdout is not None:
        sys.stdout.flush()


def _let_go_of_output() -> None:
    """What cannot be written any more is dropped, or Python would complain of it as it ends."""
    try:
        _flush()
    except OSError:
        with suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


@contextmanager
def _ending_softly() -> Iterator[None]:
    """Let a scheduler's or a closed terminal's signal end work as Ctrl-C does, with a word on how it ended.

    Not in the further processes of a run: one that waits for the others in a collective call would not hear it.
    """
    numbers = [signal.SIGTERM, *([signal.SIGHUP] if hasattr(signal, "SIGHUP") else [])]
    before = {number: signal.getsignal(number) for number in numbers}
    if os.environ.get("RANK", "0") == "0":
        for number in numbers:
            if before[number] is signal.SIG_DFL:
                signal.signal(number, _terminate)
    try:
        yield
    finally:
        for number in numbers:
            if signal.getsignal(number) is _terminate:
                signal.signal(number, before[number])


def _terminate(number: int, _: object) -> None:
    raise Terminated(number)


def _take_what_the_encoding_lacks() -> None:
    """Replace characters that a console or file of another encoding than UTF-8 cannot hold, rather than end in them."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper) and stream.errors in ("strict", "surrogateescape"):  # the C locale's
            stream.reconfigure(errors="replace")


def print_json(tree: Mapping[str, Any]) -> None:
    """Print one JSON object; characters that standard output cannot hold are escaped, never replaced."""
    encoding = (getattr(sys.stdout, "encoding", None) or "utf-8").lower().replace("-", "")
    print(json.dumps(tree, ensure_ascii=not encoding.startswith("utf"), allow_nan=False))


def write_rows(path: Path, rows: list[dict[str, Any]], about: dict[str, Any] | None = None) -> None:
    """Write rows to a Parquet file, and in its metadata what they are of."""
    import pandas as pd

    from ..run.run_directory import write_parquet

    frame = pd.DataFrame(rows)
    frame.attrs.update(about or {})
    write_parquet(path, frame)
