"""The command `distill`, and the common part of its verbs."""

from __future__ import annotations

import json
import os
import signal
import sys
import traceback
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from importlib import import_module
from io import TextIOWrapper
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import App, CycloptsError, CycloptsPanel, Parameter
from pydantic import ValidationError
from rich.console import Console
from rich.markup import escape

from overlap.errors import UserError
from overlap.extras import MissingExtraError
from overlap.plain_json import dumps

from ..locations import refuse_to_replace
from ..process_rank import is_first
from ..recipe import Server
from ..recipe.explaining import explain, is_of_recipe
from ..run.process_lock import Terminated
from .exit_codes import EPILOGUE, ExitCode


def _format_usage_error(error: CycloptsError) -> Any:
    """Return a usage error that names flags; pydantic names recipe fields instead."""
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
    help="Distill a speech recognizer on-policy, in stages gated on support overlap.",
    help_epilogue=EPILOGUE,
    suppress_keyboard_interrupt=False,  # or Ctrl-C would end a command without saying how to continue
    error_formatter=_format_usage_error,
)


class PipedConsole(Console):
    """A console that leaves broken pipes to `main`; rich would exit with code 1."""

    def on_broken_pipe(self) -> None:
        """Pass on the error that is being handled."""
        raise


stderr = PipedConsole(stderr=True)

_TRAINING = ("lower the stage's micro_batch_size or batch_size, or set student.gradient_checkpointing = true",)
_SMALLER: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("demo", "train", "resume", "check"), _TRAINING),
    **dict.fromkeys(("probe", "evaluate", "transcribe"), ("lower --batch-size, or give --dtype bfloat16",)),
    "show": ("give --dtype bfloat16",),
}
"""How a verb takes less memory; the others have no setting for it."""

Dtype = Literal["float32", "bfloat16", "float16"]
JsonFlag = Annotated[bool, Parameter(name="--json")]


def _check_at_least_one(_: Any, value: Any) -> None:
    if value is not None and value < 1:
        raise UserError("Must be at least 1.")


def _check_positive(_: Any, value: Any) -> None:
    if value is not None and not 0 < value < float("inf"):
        raise UserError("Must be a number above 0.")


def _check_not_negative(_: Any, value: Any) -> None:
    if not 0 <= value < 2**63:
        raise UserError("Must be at least 0.")


Count = Annotated[int, Parameter(validator=_check_at_least_one)]
Amount = Annotated[float, Parameter(validator=_check_positive)]
Seed = Annotated[int, Parameter(validator=_check_not_negative)]


def require_server(server: Server, url: str | None) -> None:
    """Refuse flags of a server's requests without a server.

    Args:
        server: The flags.
        url: Of the server.

    Raises:
        UserError: Names the flags and the remedy.
    """
    changed = [name for name in type(server).model_fields if getattr(server, name) != getattr(Server(), name)]
    if changed and url is None:
        flags = ", ".join(f"--{name.replace('_', '-')}" for name in changed)
        raise UserError(f"{flags}: this needs a server; give its --teacher-url as well, or leave it out")


def refuse_to_replace_audio(output: Path, manifest: str) -> None:
    """Refuse to replace audio that a manifest names.

    Args:
        output: Of the command.
        manifest: Where the utterances are.

    Raises:
        UserError: Names the utterance and the remedy.
    """
    if output.exists():
        from ..data.manifest import audio_files
        from ..data.sources import read_utterances

        refuse_to_replace(output, "--output", audio_files(read_utterances(manifest, check_audio=False)))


@Parameter(name="*")
@dataclass(frozen=True)
class Loading:
    """How the models of a command are loaded.

    Attributes:
        dtype: Type of the weights.
        device: Device, such as cuda:1; by default an accelerator if there is one, else the CPU.
        trust_remote_code: Run Python code of the checkpoints, as Ark-ASR needs; read it first.
        prompt_format: How text models read prompts: auto uses the chat template if there is one.
        chat_template_kwargs: Further variables of text models' chat templates, as JSON.
        timestamps: Let Whisper write timestamps, for models trained with them; error rates ignore them.
    """

    dtype: Dtype = "float32"
    device: str | None = None
    trust_remote_code: bool = False
    prompt_format: Literal["auto", "chat", "plain"] | None = None
    chat_template_kwargs: str | None = None
    timestamps: bool = False

    @property
    def arguments(self) -> dict[str, Any]:
        """The same as arguments of the functions of `distill.api`."""
        from ..api import usable_device

        place = usable_device(self.device, "--device")
        return asdict(self) | {"device": place, "chat_template_kwargs": self._template_variables()}

    def _template_variables(self) -> dict[str, Any] | None:
        if self.chat_template_kwargs is None:
            return None
        try:
            return dict(json.loads(self.chat_template_kwargs))
        except (ValueError, TypeError) as error:
            raise UserError(
                f"--chat-template-kwargs {self.chat_template_kwargs}: expected a JSON object, for instance "
                '{"enable_thinking": false}'
            ) from error


AS_THEY_ARE = Loading()


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point; a user's mistake is one message. Ends the process with one of `ExitCode`.

    Ctrl-C exits with code 130, another signal with 128 plus its number; both say how to continue. With `--debug`,
    anywhere in the command, a mistake is shown with its traceback; other errors always are.

    Args:
        arguments: Words of the command line; None takes the process's own.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in words
    words = [word for word in words if word != "--debug"]
    _replace_unencodable_characters()
    with _handle_signals(), _short_warnings():
        try:
            _refuse_empty(words)
            code = app(words, console=PipedConsole(), error_console=stderr, result_action="return_value") or 0
            _flush()
        except BrokenPipeError:
            code = ExitCode.NOBODY_READS
        except ValidationError as error:
            if not is_of_recipe(error):
                raise
            _print_error(error, debug, explain(error))
            code = ExitCode.MISTAKE
        except (MissingExtraError, OSError, UserError) as error:
            if not str(error):
                raise
            _print_error(error, debug, _message_of(error))
            code = ExitCode.MISTAKE
        except (MemoryError, RuntimeError) as error:
            torch = sys.modules.get("torch")  # torch need not be loaded here
            if not isinstance(error, MemoryError if torch is None else (MemoryError, torch.OutOfMemoryError)):
                raise
            verb = next((word for word in words if not word.startswith("-")), "")
            _print_error(error, debug, f"out of memory: {error}".removesuffix(": "), *_SMALLER.get(verb, ()))
            code = ExitCode.MISTAKE
        except Terminated as error:
            _print_to_stderr(f"interrupted by signal {error.signal}", *_notes(error))
            code = 128 + error.signal
        except KeyboardInterrupt as error:
            _print_to_stderr("interrupted", *_notes(error))
            code = ExitCode.INTERRUPTED
        _discard_output()
    sys.exit(code)


def _refuse_empty(words: Sequence[str]) -> None:
    """Refuse an empty word, as an unset variable of a shell leaves it: as a path, it would be the current folder."""
    for before, word in zip(["", *words], words, strict=False):
        if not word:
            raise UserError(f"{before if before.startswith('--') else 'an argument'} is an empty text; give its value")


def _print_error(error: BaseException, debug: bool, words: str, *remedy: str) -> None:
    if debug:
        traceback.print_exception(error)
    _print_to_stderr(f"[bold red]error:[/] {escape(words)}", *remedy, *_notes(error))


def _message_of(error: BaseException) -> str:
    """Return an error as one message, which begins with the file if the operating system raised it."""
    if isinstance(error, OSError) and error.filename is not None and error.strerror:
        return f"{os.fsdecode(error.filename)}: {error.strerror}"
    return str(error)


@contextmanager
def _short_warnings() -> Iterator[None]:
    """Print only the message of warnings for users, without the place in the code."""
    usual = warnings.formatwarning

    def formatted(message: Warning | str, category: type[Warning], *place: Any) -> str:
        return f"warning: {message}\n" if issubclass(category, UserWarning) else usual(message, category, *place)

    warnings.formatwarning = formatted
    try:
        yield
    finally:
        warnings.formatwarning = usual


def _print_to_stderr(*lines: str) -> None:
    if not is_first():  # other processes' errors are the same
        return
    with suppress(OSError):  # standard error may be a closed pipe
        stderr.print("\n".join(lines), highlight=False, soft_wrap=True)


def _notes(error: BaseException) -> list[str]:
    """Return the notes that were added to an error, such as how to continue."""
    return [escape(note) for note in getattr(error, "__notes__", [])]


def _flush() -> None:
    if sys.stdout is not None:
        sys.stdout.flush()


def _discard_output() -> None:
    """Drop output that cannot be written any more, or Python would print an error at exit."""
    try:
        _flush()
    except OSError:
        with suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


@contextmanager
def _handle_signals() -> Iterator[None]:
    """Handle a scheduler's or a closed terminal's signal like Ctrl-C, and say how the command ended.

    Only in the first process of a run: a process that waits in a collective call would not receive it.
    """
    numbers = [signal.SIGTERM, *([signal.SIGHUP] if hasattr(signal, "SIGHUP") else [])]
    before = {number: signal.getsignal(number) for number in numbers}
    if is_first():
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


def _replace_unencodable_characters() -> None:
    """Replace characters that the encoding of a console or file cannot represent, instead of failing."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper) and stream.errors in ("strict", "surrogateescape"):  # the C locale's
            stream.reconfigure(errors="replace")


def print_json(tree: Mapping[str, Any]) -> None:
    """Print one JSON object; characters that standard output cannot represent are escaped, never replaced."""
    encoding = (getattr(sys.stdout, "encoding", None) or "utf-8").lower().replace("-", "")
    print(dumps(tree, ensure_ascii=not encoding.startswith("utf")))
