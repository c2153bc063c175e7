"""The verb that drafts a recipe: `new`."""

from __future__ import annotations

from pathlib import Path

from overlap.errors import UserError

from ..locations import require_places
from .app import app


@app.command
def new(
    *,
    student: str,
    teacher: str,
    train: str,
    test: str,
    output: Path | None = None,
    trust_remote_code: bool = False,
) -> None:
    """Write a commented recipe for two models, with window, lengths and batch sizes from the audio and the models.

    Args:
        student: Directory or Hub name of the model to train.
        teacher: Directory or Hub name of the model that it learns from.
        train: Manifest of training audio; with a text on every line, the recipe begins with supervised training.
        test: Manifest with texts, for error rates and overlap.
        output: TOML file to write, which must not exist; without it, the recipe is printed.
        trust_remote_code: Run Python code of the checkpoints; read it first.
    """
    if output is not None and output.exists():
        raise UserError(f"--output: {output} exists and is not overwritten; give another name or move it")
    if output is not None and not output.absolute().parent.is_dir():
        raise UserError(f"--output: there is no folder {output.absolute().parent}")
    require_places(manifests={"--train": train, "--test": test}, models={"--student": student, "--teacher": teacher})
    from ..drafting import draft_recipe

    folder, name = (Path.cwd(), "run") if output is None else (output.absolute().parent, output.stem)
    text = draft_recipe(student, teacher, train, test, folder=folder, name=name, trust_remote_code=trust_remote_code)
    if output is None:
        print(text)
        return
    output.write_text(text, encoding="utf-8")
    print(f"{output}; next: distill check {output}")
