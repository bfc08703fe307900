"""A run of a variational autoencoder, and what the verbs that encode images make of it."""

import json

import numpy as np
import pytest
from PIL import Image

from jaxgan import config, loop, writer
from jaxgan.cli.main import main


def tiny(name, *overrides):
    return config.tiny(config.load(f"configs/{name}.py", overrides))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Of a VAE, with its own metric beside."""
    workdir = tmp_path_factory.mktemp("vae") / "run"
    settings = tiny("vae")
    settings.evaluation.metrics, settings.best_metric = "elbo,sliced_wasserstein", "elbo"
    assert loop.train(settings, workdir) == 0
    return workdir


@pytest.fixture(scope="module")
def of_gan(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("gan") / "run"
    settings = tiny("gan_mlp", "evaluate_every=0")
    settings.evaluate_every = 0
    assert loop.train(settings, workdir) == 0
    return workdir


def test_its_lines_tell_the_bound_and_its_parts(run):
    lines = writer.read_metrics(run)
    for line in lines:
        assert {"loss", "reconstruction", "kl", "e_gradient_norm", "g_gradient_norm"} <= set(line)
        assert "d_loss" not in line
        np.testing.assert_allclose(line["loss"], line["reconstruction"] + line["kl"], rtol=1e-5)
    assert {"elbo", "active_units", "sliced_wasserstein"} <= set(lines[-1])
    assert -lines[-1]["loss"] == pytest.approx(lines[-1]["elbo"], rel=0.1)  # other images
    best = [path.name for path in (run / "checkpoints" / "best").iterdir()]
    assert best == ["4"]


@pytest.mark.parametrize("name", ["vae", pytest.param("vaegan", marks=pytest.mark.slow)])
def test_a_stopped_run_ends_as_one_that_was_not(name, tmp_path):
    lines = []
    for folder, stops in (("straight", (4,)), ("stopped", (2, 4))):
        for steps in stops:
            settings = tiny(name)
            settings.evaluate_every, settings.steps = 0, steps
            assert loop.train(settings, tmp_path / folder) == 0
        [*_, last] = writer.read_metrics(tmp_path / folder)
        lines.append({k: v for k, v in last.items() if "second" not in k and k != "data_wait"})
    assert lines[0] == lines[1]


def command(verb, workdir, *arguments):
    return main([verb, "--workdir", str(workdir), *map(str, arguments)])


def size_of(path):
    with Image.open(path) as picture:
        assert np.asarray(picture).std() > 0
        return picture.size


def test_reconstructions_stand_below_their_images(run, tmp_path, capsys):
    out = tmp_path / "again.png"
    assert command("reconstruct", run, "--num", 12, "--out", out) == 0
    assert "12 images of step 4, mean squared error 0." in capsys.readouterr().out
    assert size_of(out) == (2 + 10 * 30, 2 + 4 * 30)  # two rows of pairs
    pixels = np.asarray(Image.open(out))[2:30, 2:302]
    assert set(np.unique(pixels)) == {0, 255}  # black and white, as the likelihood has it
    last = np.asarray(Image.open(out))[62:, 62:]
    assert not last.any()  # two of ten there
    assert command("reconstruct", run, "--num", 3, "--out", out, "--seed", 1) == 0
    assert size_of(out) == (2 + 3 * 30, 2 + 2 * 30)


def test_a_row_of_traversals_moves_one_latent(run, tmp_path, capsys):
    out = tmp_path / "latents.png"
    assert command("traverse", run, "--rows", 3, "--out", out) == 0
    assert size_of(out) == (2 + 11 * 30, 2 + 3 * 30)
    said = capsys.readouterr().out
    assert "3 of 8 latents of step 4" in said
    told = [float(part.partition(")")[0]) for part in said.splitlines()[0].split(" (")[1:]]
    assert told == sorted(told, reverse=True) and len(told) == 3


def test_evaluate_tells_the_bounds(run, tmp_path, capsys):
    chosen = ["--metrics", "elbo", "--samples", 300, "--seeds", 2]
    assert command("evaluate", run, *chosen) == 0
    [entry] = json.loads((run / "evaluation.json").read_text())
    figures = entry["figures"]["samples"]
    assert figures["elbo"]["value"] < 0 <= figures["active_units"]["value"] <= 8
    assert entry["protocol"]["settings"]["elbo"]["latents"] == 1
    assert "elbo" in capsys.readouterr().out


@pytest.mark.parametrize(
    "verb, arguments, message",
    [
        ("reconstruct", ["--num", 0, "--out", "a.png"], "--num: 0 is not a number of images"),
        ("reconstruct", ["--out", "a.npy"], "--out: a.npy is not a .png file"),
        ("reconstruct", ["--seed", -1, "--out", "a.png"], "--seed: -1 is not within 0"),
        ("traverse", ["--rows", 0, "--out", "a.png"], "--rows: 0 is not a number of latents"),
        ("traverse", ["--reach", 0, "--out", "a.png"], "--reach: 0 is not within 1e-06 to"),
        ("traverse", ["--split", "tset", "--out", "a.png"], "tset"),
    ],
)
def test_mistakes_are_one_sentence(run, verb, arguments, message, capsys):
    assert command(verb, run, *arguments) == 2
    assert message in capsys.readouterr().err


def test_a_gan_encodes_nothing(of_gan, tmp_path, capsys):
    for verb, missing in (("reconstruct", "starts from"), ("traverse", "encodes")):
        assert command(verb, of_gan, "--out", tmp_path / "a.png") == 2
        expected = f"is a run of the algorithm gan, which {missing} no images; vae"
        assert expected in capsys.readouterr().err
    assert command("evaluate", of_gan, "--metrics", "elbo") == 2
    assert "--metrics: elbo is of an autoencoder (algorithm=vae)" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
