"""What samples are worth to a classifier, and what they and the discriminator give away."""

import dataclasses
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgan import config as configs
from jaxgan import experiment, judges, loop, writer
from jaxgan.cli.main import main
from jaxgan.metrics import of_runs
from jaxgan.metrics.seen import Scene, Seen


def noise(count, seed, low=0, high=256):
    return np.random.default_rng(seed).integers(low, high, (count, 8, 8, 1), np.uint8)


def auc(members, others):
    """By all pairs: how often a member has more, ties counting half."""
    members, others = np.asarray(members)[:, None], np.asarray(others)[None]
    return np.mean((members > others) + 0.5 * (members == others))


def test_membership_is_the_area_under_both_attacks_curves():
    training, held_out = noise(60, 0), noise(50, 1)
    # Samples near half of the training images.
    samples = np.concatenate([training[:30] // 2 + 64, noise(40, 2)])
    weights = np.random.default_rng(3).normal(size=(8, 8, 1))

    def score(images, labels):
        return jnp.sum(images * weights[None], (1, 2, 3)) + 10.0 * labels

    labels = np.arange(60, dtype=np.int32) % 2
    scene = Scene(jax.random.key(0), training_images=training, training_labels=labels, score=score)
    real = Seen(50, labels=labels[:50] * 0, images=held_out)
    found = of_runs.membership(real, Seen(70, images=samples), scene)
    flat = lambda x: x.reshape(len(x), -1) / 255  # noqa: E731
    scores, distances = [], []
    for images, of in ((training[:50], labels[:50]), (held_out, labels[:50] * 0)):
        scores.append((2 * flat(images) - 1) @ weights.ravel() + 10.0 * of)
        apart = np.linalg.norm(flat(images)[:, None] - flat(samples)[None], axis=-1)
        distances.append(apart.min(1))
    np.testing.assert_allclose(found["membership_by_logits"], auc(*scores), atol=1e-6)
    expected = auc(-distances[0], -distances[1])
    np.testing.assert_allclose(found["membership_by_samples"], expected, atol=1e-6)
    assert expected > 0.7 and auc(*scores) > 0.55


def two_classes(count, seed):
    """Dark and light noise, which a classifier tells apart."""
    labels = np.arange(count, dtype=np.int32) % 2
    images = np.where(
        labels[:, None, None, None] == 1, noise(count, seed, 110, 200), noise(count, seed, 60, 150)
    )
    return images.astype(np.uint8), labels


@pytest.mark.parametrize("right", [True, False])
def test_samples_help_a_classifier_or_harm_it(right, monkeypatch):
    monkeypatch.setattr(of_runs, "UPDATES", 40)
    training, labels = two_classes(128, 0)
    noisy = np.where(np.arange(128) % 3 == 0, 1 - labels, labels)  # a third of them is wrong
    samples, of_samples = two_classes(1024, 1)
    test, of_test = two_classes(200, 2)
    scene = Scene(
        jax.random.key(0),
        ("dark", "light"),
        training_images=training,
        training_labels=noisy.astype(np.int32),
    )
    fake = Seen(1024, labels=of_samples if right else 1 - of_samples, images=samples)
    found = of_runs.augmentation(Seen(200, labels=of_test, images=test), fake, scene)
    better = found["accuracy_augmented"] > found["accuracy_of_real"]
    assert better == right and (found["accuracy_augmented"] > 0.95) == right


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("of_runs") / "run"
    settings = configs.tiny(configs.load("configs/cgan.py"))
    settings.evaluate_every, settings.parallel.data = 0, 1
    assert loop.train(settings, workdir) == 0
    return workdir


def test_a_score_is_the_discriminators_logit(run):
    _, algorithm, state = experiment.load_run(run)
    images = jnp.float32(np.random.default_rng(0).uniform(-1, 1, (4, 28, 28, 1)))
    labels = jnp.arange(4)
    variables = {"params": state.discriminator.params, **state.discriminator.stats}
    expected = algorithm.discriminator.apply(variables, images, labels, train=False)
    np.testing.assert_allclose(algorithm.score(state, images, labels), expected, rtol=1e-6)


def test_a_run_is_asked_for_both(run, monkeypatch, capsys):
    monkeypatch.setattr(of_runs, "UPDATES", 8)
    asked = ["--metrics", "membership,augmentation", "--samples", "200", "--seeds", "1"]
    assert main(["evaluate", "--workdir", str(run), *asked]) == 0
    [entry] = json.loads((run / "evaluation.json").read_text())
    figures = entry["figures"]["samples"]
    for name in ("membership_by_logits", "membership_by_samples"):
        assert 0.3 < figures[name]["value"] < 0.7
    assert {"accuracy_of_real", "accuracy_augmented"} <= set(figures)
    capsys.readouterr()
    assert main(["evaluate", "--workdir", str(run), *asked, "--split", "train"]) == 2
    assert "takes real images that were not trained on" in capsys.readouterr().err


def test_data_that_have_moved_are_named_anew(tmp_path, capsys):
    def pictures(name, seed):
        (tmp_path / name).mkdir()
        for n, image in enumerate(noise(12, seed)):
            writer.write_png(tmp_path / name / f"{n}.png", image)
        argv = ["--source", str(tmp_path / name), "--out", str(tmp_path / f"{name}8")]
        assert main(["prepare", *argv, "--image_size", "8"]) == 0
        return tmp_path / f"{name}8"

    first, other, run = pictures("own", 0), pictures("others", 1), str(tmp_path / "run")
    settings = configs.tiny(configs.load("configs/gan_mlp.py"))
    settings.data.name, settings.data.path, settings.data.split = "folder", str(first), "train"
    settings.evaluate_every, settings.parallel.data = 0, 1
    assert loop.train(settings, Path(run)) == 0
    now = first.rename(tmp_path / "elsewhere")
    out = str(tmp_path / "out.png")
    verbs = {
        "neighbours": ["--num", "2", "--nearest", "2", "--features", "pixels", "--out", out],
        "spectrum": ["--samples", "4", "--split", "train", "--out", out],
        "invert": ["--num", "1", "--steps", "1", "--split", "train", "--out", out],
        "evaluate": ["--metrics", "spectrum", "--samples", "8", "--seeds", "1", "--split", "train"],
    }
    for verb, rest in verbs.items():
        argv = [verb, "--workdir", run, *rest]
        assert main(argv) == 2
        assert f"data.path: there is no {first}" in capsys.readouterr().err
        assert main([*argv, f"--config.data.path={other}"]) == 2
        assert "are not the images that the run was trained on" in capsys.readouterr().err
        assert main([*argv, f"--config.data.path={now}"]) == 0

    argv = ["--workdir", run, "--image", f"{tmp_path}/own/0.png", "--out", out]
    assert main(["invert", *argv, f"--config.data.path={now}"]) == 2
    assert "does nothing beside --image" in capsys.readouterr().err
    argv = ["--real", str(now), "--fake", str(now)]
    assert main(["evaluate", *argv, f"--config.data.path={now}"]) == 2
    assert "is of a run; leave it out" in capsys.readouterr().err
    for argv in (["evaluate", "--config.seed=1"], ["sample", f"--config.data.path={now}"]):
        with pytest.raises(SystemExit):
            main([*argv, "--workdir", run, *(["--out", out] if argv[0] == "sample" else [])])
        assert "take data.path and data.dir" in capsys.readouterr().err


def test_what_cannot_be_told_is_said(run, capsys):
    algorithm = experiment.load_run(run)[1]
    assert "score" in judges.abilities(algorithm)
    packed = dataclasses.replace(algorithm, view=algorithm.view._replace(pack=2))
    assert "score" not in judges.abilities(packed)
    few = ["--metrics", "augmentation", "--samples", "200"]
    config = json.loads((run / "config.json").read_text())
    config["data"]["split"] = "train[:100]"
    (run / "config.json").write_text(json.dumps(config))
    assert main(["evaluate", "--workdir", str(run), *few]) == 2
    assert "augmentation takes 128 training images or more, not 100" in capsys.readouterr().err
