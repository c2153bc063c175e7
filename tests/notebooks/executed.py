"""Executes notebooks from their sources. As a program, renews the outputs that are committed.

`python -m tests.notebooks.executed [NAME …]` takes a few minutes for all of them. `tests.notebooks.make` does it too,
after it has made the run that they show.
"""

import os
import sys
import tempfile
from pathlib import Path

import jupytext
import nbformat
from nbclient import NotebookClient
from nbformat import NotebookNode

ROOT = Path(__file__).parents[2]
SOURCES = sorted((ROOT / "notebooks").glob("*.py"))
WIDGET = "application/vnd.jupyter.widget-view+json"
SECONDS = 540
TORCHAO = ("torchao/", "torch/utils/_pytree.py")
"""Where it is installed, transformers imports it, and it complains on standard error of what the machine lacks."""


def executed(source: Path, folder: Path) -> NotebookNode:
    """The notebook of a source with its outputs, run by a kernel of this environment in a folder of its own.

    The folder is given the runs that stand beside the notebook.
    """
    notebook = jupytext.read(source)
    (folder / "runs").symlink_to(source.parent / "runs", target_is_directory=True)
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    client = NotebookClient(
        notebook,
        timeout=SECONDS,
        kernel_name="python3",
        resources={"metadata": {"path": str(folder)}},
        store_widget_state=False,
    )
    # Figures go into the notebook, whatever the processes around it are told to do with theirs.
    inline = "module://matplotlib_inline.backend_inline"
    client.execute(env=os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1", "MPLBACKEND": inline})
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)  # wall-clock times, which differ from run to run
        if cell.cell_type == "code":
            cell.outputs = tidy(cell.outputs)
    return notebook


def tidy(outputs: list[NotebookNode]) -> list[NotebookNode]:
    """Without progress bars, worth nothing once the work is done, and without where on this machine the project lies.

    What a cell prints comes in pieces, cut where a bar stood or a buffer was full; here it is one.
    """
    kept: list[NotebookNode] = []
    for output in outputs:
        if WIDGET in output.get("data", {}):
            continue
        if output.output_type == "stream":
            output.text = output.text.replace(f"{ROOT}{os.sep}", "")
            if output.name == "stderr" and any(place in output.text for place in TORCHAO):
                continue
            if kept and kept[-1].get("name") == output.name:
                kept[-1].text += output.text
                continue
        kept.append(output)
    return kept


def main(names: list[str]) -> None:
    """Execute the named notebooks, all without names, and write them beside their sources."""
    for source in SOURCES:
        if not names or source.stem in names:
            with tempfile.TemporaryDirectory() as folder:
                notebook = executed(source, Path(folder))
            for number, cell in enumerate(notebook.cells):
                cell.id = f"{source.stem}-{number}"  # a random one would differ from run to run
            nbformat.write(notebook, source.with_suffix(".ipynb"))
            print(source.with_suffix(".ipynb"), f"{source.with_suffix('.ipynb').stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main(sys.argv[1:])
