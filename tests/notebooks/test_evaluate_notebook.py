"""The notebook runs from top to bottom on what the demo left."""

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOK = Path(__file__).parents[2] / "notebooks" / "evaluate.ipynb"
REPLACED = 'DEMO = Path("medsimclr-demo")'


def test_notebook_is_committed_without_outputs():
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    assert all(not cell.get("outputs") for cell in notebook.cells)


@pytest.mark.slow
@pytest.mark.filterwarnings("default")  # the kernel's own packages warn
def test_notebook_runs_on_the_smoke_demo(smoke_demo):
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    sources = [cell.source for cell in notebook.cells]
    assert sum(REPLACED in source for source in sources) == 1
    for cell in notebook.cells:
        cell.source = cell.source.replace(REPLACED, f"DEMO = Path({str(smoke_demo)!r})")
    NotebookClient(notebook, timeout=120, kernel_name="python3").execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    text = "".join(output.get("text", "") for output in outputs)
    assert "tiles of 2 patients never seen" in text
    n_pictures = sum("image/png" in output.get("data", {}) for output in outputs)
    assert n_pictures == 4
