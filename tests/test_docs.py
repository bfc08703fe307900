"""What the documentation says to type is understood and runs; its pages and links are whole."""

import itertools
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from jaxgan import config, loop
from jaxgan.cli import main as front
from jaxgan.cli import split_overrides
from jaxgan.data.sounds import write_wav
from jaxgan.metrics import metrics_of
from jaxgan.reproductions import REPRODUCTIONS

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]

# Commands that are not run here, by a piece of them; they are understood all the same.
NOT_RUN = {
    "10.0.0.1": "a second machine; test_processes.py trains in several processes",
    "gs://": "a bucket; test_elsewhere.py has a stand-in",
    "v5e": "minutes, and libtpu; test_plan.py",
    "prepare --name": "a download; test_sources.py",
    "cyclegan": "its sets are downloads; test_train.py",
    "inception_v3_fid": "a download; test_inception.py",
    "efficientnet_lite0": "its weights; test_evaluation.py has a slice beside that of training",
    "stylize": "minutes; test_stylize.py",
    "style.py": "the weights of VGG16; test_style.py",
    "reproduce": "minutes; test_reproduce.py",
    "onnx": "takes jax2onnx; test_export_programs.py",
}


def commands(page):
    """The words of each `python ...` of the page's bash blocks, in order."""
    for block in re.findall(r"^```bash\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE):
        for line in block.replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True)
            if words[:1] == ["python"]:
                yield words[1:]


def ident(path):
    return str(path.relative_to(ROOT))


ALL = [(page, words) for page in PAGES for words in commands(page)]
DISTINCT = list(dict.fromkeys(shlex.join(words) for _, words in ALL))
TO_RUN = [page for page in PAGES if any(True for _ in commands(page))]


def value_of(flag, words):
    joined = {word.partition("=")[0]: word.partition("=")[2] for word in words if "=" in word}
    return joined.get(flag) or dict(itertools.pairwise(words)).get(flag)


def settings_of(words):
    own, overrides = split_overrides(words)
    path = value_of("--config", own)
    assert path.startswith("configs/")
    return config.load(ROOT / path, overrides)


def test_there_are_commands():
    assert len(DISTINCT) > 60
    assert {words[0] for _, words in ALL} == {"train.py", "-m"}
    assert {words[2] for _, words in ALL if words[0] == "-m"} == set(front.VERBS)
    for piece in NOT_RUN:
        assert any(piece in text for text in DISTINCT), f"{piece} is in no command"


@pytest.mark.parametrize("text", DISTINCT)
def test_a_command_is_understood(text, monkeypatch):
    words = shlex.split(text)
    if words[0] == "train.py":
        own, _ = split_overrides(words[1:])
        flags = {word.partition("=")[0] for word in own if word.startswith("--")}
        of_processes = {"--coordinator", "--num_processes", "--process_id"}
        assert flags <= {"--config", "--workdir", "--dry_run", *of_processes}
        config.validate(settings_of(words))
        return
    given = []
    for module in front.VERBS.values():
        monkeypatch.setattr(module, "run", lambda arguments: given.append(arguments) or 0)
    monkeypatch.setattr(front.plan, "run", lambda arguments: given.append(arguments) or 0)
    monkeypatch.setattr(front.reproduce, "run", lambda arguments: given.append(arguments) or 0)
    assert words[:2] == ["-m", "jaxgan"]
    assert front.main(words[2:]) == 0
    (arguments,) = given
    if words[2] == "plan":
        config.validate(settings_of(words))
    elif words[2] == "reproduce":
        assert arguments.name in REPRODUCTIONS
    elif words[2] == "evaluate" and arguments.metrics:
        assert metrics_of(arguments.metrics, "--metrics")


# --------------------------------------------------------------------------------------------------
# Running them


def train_tiny(words):
    """What `python train.py ...` does, with a few steps of narrow networks."""
    settings = config.tiny(settings_of(words))
    default = Path("runs") / Path(value_of("--config", words)).stem
    workdir = Path(value_of("--workdir", words) or default)
    assert loop.train(settings, workdir, dry_run="--dry_run" in words) == 0


def run(words):
    if words[0] == "train.py":
        return train_tiny(words)
    words = words[2:]
    if words[0] == "evaluate":
        words = [*words, "--samples", "128", "--seeds", "2"]
    if words[0] == "invert":
        words = [*words, "--steps", "2"]
    assert front.main(words) == 0


def not_run(words):
    return any(piece in shlex.join(words) for piece in NOT_RUN)


def files_of_a_reader(folder):
    """The pictures and sounds that the pages speak of."""
    rng = np.random.default_rng(0)
    for name in ("photos", "photographs"):
        for kind in ("cats", "dogs"):
            (folder / name / kind).mkdir(parents=True)
            for i in range(16):
                pixels = rng.integers(0, 256, (136, 144, 3), np.uint8)
                Image.fromarray(pixels).save(folder / name / kind / f"{i}.png")
    (folder / "clips").mkdir()
    for i in range(24):
        write_wav(folder / "clips" / f"{i}.wav", rng.uniform(-1, 1, 4096).astype("f"), 8000)
    for name in ("edges", "shoe"):
        Image.fromarray(rng.integers(0, 256, (28, 28), np.uint8)).save(folder / f"{name}.png")
    hole = np.zeros((28, 28), np.uint8)
    hole[8:16, 8:16] = 255
    Image.fromarray(hole).save(folder / "hole.png")


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """The folder of a run of cgan.py, but of small networks."""
    settings = settings_of(["train.py", "--config", "configs/cgan.py"])
    fields = {"features": (8,)}
    settings.model = {"name": "mlp", "generator": fields, "discriminator": fields, "encoder": {}}
    workdir = tmp_path_factory.mktemp("small") / "cgan"
    assert loop.train(config.tiny(settings), workdir) == 0
    return workdir


@pytest.fixture
def reader(tmp_path, monkeypatch):
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    files_of_a_reader(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_what_is_said_of_samples_runs(reader, small):
    shutil.copytree(small, "runs/cgan")
    of_run = [text for text in DISTINCT if "sample --workdir runs/cgan " in text]
    assert len(of_run) >= 4
    for text in of_run:
        run(shlex.split(text))
    with Image.open("bags.png") as grid:
        assert grid.size[0] > 28
    assert np.load("thousand.npz")["images"].shape == (1000, 28, 28, 1)


@pytest.mark.slow
@pytest.mark.parametrize("page", TO_RUN, ids=ident)
def test_a_page_runs_from_top_to_bottom(page, reader, small):
    """Where a page does not train the tutorial's run, it finds one; `run` asserts that each command
    ends well."""
    trains = ["train.py", "--config", "configs/cgan.py"]
    if not any(
        words[:3] == trains and not value_of("--workdir", words) for words in commands(page)
    ):
        shutil.copytree(small, "runs/cgan")
    for words in commands(page):
        if not not_run(words):
            run(words)


# --------------------------------------------------------------------------------------------------
# The site


def test_links_of_the_readme_lead_somewhere():
    links = re.findall(r"\]\((?!https?:)([^)#]+)", (ROOT / "README.md").read_text())
    assert len(links) > 10
    for link in links:
        assert (ROOT / link).exists(), link


def test_the_site_is_built_without_a_warning_and_takes_nothing_from_elsewhere(tmp_path):
    pytest.importorskip("mkdocs", reason='the site takes pip install -e ".[docs]"')
    site = tmp_path / "site"
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", site]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    text = "".join(page.read_text() for page in site.rglob("*.html"))
    assert not re.search(r'<(script|img|link)[^>]+(src|href)="?(https?:)?//(?!jaxgan)', text)
    assert 'class="arithmatex"' not in text  # all formulas have become MathML
    assert text.count("<math") > 80
    keys = (site / "reference" / "config" / "index.html").read_text()
    for key in ("steps", "optimizer.PLAYER.b1", "parallel.fsdp", "evaluation.sha256"):
        assert f"<code>{key}</code>" in keys
    flags = (site / "reference" / "commands" / "index.html").read_text()
    for verb in front.VERBS:
        assert f'id="{verb}"' in flags
    assert "--num_processes" in flags
    assert "--truncation" in flags
