"""Measure samples of a generator, or any set of images, against real ones.

    python -m jaxgan evaluate --workdir runs/cgan
    python -m jaxgan evaluate --workdir runs/cgan --metrics frechet,prdc,cas,nearest --samples 10000
    python -m jaxgan evaluate --real photos64 --fake samples.npz --features inception_v3_fid
    python -m jaxgan evaluate --real mnist@train --fake mnist@test --metrics frechet,kernel

A run's samples are compared with the test images of its data set, where it has any. Beside them as
many of the images that it was trained on are measured in the same way: what a perfect generator
might reach. Figures are means over several sample seeds, with the standard error of that mean; with
their protocol they are added to evaluation.json in the run's folder.

Features are those of a small classifier of the data set's classes, which comes with the embedded
set and is trained once for others; or of --features. Only with inception_v3_fid and its published
weights are the distances called fid and kid, and the score `is`.
"""

import argparse
import json
from pathlib import Path
from typing import Any

from jaxgan.cli.of_run import add_member, add_statistics, add_step, data_of
from jaxgan.errors import UserError
from jaxgan.workdir import folder_at

FEATURES = ("classifier", "vgg16", "efficientnet_lite0", "inception_v3_fid", "dinov2_vitl14")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--workdir", nargs="+", help="folders of one or more runs")
    sets = (
        "a folder, .zip, .npy, .npz, or the name of a data set; SET@SPLIT chooses one of its splits"
    )
    parser.add_argument("--real", metavar="SET", help=f"instead of a run, real images: {sets}")
    parser.add_argument("--fake", metavar="SET", help="the images to measure against them")
    parser.add_argument(
        "--metrics",
        metavar="NAME,NAME,...",
        help="default: frechet,kernel,prdc, of classes also accuracy,diversity, of mixtures modes, "
        "of points prdc,sliced_wasserstein; a name that is none lists all",
    )
    parser.add_argument(
        "--samples", type=int, default=0, help="images a seed (default: as many as real ones)"
    )
    parser.add_argument("--seeds", type=int, help="how many sample seeds (default 3)")
    parser.add_argument("--seed", type=int, help="the first of them (default 0)")
    parser.add_argument(
        "--split", default="", help="a run's real images (default: test, if there is one)"
    )
    parser.add_argument(
        "--features",
        default="",
        choices=("", *FEATURES),
        metavar="NAME",
        help=f"one of {', '.join(FEATURES)}",
    )
    parser.add_argument("--weights", default="", help="the features' weights: a file or URL")
    parser.add_argument("--sha256", default="", help="the checksum of that; a URL needs it")
    parser.add_argument(
        "--resize",
        default="",
        choices=("", "tf1_bilinear", "pil_bicubic"),
        help="how images reach the features: tf1_bilinear, as FID's first code, is "
        "inception_v3_fid's default; pil_bicubic, as clean-fid, that of the others",
    )
    parser.add_argument(
        "--image_size", type=int, default=0, help="pixels to crop and resize both sets to"
    )
    parser.add_argument("--out", type=Path, help="a .json file for the figures of two sets")
    add_step(parser)
    add_member(parser)
    add_statistics(parser)


def run(arguments: argparse.Namespace) -> int:
    _check(arguments)
    import jax

    from jaxgan import experiment, parallel

    arguments.workdir = [*map(folder_at, arguments.workdir or ())]
    sections = [data_of(arguments, experiment.read_config(each)) for each in arguments.workdir]
    for path in (*(each / "evaluation.json" for each in arguments.workdir), arguments.out):
        if path:
            earlier(path)  # what is wrong there is told before the work
    with jax.set_mesh(parallel.whole_mesh()):
        for workdir, section in zip(arguments.workdir, sections, strict=True):
            _evaluate_run(workdir, section, arguments)
        if arguments.real:
            _evaluate_sets(arguments)
    return 0


def _check(arguments: argparse.Namespace) -> None:
    """Raises UserError for arguments that do not go together."""
    sets = arguments.real, arguments.fake
    if bool(arguments.workdir) == any(sets):
        raise UserError("--workdir: name a run's folder, or instead two sets, --real and --fake")
    if any(sets) and not all(sets):
        raise UserError("--real, --fake: both are needed")
    of_others = ("split", "step", "member", "seeds", "seed") if any(sets) else ("out", "image_size")
    for name in of_others:
        if getattr(arguments, name) not in (None, "", 0):
            reason = "of a run's samples; for a split write --real SET@SPLIT"
            reason = reason if any(sets) else "for --real and --fake; leave it out"
            raise UserError(f"--{name}: is {reason}")
    if any(sets) and arguments.overrides:
        raise UserError(f"--config.{arguments.overrides[0]}: is of a run; leave it out")
    if any(sets) and arguments.statistics != "running":
        raise UserError("--statistics: is of a run's samples; leave it out")
    arguments.seeds = 3 if arguments.seeds is None else arguments.seeds
    arguments.seed = arguments.seed or 0
    if arguments.seeds < 1:
        raise UserError(f"--seeds: {arguments.seeds} is not a number of seeds, 1 or more")
    if not 0 <= arguments.seed <= 2**32 - arguments.seeds:
        raise UserError(f"--seed: {arguments.seed} is not within 0 to {2**32 - 1:,}")
    if arguments.samples < 0:
        raise UserError(f"--samples: {arguments.samples} is not a number of images")
    if arguments.out and arguments.out.suffix != ".json":
        raise UserError(f"--out: {arguments.out} is not a .json file")


def _evaluate_run(workdir: Any, section: dict[str, Any], arguments: argparse.Namespace) -> None:
    from jaxgan import evaluation, experiment, judges, parallel
    from jaxgan.metrics import metrics_of
    from jaxgan.sampler import Sampler

    of_run = workdir, arguments.step, arguments.member
    config, algorithm, state = experiment.load_run(*of_run)
    conditional = bool(config.derived.num_classes)
    asked = judges.Asked(
        metrics_of(arguments.metrics, "--metrics") if arguments.metrics else (),
        samples=arguments.samples,
        labelled=conditional,
        latent=judges.latent_of(config, algorithm),
        split=arguments.split,
        abilities=judges.abilities(algorithm),
        training=True,
        **_features(arguments),
    )
    judge = judges.equip(judges.plan(section, asked), section, asked)
    mesh = parallel.whole_mesh()
    given = not hasattr(algorithm, "sample")  # it starts from images
    if given and arguments.statistics != "running":
        raise UserError(f"--statistics: a run of {config.algorithm} has running ones; leave it out")
    if given and arguments.samples > judge.reference.count:
        count = f"{judge.reference.count:,} images to start from"
        raise UserError(f"--samples: {arguments.samples:,} is more than the {count}")
    sampler = Sampler(algorithm, mesh, statistics=arguments.statistics)
    trial = evaluation.Trial(judge, mesh, arguments.samples)
    print(
        f"\n{workdir}, seed {config.seed}, step {int(state.step):,}: {trial.samples:,} samples, "
        f"against {judge.reference.count:,} images of {_title(judge.reference)}",
        flush=True,
    )
    found = []
    for seed in range(arguments.seed, arguments.seed + arguments.seeds):
        found.append(trial.of_state(sampler, state, seed))
        print(f"seed {seed}: {_line(found[-1])}", flush=True)
    columns = {"samples": evaluation.summary(found, config.derived.class_names)}
    if judge.training:
        some = judge.training.first(trial.samples)
        real = trial.of_images(some, "training images", labelled=conditional)
        name = f"{some.count:,} training images"
        columns[name] = evaluation.summary([real], judge.reference.class_names)
    elif "drawn" not in judge.reference.identity:
        print("these are the training images, so there is no column of their own", flush=True)
    _print(columns, judge.directions)
    run = {
        "step": int(state.step),
        "member": arguments.member,
        "seed": config.seed,
        "samples": trial.samples,
        "sample_seeds": arguments.seeds,
        "first_sample_seed": arguments.seed,
        "statistics": arguments.statistics,
        "weights": "averaged (EMA)",
        "precision": config.precision,
        **({"sample_dropout": True} if config.sample_dropout else {}),
        **({"masks": config.inpaint.masks} if hasattr(algorithm, "complete") else {}),
    }
    _add(workdir / "evaluation.json", {**run, **_record(judge, columns)})


def _evaluate_sets(arguments: argparse.Namespace) -> None:
    from jaxgan import evaluation, judges, parallel, references
    from jaxgan.metrics import metrics_of

    real, real_split = _section("--real", arguments.real, arguments.image_size)
    fake, fake_split = _section("--fake", arguments.fake, arguments.image_size)
    images = references.open_examples(fake, fake_split)
    if arguments.samples > images.count:
        raise UserError(
            f"--samples: {arguments.samples:,} is more than the {images.count:,} images of --fake"
        )
    images = images.first(arguments.samples or images.count)
    asked = judges.Asked(
        metrics_of(arguments.metrics or "frechet,kernel,prdc", "--metrics"),
        samples=images.count,
        labelled=bool(images.class_names),
        split=real_split,
        **_features(arguments),
    )
    planned = judges.plan(real, asked)
    judges.check_alike(planned, asked, images)
    if images.pictures:
        images = references.as_spectrograms(images, planned.reference.identity["sound"])
    judge = judges.equip(planned, real, asked)
    trial = evaluation.Trial(judge, parallel.whole_mesh(), images.count)
    print(
        f"\n{images.count:,} images of {_title(images)}, against {judge.reference.count:,} of "
        f"{_title(judge.reference)}",
        flush=True,
    )
    found = trial.of_images(images, "images to measure", labelled=True, keep=False)
    columns = {"images": evaluation.summary([found], judge.reference.class_names)}
    _print(columns, judge.directions)
    if arguments.out:
        measured = {"images": images.identity | {"count": images.count}}
        _add(arguments.out, {**measured, **_record(judge, columns)})


def _features(arguments: argparse.Namespace) -> dict[str, Any]:
    return {name: getattr(arguments, name) for name in ("features", "weights", "sha256", "resize")}


def _section(flag: str, text: str, image_size: int) -> tuple[dict[str, Any], str]:
    """A config's section `data` for a set that is named, or lies at a path; and the split asked."""
    from jaxgan import data

    path, split = Path(text).expanduser(), ""
    if not path.exists():
        text, _, split = text.partition("@")
        path = Path(text).expanduser()
    where = {"name": "folder", "path": str(path)} if path.exists() else {"name": text, "path": ""}
    if not path.exists() and text not in data.DATASETS and ":" not in text:
        known = ", ".join(sorted(set(data.DATASETS) - {"folder"}))
        raise UserError(
            f"{flag}: {text} is neither a file or folder nor a data set; those are {known}"
        )
    return {**where, "dir": "", "split": "train", "image_size": image_size}, split or "train"


def _title(examples) -> str:
    identity = examples.identity
    return " ".join(str(identity[key]) for key in ("name", "split") if key in identity)


def _line(values: dict[str, Any]) -> str:
    from jaxgan import evaluation

    return ", ".join(f"{name} {evaluation.number(value):.4g}" for name, value in values.items())


def _print(columns: dict[str, dict[str, dict]], directions: dict[str, int]) -> None:
    """A row for each value, a column for each set; then the classes, a row each."""
    from jaxgan.writer import figure

    meaning = {1: "more is better", -1: "less is better", 0: ""}
    first = next(iter(columns.values()))
    width = max(map(len, first), default=0)
    print(f"\n{'':<{width}}  " + "  ".join(f"{name:>20}" for name in columns))
    for name in first:
        cells = [figure(figures.get(name)) for figures in columns.values()]
        print(f"{name:<{width}}  " + "  ".join(f"{cell:>20}" for cell in cells), end="")
        of = first[name]
        few = "classes" in of and of["classes"] < len(of["of_each_class"])
        note = f"of {of['classes']} classes that have enough images" if few else ""
        print(f"  {'; '.join(filter(None, (meaning[directions[name]], note)))}".rstrip())
    classes = {
        name: entry["of_each_class"] for name, entry in first.items() if "of_each_class" in entry
    }
    if not classes or len(next(iter(classes.values()))) > 100:
        return
    names = list(next(iter(classes.values())))
    width = max(map(len, names))
    print(f"\n{'class':<{width}}  " + "  ".join(f"{name:>13}" for name in classes))
    for each in names:
        print(
            f"{each:<{width}}  " + "  ".join(f"{_known(of[each]):>13}" for of in classes.values())
        )


def _known(value: float | None) -> str:
    return "none" if value is None else f"{value:.4g}"


def _record(judge, columns: dict[str, dict]) -> dict[str, Any]:
    import jax

    import jaxgan

    software = {"jaxgan": jaxgan.__version__, "jax": jax.__version__}
    device = f"{jax.device_count()} x {jax.devices()[0].device_kind}"
    products = jax.config.jax_default_matmul_precision  # type: ignore[attr-defined]
    hardware = {"device": device, "matmul_precision": products or "the device's own"}
    return {"figures": columns, "protocol": judge.protocol, **hardware, **software}


def earlier(path: Any) -> list[dict[str, Any]]:
    """The evaluations in a file. Raises UserError where it is something else."""
    if not path.is_file():
        return []
    try:
        entries = json.loads(path.read_text())
        if not (isinstance(entries, list) and all(isinstance(each, dict) for each in entries)):
            raise ValueError("it is no list of evaluations")
    except ValueError as error:
        raise UserError(f"{path}: cannot be added to: {error}; move it away") from error
    return entries


def _add(path: Any, entry: dict[str, Any]) -> None:
    """Appends to the evaluations in a file; another of the same protocol is replaced."""
    from jaxgan import writer

    def same(each: dict[str, Any]) -> bool:
        return all(each.get(key) == value for key, value in entry.items() if key != "figures")

    writer.write_json(path, [*(each for each in earlier(path) if not same(each)), entry])
    print(f"\n{path}", flush=True)
