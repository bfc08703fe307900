"""Sequences of symbols: the grammar, the Gumbel-softmax distribution, networks, a run."""

import itertools
import json

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from jaxgan import assembly, data, experiment, loop, writer
from jaxgan import config as configs
from jaxgan.algorithms import player
from jaxgan.cli.main import main
from jaxgan.data import grammar
from jaxgan.errors import UserError
from jaxgan.metrics import expressions
from jaxgan.models import lstm

# --------------------------------------------------------------------------------------------------
# The grammar


def derived(depth):
    """All that the rules make in so many steps from S, of 12 symbols at most."""
    found, waiting = set(), {"S"}
    for _ in range(depth):
        after = set()
        for text in waiting:
            for rule in ("x", "S+S", "S-S", "S*S", "S/S"):
                made = text.replace("S", rule, 1)
                if len(made) <= 12:
                    (after if "S" in made else found).add(made)
        waiting = after
    return found


def test_what_is_valid_is_what_the_rules_make():
    made = derived(7)  # of three operators at most
    lengths = range(1, 6)
    texts = ("".join(each) for n in lengths for each in itertools.product("x+-*/ ", repeat=n))
    valid = {text for text in texts if grammar.is_valid(text)}
    assert valid == {text for text in made if len(text) < 6}
    assert all(map(grammar.is_valid, made))
    assert not any(map(grammar.is_valid, ("", "x+", "+x", "xx", "x x", "x++x", "x+x ", "x\n")))


def test_those_trained_on():
    texts = grammar.training()
    assert len(texts) == 5000 and all(map(grammar.is_valid, texts))
    counts = np.bincount([len(text) for text in texts])
    assert (counts[1::2] > 700).all() and counts[::2].sum() == 0  # 833 of each, more or less
    signs = np.bincount(["+-*/".index(sign) for text in texts for sign in text[1::2]])
    assert (abs(signs / signs.sum() - 0.25) < 0.02).all()
    opened = data.open_set("grammar")
    drawn, labels = opened.draw(jax.random.key(0), 2000)
    assert drawn.shape == (2000, *opened.shape) == (2000, 12, 6) and labels is None
    assert set(np.unique(drawn)) == {0, 1} and (drawn.sum(-1) == 1).all()
    assert set(grammar.to_texts(drawn)) <= set(texts) and len(set(grammar.to_texts(drawn))) > 400


def test_measures_of_expressions():
    known = grammar.training()
    of_all = ("".join(each) for each in itertools.product("x", *["+-*/", "x"] * 5))
    new = next(text for text in of_all if text not in known)
    texts = ("x", "x", known[0], new, "x+", "", "+", "x x")
    found = expressions.measures(np.eye(6)[grammar.to_symbols(texts)])
    different = len({"x", known[0], new})
    assert found["valid"] == 4 / 8 and found["distinct"] == different / 4
    assert found["novel"] == 1 / different
    everything = expressions.measures(np.eye(6)[grammar.to_symbols(known)])
    assert everything["valid"] == 1 and everything["novel"] == everything["length_distance"] == 0
    nothing = expressions.measures(np.eye(6)[grammar.to_symbols(("+",))])
    assert nothing["valid"] == 0 and np.isnan(nothing["novel"])


# --------------------------------------------------------------------------------------------------
# Choosing


class Chooses(nn.Module):
    """One symbol, by the same logits for all."""

    temperature: float
    estimator: str = "soft"
    train: bool = True

    @nn.compact
    def __call__(self, logits):
        symbol = lstm.Symbol(1, 3, self.temperature, self.estimator, self.train, parent=None)
        return symbol.bind({}, rngs={"dropout": self.make_rng("dropout")})._choose(logits)


def choose(logits, temperature, **how):
    rngs = {"dropout": jax.random.key(0)}
    return Chooses(temperature, **how).apply({}, logits, rngs=rngs)


def test_symbols_are_drawn_by_their_probabilities():
    logits = jnp.broadcast_to(jnp.log(jnp.array([0.2, 0.5, 0.3])), (20_000, 3))
    for how in ({"train": False}, {"estimator": "straight_through"}):
        drawn = np.asarray(choose(logits, 0.7, **how))
        assert np.allclose(drawn.max(-1), 1, atol=1e-6)
        np.testing.assert_allclose(drawn.mean(0), [0.2, 0.5, 0.3], atol=0.012)
    soft = np.asarray(choose(logits, 0.7))
    np.testing.assert_allclose(soft.sum(-1), 1, rtol=1e-5)
    np.testing.assert_array_equal(soft.argmax(-1), drawn.argmax(-1))  # of the same noise
    shares = np.bincount(soft.argmax(-1)) / len(soft)  # whatever the temperature
    np.testing.assert_allclose(shares, [0.2, 0.5, 0.3], atol=0.012)
    assert np.median(choose(logits, 0.05).max(-1)) > 0.999 and choose(logits, 50.0).max() < 0.5


def test_one_hot_symbols_have_the_gradient_of_soft_ones():
    logits, values = jnp.zeros((5, 3)), jnp.float32(np.random.default_rng(0).normal(size=(5, 3)))
    slopes = [
        jax.grad(lambda x, e=each: jnp.sum(values * choose(x, 0.7, estimator=e)))(logits)
        for each in ("soft", "straight_through")
    ]
    np.testing.assert_allclose(*slopes, rtol=1e-5)
    assert np.abs(slopes[0]).max() > 0.01


def network(**fields):
    return lstm.Generator((12, 6), "straight_through", width=8, **fields)


def test_a_sequence_is_written_symbol_by_symbol():
    generator = network()
    z = jnp.float32(np.random.default_rng(0).normal(size=(3, 5)))
    params = generator.init(jax.random.key(0), z, None, train=True)["params"]
    write = lambda key, train=False: player.apply(  # noqa: E731
        generator, params, {}, z, None, train=train, key=key
    )[0]
    first, again, other, likely = map(write, [jax.random.key(n) for n in (0, 0, 1)] + [None])
    np.testing.assert_array_equal(first, again)
    assert (first != other).any() and set(np.unique(first)) == {0, 1}
    assert first.shape == (3, 12, 6) and (first.sum(-1) == 1).all()
    # By hand: the cell, its memory of the latents, the symbol before.
    of_symbol = params["ScanSymbol_0"]
    cell = nn.OptimizedLSTMCell(8)
    memory = [jnp.tanh(z @ params[f"Dense_{n}"]["kernel"]) for n in range(2)]
    symbol, memory = jnp.zeros((3, 6)), tuple(memory)
    for place in range(12):
        of_cell = {"params": of_symbol["OptimizedLSTMCell_0"]}
        memory, hidden = cell.apply(of_cell, memory, symbol)
        logits = hidden @ of_symbol["Dense_0"]["kernel"]  # biases begin at 0
        symbol = jax.nn.one_hot(logits.argmax(-1), 6)
        np.testing.assert_array_equal(likely[:, place], symbol)


def test_the_temperature_is_that_of_the_step():
    given = ["text.temperature={'kind': 'linear', 'start': 3.0, 'end': 1.0, 'steps': 2}"]
    settings = configs.tiny(configs.load("configs/gumbel.py", [*given, "text.estimator=soft"]))
    config, _ = experiment.prepare(settings)
    algorithm = assembly.build(config)
    state = jax.jit(algorithm.init)(jax.random.key(0))
    real = data.open_set("grammar").draw(jax.random.key(1), 8)[0]
    step = jax.jit(algorithm.step)
    for temperature in (3.0, 2.0, 1.0):
        cold = algorithm.generator.clone(temperature=temperature)
        fake, _ = player.apply(
            cold,
            state.generator.params,
            {},
            algorithm.latents(state, 0),
            None,
            train=True,
            key=jax.random.fold_in(algorithm._step_key(state), algorithm.n_critic + 1),
        )
        expected = jnp.mean(
            algorithm.discriminator.apply(
                {"params": state.discriminator.params}, fake, None, train=True
            )
        )
        state, metrics = step(state, {"image": real[None]})
        assert metrics["temperature"] == temperature
        np.testing.assert_allclose(metrics["fake_logit"], expected, rtol=1e-4, atol=1e-6)


# --------------------------------------------------------------------------------------------------
# A run


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("text") / "run"
    settings = configs.tiny(configs.load("configs/gumbel.py"))
    assert loop.train(settings, workdir) == 0
    return workdir


def test_its_lines_and_pictures(run):
    last = writer.read_metrics(run)[-1]
    assert {"valid", "distinct", "novel", "length_distance", "temperature", "r1"} <= set(last)
    assert 0 <= last["valid"] <= 1
    with Image.open(run / "samples" / "00000004.png") as picture:
        assert picture.size[1] == 20 * 18 + 4 and np.asarray(picture).std() > 0


def test_texts_are_written_and_measured(run, tmp_path, capsys):
    out = tmp_path / "some.txt"
    sample = ["sample", "--workdir", str(run), "--num", "100"]
    assert main([*sample, "--out", str(out)]) == 0
    lines = out.read_text().split("\n")
    assert len(lines) == 101 and set("".join(lines)) <= set("x+-*/ ")
    assert main([*sample, "--out", str(tmp_path / "a.npy")]) == 0
    assert grammar.to_texts(np.load(tmp_path / "a.npy")) == lines[:-1]
    assert main([*sample, "--out", str(tmp_path / "a.png")]) == 0
    assert main(["evaluate", "--workdir", str(run), "--samples", "100", "--seeds", "2"]) == 0
    [entry] = json.loads((run / "evaluation.json").read_text())
    assert set(entry["figures"]["samples"]) == {"valid", "distinct", "novel", "length_distance"}
    capsys.readouterr()
    assert main([*sample, "--out", str(tmp_path / "folder")]) == 2
    assert "texts go to .txt" in capsys.readouterr().err
    assert main(["evaluate", "--workdir", str(run), "--metrics", "prdc"]) == 2
    assert "prdc is of images, and grammar is of sequences" in capsys.readouterr().err


def settings(name, *overrides, shape=(12, 6)):
    given = configs.load(f"configs/{name}.py", overrides)
    configs.validate(given)
    return configs.resolve(given, 0, shape, (), {})


@pytest.mark.parametrize(
    "given, message",
    [
        (settings("gan_mlp", "data.name=grammar"), r"^data\.name: the algorithm gumbel writes"),
        (settings("gumbel", "data.name=ring", shape=(2,)), r"^data\.name: the algorithm gumbel"),
        (settings("gumbel", "model.name=mlp"), r"^model\.name: mlp is no .*; lstm is"),
        (
            settings("gan_mlp", "model.name=lstm", "model.generator={}", "model.discriminator={}"),
            r"^model\.name: lstm is no network for the algorithm gan",
        ),
        (settings("gan_mlp", "text.temperature=0.5"), r"^text\.temperature: the algorithm gan"),
        (settings("gumbel", "augment.policy=ada", "augment.p=0.5"), r"^augment\.policy: 'ada'"),
    ],
)
def test_mistakes_are_told(given, message):
    with pytest.raises(UserError, match=message):
        assembly.build(given)


def test_an_estimator_that_is_none_is_told():
    with pytest.raises(UserError, match=r"^text\.estimator: 'hard' is not allowed"):
        settings("gumbel", "text.estimator=hard")
