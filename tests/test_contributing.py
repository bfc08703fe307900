"""The example of CONTRIBUTING.md, as it stands there, trains."""

import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

import jaxgan.models
from jaxgan import config, experiment, loop, writer

TEXT = (Path(__file__).parents[1] / "CONTRIBUTING.md").read_text()


def test_the_new_gan_trains(tmp_path, monkeypatch):
    model, text = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
    lines = [line for line in (model + text).splitlines() if line.strip()]
    assert len(lines) <= 40
    (tmp_path / "tiny.py").write_text(model)
    monkeypatch.setattr(jaxgan.models, "__path__", [*jaxgan.models.__path__, str(tmp_path)])
    (tmp_path / "config.py").write_text(text)
    settings = config.tiny(config.load(tmp_path / "config.py"))
    settings.evaluate_every = 0
    assert loop.train(settings, tmp_path / "run") == 0
    assert writer.read_metrics(tmp_path / "run")[-1]["d_loss"] > 0
    _, algorithm, state = experiment.load_run(tmp_path / "run")
    draw = lambda label: algorithm.sample(state, jax.random.key(0), jnp.full(2, label))  # noqa: E731
    assert np.abs(draw(0) - draw(1)).max() > 1e-3
