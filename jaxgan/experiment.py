"""From a config to what trains, the algorithm and the data; and back from a run's folder.

The config stops here and in the loop: everything below takes plain arguments.
"""

import contextlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh
from ml_collections import ConfigDict

import jaxgan
from jaxgan import accountant, boards, data, parallel, schedules, seeds, writer
from jaxgan import workdir as folders
from jaxgan.algorithms import player
from jaxgan.assembly import build, scalar
from jaxgan.checkpoint import Checkpoints
from jaxgan.config import differences, flatten, resolve, swept, validate, with_earlier, with_values
from jaxgan.errors import UserError
from jaxgan.metrics import INCEPTION, METRICS, metrics_of
from jaxgan.rules import PLAYERS
from jaxgan.typing import Folder, PyTree

SMALL = 2**18  # parameters
# What a run's config has beside its keys, of which something is built.
DERIVED = {"image_shape", "num_classes", "class_names", "num_examples", "images_per_step"}


def prepare(config: ConfigDict, dataset: Any = None) -> tuple[ConfigDict, Any]:
    """The resolved config and its data set, opened but not read; both checked.

    `dataset`: of another config with the same section `data`.
    """
    validate(config)
    check_metrics(config)
    boards.check(config.wandb.project)
    settings = config.data
    dataset = dataset or data.open_set(
        settings.name, settings.split, settings.image_size, settings.dir, settings.path
    )
    sizes = dataset.num_examples, dataset.shape
    return resolve(config, *sizes, dataset.class_names, dataset.details), dataset


def check_metrics(config: ConfigDict) -> None:
    """Raises UserError for metrics that are none, and a best one that is not among them."""
    values: dict[str, int] = {}
    for name in metrics_of(config.evaluation.metrics, "evaluation.metrics"):
        values |= METRICS[name].values
    values |= {INCEPTION[name]: sign for name, sign in values.items() if name in INCEPTION}
    if config.evaluate_every:
        able = sorted(name for name, sign in values.items() if sign)
        if config.best_metric not in able:
            raise UserError(
                f"best_metric: there is no {config.best_metric!r} in what evaluation.metrics "
                f"({config.evaluation.metrics}) measures; name one of: {', '.join(able)}"
            )


# --------------------------------------------------------------------------------------------------
# Training


def make_feed(config: ConfigDict, algorithm: Any, dataset: Any) -> data.Feed:
    """How this process's share of the batches reaches the devices."""
    there = members(config)
    choose = getattr(dataset, "choose_cache", lambda cache: cache)  # drawn data have no choice
    return dataset.feed(
        cache=parallel.of_first(lambda: choose(config.data.cache)),
        flip=config.data.flip,
        seed=tuple(member.seed for member in there) if len(there) > 1 else config.seed,
        minibatches=algorithm.minibatches,
        batch_size=config.batch_size,
        process=(jax.process_index(), jax.process_count()),
    )


def make_boards(config: ConfigDict, folder: Path, name: str, step: int) -> list[boards.Board]:
    """Where the first process's numbers and pictures go beside `folder`, of a run called `name`
    that goes on from `step`. Raises UserError."""
    settings = {k: v for k, v in flatten(config) if not k.startswith(("derived.", "wandb."))}
    made: list[boards.Board] = [boards.TensorBoard(folder, step, settings)]
    if config.wandb.project:
        where = name, config.wandb.project, config.wandb.mode
        there = boards.WeightsAndBiases(folder, *where, settings)
        writer.say(f"Weights & Biases: {there.place}")
        made.append(there)
    return made


def members(config: ConfigDict) -> list[seeds.Member]:
    """What trains in one program: one run, or more."""
    return seeds.members(config.seed, config.seeds, swept(config))


def has_begun(workdir: Folder) -> bool:
    """Whether the run there got to a checkpoint."""
    return _holds_steps(workdir / "checkpoints" / "last")


def _holds_steps(folder: Folder) -> bool:
    return folder.is_dir() and any(path.name.isdecimal() for path in folder.iterdir())


def algorithm_of(config: ConfigDict, begun: bool = False) -> Any:
    """The algorithm of a resolved config, of several members the first one's. Raises UserError.

    `begun`: see assembly.build.
    """
    return build(config, members(config)[0].values, begun)


def way(config: ConfigDict, algorithm: Any) -> str:
    """How several members train: by seeds.each."""
    if config.parallel.seeds != "auto":
        return config.parallel.seeds
    state = jax.eval_shape(algorithm.init, jax.random.key(0))
    params = jax.tree.leaves([each.params for each in player.players(state).values()])
    convolves = any(x.ndim > 2 for x in params)
    # On CPU one member's state should stay in the cache, where it does not matter how small it is.
    large = jax.default_backend() == "cpu" and sum(x.size for x in params) > SMALL
    return "map" if convolves or large else "vmap"


def make_mesh(config: ConfigDict) -> Mesh:
    """The devices that train. Raises UserError where they do not suit the batch."""
    settings, count = config.parallel, len(members(config))
    if count > 1 and jax.process_count() > 1:
        raise UserError("seeds: several train in one process; start one for each, with one seed")
    of_batch = config.batch_size, settings.fsdp, group_of(config)
    return parallel.make_mesh(settings.data, *of_batch, members=count)


def group_of(config: ConfigDict) -> int:
    """Images that must stay together on a device."""
    return config.accumulate * config.pack if config.parallel.mode == "replica" else 1


def abstract_state(algorithm: Any, mesh: Mesh, count: int = 1) -> PyTree:
    """Shapes, dtypes and places of the algorithm's state, or of `count` members'."""
    state = jax.eval_shape(algorithm.init, jax.random.key(0))
    if count > 1:
        of_all = lambda x: jax.ShapeDtypeStruct((count, *x.shape), x.dtype)  # noqa: E731
        state = jax.tree.map(of_all, state)
    return jax.tree.map(
        lambda x, sharding: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding),
        state,
        parallel.state_shardings(mesh, state),
    )


def at_rest(config: ConfigDict, step: int) -> list[str]:
    """The learning rates that are 0 at a step."""
    rates = {f"optimizer.{p}.learning_rate": config.optimizer[p].learning_rate for p in PLAYERS}
    at = lambda rate: schedules.at(scalar(config, rate), jnp.int32(step))  # noqa: E731
    return [key for key, rate in rates.items() if at(rate) == 0]


def summary(config: ConfigDict, algorithm: Any, mesh: Mesh) -> str:
    """What is trained, on what: four lines, and one where learning ends before the steps do."""
    state = jax.eval_shape(algorithm.init, jax.random.key(0))
    count = lambda tree: sum(leaf.size for leaf in jax.tree.leaves(tree))  # noqa: E731
    networks = player.players(state).items()
    first, *others = (f"{role} {count(each.params):,}" for role, each in networks)
    device = mesh.devices.flat[0]
    shape = " x ".join(map(str, config.derived.image_shape))
    classes = f", {config.derived.num_classes} classes" if config.conditional else ""
    there = members(config)
    several = ""
    if len(there) > 1:
        groups = list(dict.fromkeys(member.group for member in there if member.group))
        several = f"\n{len(there)} runs in one program ({way(config, algorithm)}): "
        several += f"seed {config.seed}" + (f" to {there[-1].seed}" if config.seeds > 1 else "")
        several += f", each with {'; '.join(groups)}" if groups else ""
    size = config.derived.num_examples
    number = f"{size:,} images of" if size else "drawn without end,"
    short = {k: v for k, v in config.derived.data.items() if isinstance(v, str | int)}
    made = "".join(f", {name} {value}" for name, value in short.items())
    images = config.steps * algorithm.minibatches * config.batch_size
    epochs = f", {images / size:.1f} epochs" if size else ""
    idle = " and ".join(at_rest(config, config.steps - 1))
    warning = f"\nwarning: {idle}: 0 before these steps are over" if idle else ""
    private = ""
    if config.privacy.noise:
        told = config.privacy.noise, config.batch_size / size, config.steps * config.n_critic
        spent = accountant.epsilon(*told, config.privacy.delta)
        private = (
            f"\nprivacy: epsilon {spent:.3g} with delta {config.privacy.delta:g} for samples, not "
            f"for metrics"
        )
    return (
        f"jaxgan {jaxgan.__version__} on {mesh.size} x {device.device_kind} ({device.platform})\n"
        f"data: {config.data.name} {config.data.split}, {number} {shape}{classes}{made}\n"
        f"model: {config.model.name}, {', '.join([f'{first} parameters', *others])}\n"
        f"training: {config.steps:,} steps of {config.derived.images_per_step} images{epochs}"
        f"{several}{private}{warning}"
    )


# --------------------------------------------------------------------------------------------------
# A run's folder


def load_run(
    workdir: Folder, step: int | str | None = None, member: int = 0
) -> tuple[ConfigDict, Any, PyTree]:
    """The resolved config, the algorithm and the trained state of the run in `workdir`, or of one
    of its members.

    `step`: which checkpoint; None is the newest that is whole, "best" the one that the run's
    evaluations found best. Raises UserError where there is none.
    """
    config = read_config(workdir)
    there = members(config)
    if not 0 <= member < len(there):
        which = f"0 to {len(there) - 1}" if len(there) > 1 else "0, for it is of one seed"
        raise UserError(f"--member: {workdir} has no member {member}; name {which}")
    algorithm = algorithm_of(config, begun=True)
    here = parallel.mesh_of(jax.local_devices()[:1])  # it may come from elsewhere
    like = abstract_state(algorithm, here, len(there))

    def found(state: PyTree) -> tuple[ConfigDict, Any, PyTree]:
        if len(there) == 1:
            return config, algorithm, state
        own = with_values(config, {**there[member].values, "seed": there[member].seed})
        own.seeds, own.sweep = 1, ConfigDict()
        with jax.set_mesh(here):  # the caller's may have other devices than the state
            return own, build(own, begun=True), seeds.member_of(state, member)

    folder = workdir / "checkpoints" / ("best" if step == "best" else "last")
    with contextlib.ExitStack() as stack:
        checkpoints = None
        if folder.is_dir():
            checkpoints = stack.enter_context(contextlib.closing(Checkpoints(folder)))
        if checkpoints is None or not checkpoints.steps():
            when = "with evaluate_every" if step == "best" else "for longer"
            raise UserError(f"--workdir: {folder} holds no checkpoint; train the run {when}")
        if isinstance(step, int):
            return found(checkpoints.restore(step, like)[0])
        restored = checkpoints.newest(like)
    assert restored is not None  # there are steps
    for text in restored.damaged.values():
        print(f"warning: {text}; step {restored.step:,} is taken instead", file=sys.stderr)
    return found(restored.state)


def read_config(workdir: Folder) -> ConfigDict:
    """The resolved config that the run in `workdir` was started with."""
    path = workdir / "config.json"
    try:
        if not path.is_file():
            raise UserError(f"--workdir: {workdir} is not a run's folder (it has no config.json)")
        settings = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read: {error}") from error
    otherwise = f"--workdir: {workdir} is not a run's folder (see its config.json)"
    if isinstance(settings, dict) and str(settings.get("format")).startswith("jaxgan."):
        otherwise = (
            f"--workdir: {workdir} is an export ({settings['format'][:40]}), of which "
            f"jaxgan.load and verbs that draw from latents read safetensors; here name the run"
        )
    return config_of(settings, path, otherwise)


def config_of(settings: Any, path: Folder, otherwise: str) -> ConfigDict:
    """The resolved config that JSON from the file `path` is, checked; a UserError that says
    `otherwise` where it is none."""
    derived = settings.get("derived") if isinstance(settings, dict) else None
    if not isinstance(derived, dict) or not derived.keys() >= DERIVED:
        raise UserError(otherwise)
    settings = with_earlier(settings)
    try:
        rest = {key: value for key, value in settings.items() if key != "derived"}
        validate(ConfigDict(rest), complete=False)
    except UserError as error:
        raise UserError(f"{path}: damaged, or another version's: {error}") from error
    return ConfigDict(settings)


@contextlib.contextmanager
def joined(workdir: Folder, config: ConfigDict) -> Iterator[tuple[folders.Mirror, dict[str, list]]]:
    """`claimed` by the first process for all; and where this one writes its small files.

    Raises UserError in a process that was started with other settings than the first.
    """
    with contextlib.ExitStack() as stack:
        first = parallel.is_first()
        mirror = stack.enter_context(folders.at_hand(workdir, first))
        if first:
            mirror.pull()
        claim = lambda: stack.enter_context(claimed(mirror.folder, config))  # noqa: E731
        changed = parallel.of_first(claim)
        mine = json.dumps(config.to_dict(), sort_keys=True)
        theirs = parallel.of_first(lambda: mine)
        if mine != theirs:
            serious, harmless = differences(json.loads(theirs), json.loads(mine))
            listed = ", ".join(
                f"{k} ({old} there, {new} here)" for k, (old, new) in (serious | harmless).items()
            )
            raise UserError(
                f"--config: the first process was started with other settings: {listed}; give all "
                f"the same"
            )
        if not first:
            mirror.pull()
        parallel.everywhere(True)  # nothing is written before all have read
        yield mirror, changed


@contextlib.contextmanager
def claimed(workdir: Path, config: ConfigDict) -> Iterator[dict[str, list]]:
    """Holds `workdir` as the folder of this run; yields the harmless settings that have changed.

    Raises UserError where it holds another run, or something else, or is in use.
    """
    path = workdir / "config.json"
    with contextlib.ExitStack() as stack:
        try:
            workdir.mkdir(parents=True, exist_ok=True)
            stack.enter_context(folders.held(workdir))
            changed: dict[str, list] = {}
            if path.exists():
                changed = _compare(workdir, read_config(workdir), config)
            elif any(not each.name.startswith(".") for each in workdir.iterdir()):
                raise UserError(f"--workdir: {workdir} holds other files and no run; name another")
            else:
                writer.write_json(path, config.to_dict())
        except OSError as error:
            raise UserError(f"--workdir: {workdir} cannot be used: {error.strerror}") from error
        yield changed


def refuse_to_begin_again(mirror: folders.Mirror, checkpoint_every: int) -> None:
    """Raises UserError where step 0 would write over a run that got to a checkpoint, now gone."""
    folder, lines = mirror.home / "checkpoints", writer.read_metrics(mirror.folder)
    if _holds_steps(folder):
        raise UserError(
            f"--workdir: {folder} holds an earlier version's checkpoints, which have no checksums; "
            f"name another --workdir"
        )
    # The second checkpoint begins when the first is whole.
    if lines and lines[-1]["step"] > 2 * checkpoint_every:
        raise UserError(
            f"--workdir: {folder / 'last'} holds no checkpoint, though the run got to step "
            f"{lines[-1]['step']:,}; put them back, or name another --workdir"
        )


def _compare(workdir: Path, there: ConfigDict, here: ConfigDict) -> dict[str, list]:
    serious, harmless = differences(there, json.loads(json.dumps(here.to_dict())))
    if serious:
        listed = ", ".join(f"{k} ({old} there, {new} here)" for k, (old, new) in serious.items())
        raise UserError(
            f"--workdir: {workdir} holds a run with other settings: {listed}; "
            f"name another --workdir, or go on with that run's settings"
        )
    return harmless
