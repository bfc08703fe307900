"""Notebooks: each .ipynb is its .py, and runs from its first cell to its last."""

from pathlib import Path

import jupytext
import nbformat
import pytest
from nbclient import NotebookClient

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.py"))
STEPS = "steps=10 steps_per_call=1 log_every=1 checkpoint_every=1 parallel.data=1"
SMALL = "model.generator.width=4 model.discriminator.width=4 batch_size=8 sample_every=5"
FEWER = {"JAXGAN_SAMPLES": "128", "JAXGAN_SEARCH_STEPS": "2", "JAXGAN_PICTURES": "100"}


@pytest.mark.parametrize("source", NOTEBOOKS, ids=lambda path: path.stem)
def test_ipynb_is_its_py_and_holds_no_outputs(source):
    pairs = jupytext.read(source), nbformat.read(source.with_suffix(".ipynb"), as_version=4)
    ours, theirs = ([(c.cell_type, c.source) for c in book.cells] for book in pairs)
    assert ours == theirs
    assert not any(cell.get("outputs") for cell in pairs[1].cells)


@pytest.mark.parametrize("source", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_opens_in_colab_and_begins_as_all_do(source):
    first, second = jupytext.read(source).cells[:2]
    assert f"jaxgan/jaxgan/blob/main/notebooks/{source.stem}.ipynb)" in first.source
    assert second.source == jupytext.read(NOTEBOOKS[0]).cells[1].source  # installs


def pictures(name, folder, monkeypatch, changes):
    """Runs the notebook in `folder` and gives what its cells show, kind by kind."""
    for each in ("train.py", "configs", "jaxgan", "notebooks"):
        (folder / each).symlink_to(ROOT / each)
    monkeypatch.setenv("JAXGAN_CHANGES", f"{STEPS} {changes}")
    for variable, value in FEWER.items():
        monkeypatch.setenv(variable, value)
    book = nbformat.read(ROOT / "notebooks" / f"{name}.ipynb", as_version=4)
    resources = {"metadata": {"path": str(folder)}}
    NotebookClient(book, timeout=300, resources=resources).execute()
    return [
        kind
        for cell in book.cells
        for output in cell.get("outputs", ())
        for kind in output.get("data", {})
        if kind.startswith("image/")
    ]


def test_quickstart_runs(tmp_path, monkeypatch):
    shown = pictures("quickstart", tmp_path, monkeypatch, f"{SMALL} sample_every=1")
    assert shown == ["image/png"] * 5  # three grids, the curves, a class
    assert (tmp_path / "bags.png").exists()
    assert (tmp_path / "runs" / "quickstart" / "samples" / "00000010.png").exists()
    assert (tmp_path / "runs" / "quickstart" / "evaluation.json").exists()


def test_convergence_runs(tmp_path, monkeypatch):
    shown = pictures("convergence", tmp_path, monkeypatch, "sample_every=5")
    assert shown == ["image/gif", "image/gif", "image/png"]
    assert len(list((tmp_path / "runs" / "convergence").iterdir())) == 4


def test_latent_space_runs(tmp_path, monkeypatch):
    shown = pictures("latent_space", tmp_path, monkeypatch, f"{SMALL} data.split=train[:512]")
    assert shown == ["image/png", "image/gif", *["image/png"] * 4]


def test_own_images_runs(tmp_path, monkeypatch):
    shown = pictures("own_images", tmp_path, monkeypatch, SMALL)
    assert shown == ["image/png"] * 3
    assert (tmp_path / "runs" / "own_images" / "evaluation.json").exists()
    assert (tmp_path / "mine" / "model.safetensors").exists()


@pytest.mark.slow
def test_paper_in_a_page_runs(tmp_path, monkeypatch):
    evaluated = "evaluate_every=10 evaluation.samples=128 data.split=train[:512]"
    shown = pictures("paper_in_a_page", tmp_path, monkeypatch, f"{SMALL} {evaluated}")
    assert shown == ["image/png"] * 2
    assert len(list((tmp_path / "runs" / "paper").glob("*/metrics.jsonl"))) == 4
