"""Losses, penalties and ways of conditioning, each with each; what is refused, with its reason."""

import itertools
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgan import assembly, config
from jaxgan.errors import UserError
from jaxgan.losses import LOSSES
from jaxgan.models import heads
from jaxgan.penalties import GENERATOR_PENALTIES, PENALTIES

DEFAULT = Path(__file__).parents[1] / "configs" / "default.py"
# Ways to give labels: to the discriminator, to the generator.
CONDITIONINGS = [None, *itertools.product(heads.CONDITIONINGS, ["embedding"])]
CONDITIONINGS += [("projection", "concat"), ("projection", "norm")]


def settings(*overrides, shape=(8, 8, 3), size=100):
    """A resolved config of narrow fully connected networks for images of that shape."""
    found = config.load(DEFAULT, ["model.name=mlp", "batch_size=8", "z_dim=4"])
    found.model.generator = {"features": (8,)}
    found.model.discriminator = {"features": (8,)}
    for override in overrides:
        config._override(found, *override.split("=", 1))
    config.validate(found)
    classes = ("a", "b", "c") if found.conditional else ()
    return config.resolve(found, size, shape, classes, {})


def conditioned(way):
    if way is None:
        return ["conditional=False"]
    return [
        "conditional=True",
        f"model.discriminator.conditioning={way[0]}",
        f"model.generator.conditioning={way[1]}",
    ]


def two_steps(found):
    """The metrics of two steps on random images."""
    algorithm = assembly.build(found)
    random = np.random.default_rng(0)
    sizes = (2, algorithm.minibatches, algorithm.batch_size)
    shape = algorithm.generator.image_shape
    batches = {"image": jnp.float32(random.uniform(-1, 1, (*sizes, *shape)))}
    if algorithm.num_classes:
        batches["label"] = jnp.int32(random.integers(0, algorithm.num_classes, sizes))
    run = jax.jit(lambda key: jax.lax.scan(algorithm.step, algorithm.init(key), batches))
    state, metrics = run(jax.random.key(0))
    moved = jax.tree.map(jnp.subtract, state.generator.params, state.ema.params)
    leaves = [*jax.tree.leaves((state.generator, state.discriminator, moved)), *metrics.values()]
    assert all(np.isfinite(leaf).all() for leaf in leaves)
    return metrics


def pairs():
    """Combinations in which each loss, penalty and way meets each other one at least once."""
    ways, names = CONDITIONINGS, sorted(PENALTIES)
    for (i, loss), (j, name) in itertools.product(enumerate(LOSSES), enumerate(names)):
        yield loss, name, ways[(i + j) % len(ways)]
    for (i, name), (j, way) in itertools.product(enumerate(names), enumerate(ways)):
        yield list(LOSSES)[(i + j) % len(LOSSES)], name, way


def everything():
    return itertools.product(LOSSES, PENALTIES, CONDITIONINGS)


def check(loss, name, way):
    overrides = [f"loss={loss}", f"penalties.{name}=0.1", *conditioned(way)]
    if name == "lecam" and LOSSES[loss].uses_real:
        with pytest.raises(UserError, match=r"^penalties\.lecam: it ties logits to values"):
            assembly.build(settings(*overrides))
        return
    metrics = two_steps(settings(*overrides))
    assert name in metrics
    classifies = way is not None and bool(heads.CONDITIONINGS[way[0]])
    assert ("d_class_loss" in metrics) == ("g_class_loss" in metrics) == classifies


# A sixth of the pairs here, all triples in the slow test: each is a program to compile.
SOME = sorted(set(pairs()), key=str)[2::6]


@pytest.mark.parametrize(("loss", "name", "way"), SOME)
def test_pairs_train(loss, name, way):
    check(loss, name, way)


@pytest.mark.slow
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("name", PENALTIES)
def test_all_of_them_train(loss, name):
    for way in CONDITIONINGS:
        check(loss, name, way)


def test_no_loss_penalty_or_way_is_left_out():
    losses, names, ways = (set(each) for each in zip(*SOME, strict=True))
    assert losses == set(LOSSES) and names == set(PENALTIES) and ways == set(CONDITIONINGS)
    assert len(list(everything())) == len(LOSSES) * len(PENALTIES) * len(CONDITIONINGS)


@pytest.mark.parametrize(
    "overrides",
    [
        ["augment.policy=diffaugment", "augment.p=1", "penalties.r1=1", "conditional=True"],
        ["augment.policy=ada_bgc", "augment.target=0.6", "n_critic=2"],
        ["augment.policy=apa", "augment.target=0.6", "pack=2"],
        ["accumulate=2", "pack=2", "loss=relativistic_paired", "penalties.r2=1"],
        ["updates=simultaneous", "instance_noise=0.1", "top_k=0.5", "label_smoothing=0.1"],
        ["precision=bfloat16", "penalties.wgan_gp=10", "loss=wasserstein", "latent=uniform"],
        ["precision=bfloat16_products", "penalties.r1=1", "loss=relativistic_paired"],
        ["algorithm=unrolled", "unrolled_steps=2", "optimizer.discriminator.name=sgd"],
        ["generator_penalties.orthogonal=0.1", "generator_penalties.zcr=0.5", "penalties.zcr=5"],
        ["optimizer.generator.learning_rate={'kind': 'cosine', 'start': 1, 'end': 0, 'kimg': 9}"],
        ["optimizer.generator.name=adamw", "optimizer.generator.arguments.weight_decay=0.1"],
        ["optimizer.discriminator.clip_value=0.1", "optimizer.discriminator.clip_weights=0.01"],
    ],
    ids=lambda overrides: overrides[0].partition("=")[2] + "_" + overrides[-1].partition("=")[0],
)
def test_other_settings_train(overrides):
    metrics = two_steps(settings(*overrides))
    for override in overrides:
        section, _, name = override.partition("=")[0].partition(".")
        if section == "penalties":
            assert name in metrics
        if section == "generator_penalties":
            assert f"g_{name}" in metrics


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            ["model.discriminator.conditioning=acgan"],
            r"^model\.discriminator\.conditioning: 'acgan'.*",
        ),
        (["accumulate=3"], r"^batch_size: 8 is not a multiple of accumulate x pack = 3"),
        (
            ["pack=2", "conditional=True"],
            r"^pack: images that are judged together would have labels",
        ),
        (["updates=simultaneous", "n_critic=2"], r"^updates: .* n_critic is 2"),
        (
            ["accumulate=2", "loss=relativistic_average"],
            r"^accumulate: .* relativistic_average, where",
        ),
        (["top_k=0.5", "loss=relativistic_average"], r"^top_k: to relativistic_average the images"),
        (["accumulate=2", "penalties.dragan=1"], r"^accumulate: .* to penalties.dragan, where"),
        (["penalties.wgan_gp={'weight': 1, 'target': 1e999}"], r"^penalties\.wgan_gp\.target: inf"),
        (["model.generator.features=(100_000,)"], r"^model\.generator\.features: \(100000,\) is"),
        (["accumulate=2", "top_k=0.5"], r"^accumulate: .* to top_k, where"),
        (
            ["accumulate=2", "conditional=True", "model.discriminator.conditioning=contragan"],
            r"^accumulate: .* to contragan, where",
        ),
        (
            ["unrolled_steps=2"],
            r"^unrolled_steps: the algorithm gan does not look at it; leave it at 0",
        ),
        (
            ["algorithm=unrolled", "unrolled_steps=2"],
            r"^optimizer\.discriminator\.arguments\.eps_root: .* in adam.* 1e-16",
        ),
        (
            [
                *("algorithm=unrolled", "unrolled_steps=2", "precision=bfloat16_products"),
                "optimizer.discriminator.arguments.eps_root=1e-16",
            ],
            r"^precision: .* in adam.*; set it to float32",
        ),
        (["sample_dropout=True"], r"^sample_dropout: this generator, of .*, drops nothing out$"),
        (["augment.policy=ada"], r"^augment\.p: with 0, and no augment\.target, ada does nothing"),
        (["augment.policy=adda"], r"^augment\.policy: there is no 'adda' .did you mean 'ada'"),
        (
            ["augment.policy=ada", "augment.p=0.5", "augment.kimg=100"],
            r"^augment\.kimg: .* no target",
        ),
        (
            ["class_loss.generator_weight=0.1"],
            r"^class_loss\.generator_weight: .*=concat has no use for it; .* 1.0, or .*of acgan,",
        ),
        (
            [
                *("class_loss.margin=0.5", "conditional=True"),
                "model.discriminator.conditioning=contragan",
            ],
            r"^class_loss\.margin: .*=contragan has no use .*; leave it at 0.98, or .* of reacgan$",
        ),
        (["augment.target=0.6"], r"^augment\.target: .* augment\.policy is none"),
        (
            ["augment.policy=ada", "augment.target=0.6", "loss=relativistic_paired"],
            r"^augment\.target: the sign of a logit means nothing to the loss relativistic_paired",
        ),
        (
            ["label_smoothing=0.1", "loss=hinge"],
            r"^label_smoothing: the loss hinge .*least_squares, min",
        ),
        (
            ["penalties.wgan_gp=1", "model.discriminator.norm=batch"],
            r"^penalties\.wgan_gp: .*norm=batch",
        ),
        (["penalties.r3=1"], r"^penalties: there is no 'r3'"),
        (
            ["penalties.r1={'weight': 1, 'evry': 4}"],
            r"^penalties\.r1: there is no 'evry' .*'every'",
        ),
        (["penalties.r1={'weight': 1, 'every': 0}"], r"^penalties\.r1\.every: 0 is not allowed"),
        (["penalties.r1={'weight': 1, 'target': 0}"], r"^penalties\.r1: there is no 'target'"),
        (
            ["penalties.wgan_gp={'weight': 1, 'target': 'x'}"],
            r"^penalties\.wgan_gp\.target: 'x' is not",
        ),
        (["penalties.r1={'every': 4}"], r"^penalties\.r1\.weight: this key is missing"),
        (
            ["generator_penalties.r1=1"],
            r"^generator_penalties: there is no 'r1'; .*orthogonal, zcr",
        ),
        (["optimizer.generator.name=adm"], r"^optimizer\.generator\.name: there is no 'adm'"),
        (
            ["optimizer.generator.arguments.ep=1"],
            r"^optimizer\.generator\.arguments: there is no 'ep'",
        ),
        (
            ["optimizer.generator.arguments.eps=x"],
            r"^optimizer\.generator\.arguments\.eps: 'x' is not",
        ),
        (
            ["optimizer.generator.arguments.nesterov=3"],
            r"^optimizer\.generator\.arguments\.nesterov: 3 is not allowed; it must be True",
        ),
        (["optimizer.generator.arguments.mu_dtype=1"], r"arguments: there is no 'mu_dtype'"),
        (["optimizer.generator.arguments.b1=0.7"], r"arguments: there is no 'b1'"),
        (
            ["algorithm=unrolled", "unrolled_steps=1", "optimizer.discriminator.name=adm"],
            r"^optimizer\.discriminator\.name: there is no 'adm'",
        ),
        (
            [
                *("algorithm=unrolled", "unrolled_steps=1", "accumulate=2"),
                "optimizer.discriminator.name=sgd",
            ],
            r"^accumulate: .* to unrolled_steps, where",
        ),
        (["model.generator.features=(4.5,)"], r"^model\.generator\.features: \(4\.5,\) is not"),
        (["augment.policy=apa,flip", "augment.p=1"], r"^augment\.policy: apa stands alone"),
        (
            [
                *("augment.policy=flip", "augment.target=0.6"),
                "augment.p={'kind': 'constant', 'value': 0.5}",
            ],
            r"^augment\.p: a schedule sets it, and augment\.target",
        ),
        (["algorithm=unroled"], r"^algorithm: there is no 'unroled' .did you mean 'unrolled'"),
        (
            ["optimizer.generator.b2={'kind': 'cosine'}"],
            r"^optimizer\.generator\.b2\.start: .* missing",
        ),
        (
            ["top_k={'kind': 'linear', 'start': 1.0, 'end': 0.0, 'steps': 5}"],
            r"^top_k: its 0\.0 is not allowed; it must be a number at least 0\.01",
        ),
    ],
)
def test_what_makes_no_sense_is_refused_with_the_reason(overrides, message):
    with pytest.raises(UserError, match=message):
        assembly.build(settings(*overrides))


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["augment.policy=flip", "augment.p=1"], r"^augment\.policy: 'flip' changes images"),
        (["penalties.bcr=1"], r"^penalties\.bcr: it shifts and flips images"),
    ],
)
def test_points_are_no_images(overrides, message):
    with pytest.raises(UserError, match=message):
        assembly.build(settings(*overrides, shape=(2,), size=0))


def test_the_generators_penalties_are_listed():
    assert set(GENERATOR_PENALTIES) == {"zcr", "orthogonal"}


def test_a_section_reaches_the_penalty():
    found = settings("penalties.wgan_gp={'weight': 2, 'every': 4, 'target': 0.5}")
    [regulariser] = assembly.build(found).penalties
    assert (regulariser.weight, regulariser.every) == (2.0, 4)
    assert regulariser.penalty.keywords == {"target": 0.5}


def test_a_run_of_an_earlier_version_has_what_it_did():
    there = settings("n_critic=2").to_dict()
    for key in ("updates", "pack", "top_k", "class_loss", "generator_penalties"):
        del there[key]
    for role in ("generator", "discriminator"):
        del there["optimizer"][role]["arguments"], there["optimizer"][role]["clip_value"]
    del there["augment"]["kimg"]
    assert config.with_earlier(there) == settings("n_critic=2").to_dict()


def test_a_penalty_of_weight_0_is_off():
    found = settings("penalties.wgan_gp=0", "model.discriminator.norm=batch", "penalties.r1=0.0")
    assert assembly.build(found).penalties == ()


def test_a_section_of_weight_0_is_off_too():
    found = settings("penalties.lecam={'weight': 0.0}", "loss=relativistic_paired")
    assert assembly.build(found).penalties == ()


def test_unrolling_asks_for_no_slope_that_is_there():
    name = "optimizer.discriminator.name=adabelief"  # whose eps_root is 1e-16
    assert assembly.build(settings("algorithm=unrolled", "unrolled_steps=1", name)).opponent


def test_a_section_may_be_replaced_whole():
    found = settings("model.generator.norm=batch", "model.generator={'features': (4,)}")
    assert found.model.generator.to_dict() == {"features": (4,)}
    found = settings(
        "optimizer.discriminator.arguments.eps=1e-6", "optimizer.discriminator.arguments={}"
    )
    assert found.optimizer.discriminator.arguments.to_dict() == {}
    with pytest.raises(UserError, match=r"^model\.generator: this is a section; .*\{\}$"):
        settings("model.generator={4")


def test_a_number_has_nothing_in_it():
    message = r"^penalties\.r1\.every: penalties\.r1 is a number; for a section set it whole"
    with pytest.raises(UserError, match=message):
        settings("penalties.r1=1", "penalties.r1.every=4")


def test_adaptation_starts_at_p():
    found = settings("augment.policy=flip", "augment.target=0.6", "augment.p=0.5")
    assert assembly.build(found).init(jax.random.key(0)).memory["augment_p"] == 0.5
