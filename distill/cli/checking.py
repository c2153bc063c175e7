"""The verb that checks a recipe before training."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from ..process_rank import is_first
from .app import JsonFlag, PipedConsole, app, print_json
from .exit_codes import ExitCode


@app.command
def check(
    recipe: str,
    *,
    output: Path = Path(),
    set_: Annotated[tuple[str, ...], Parameter(name="--set")] = (),
    dry_run: bool = True,
    json_: JsonFlag = False,
) -> int:
    """Check a recipe before training: data, models, disk, memory, and two steps of every stage. Nothing is written.

    The exit code is 1 if there is an error. distill train begins with the same checks, but for the steps.

    Args:
        recipe: TOML file, or the name of a shipped recipe.
        output: Where the run would be written, for the free disk.
        set_: dotted.key=value changes to the recipe, for instance stages.1.lr=1e-6.
        dry_run: Take the steps; without them, memory is estimated.
        json_: Print one JSON object to standard output and nothing else there.
    """
    from ..recipe import load_recipe

    loaded = load_recipe(recipe, set_)  # before what takes seconds to load
    from .. import api
    from ..checking.table import table_of

    result = api.check(loaded, output=output, dry_run=dry_run)
    if is_first():
        if json_:
            print_json(result.to_dict())
        else:
            PipedConsole().print(table_of(result.findings))
    return ExitCode.MISTAKE if result.errors else ExitCode.DONE
