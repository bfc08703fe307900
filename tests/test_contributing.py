"""The example of CONTRIBUTING.md, as it stands there, trains."""

import re
from pathlib import Path

import jaxgan.models
from jaxgan import loop, writer
from tests.test_train import small

TEXT = (Path(__file__).parents[1] / "CONTRIBUTING.md").read_text()


def test_the_new_gan_trains(tmp_path, monkeypatch, compiled_quickly):
    model, config = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
    assert len(model.splitlines()) + len(config.splitlines()) <= 45
    (tmp_path / "tiny.py").write_text(model)
    monkeypatch.setattr(jaxgan.models, "__path__", [*jaxgan.models.__path__, str(tmp_path)])
    settings = small("steps=2", "conditional=True", "evaluate_every=0")
    settings.model.generator, settings.model.discriminator = {"width": 4}, {"width": 4}
    settings.model.name, settings.loss = "tiny", "hinge"
    assert '"tiny", "hinge"' in config
    assert loop.train(settings, tmp_path / "run") == 0
    assert writer.read_metrics(tmp_path / "run")[-1]["d_loss"] > 0
