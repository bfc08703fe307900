"""Notebooks: each .ipynb is its .py, and runs from its first cell to its last."""

from pathlib import Path

import jupytext
import nbformat
import pytest
from nbclient import NotebookClient

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.py"))


@pytest.mark.parametrize("source", NOTEBOOKS, ids=lambda path: path.stem)
def test_ipynb_is_its_py_and_holds_no_outputs(source):
    pairs = jupytext.read(source), nbformat.read(source.with_suffix(".ipynb"), as_version=4)
    ours, theirs = ([(c.cell_type, c.source) for c in book.cells] for book in pairs)
    assert ours == theirs
    assert not any(cell.get("outputs") for cell in pairs[1].cells)


def test_quickstart_runs(tmp_path, monkeypatch):
    for name in ("train.py", "configs", "jaxgan", "notebooks"):
        (tmp_path / name).symlink_to(ROOT / name)
    small = "batch_size=8 steps=10 steps_per_call=1 log_every=1 sample_every=1 checkpoint_every=1"
    width = "model.generator.width=4 model.discriminator.width=4 parallel.data=1"
    monkeypatch.setenv("JAXGAN_QUICKSTART", f"{small} {width}")
    book = nbformat.read(ROOT / "notebooks" / "quickstart.ipynb", as_version=4)
    client = NotebookClient(book, timeout=300, resources={"metadata": {"path": str(tmp_path)}})
    client.execute()
    images = [
        output
        for cell in book.cells
        for output in cell.get("outputs", ())
        if "image/png" in output.get("data", {})
    ]
    assert len(images) == 5  # three grids, the curves, a class
    assert (tmp_path / "bags.png").exists()
    assert (tmp_path / "runs" / "quickstart" / "samples" / "00000010.png").exists()
