"""Draw the power spectrum of samples beside that of real images.

The mean over directions (Durall et al. 2020), in decibels by cycles an image: a generator whose
upsampling leaves a pattern, or that misses detail, parts from the real images at the right. It is
the metric `spectrum`, whose value, the root mean square of the difference, is printed.

    python -m jaxgan spectrum --workdir runs/cgan --samples 2000 --out spectrum.png
"""

import argparse
import dataclasses
from pathlib import Path

from jaxgan.cli.of_run import (
    add_member,
    add_seed,
    add_statistics,
    add_step,
    add_workdir,
    check_count,
    check_out,
    data_of,
)
from jaxgan.errors import UserError
from jaxgan.workdir import folder_at


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_workdir(parser)
    parser.add_argument("--out", type=Path, required=True, help="FILE.png")
    parser.add_argument(
        "--samples", type=int, default=2000, help="of each, where there are as many (default 2000)"
    )
    parser.add_argument("--split", default="", help="real images (default: test, if there is one)")
    add_seed(parser, "of the samples")
    add_step(parser)
    add_member(parser)
    add_statistics(parser)


def run(arguments: argparse.Namespace) -> int:
    check_out(arguments)
    check_count(arguments, "samples", "images")

    import jax

    from jaxgan import evaluation, experiment, judges, parallel, writer
    from jaxgan.sampler import Sampler

    workdir = folder_at(arguments.workdir)
    config, algorithm, state = experiment.load_run(workdir, arguments.step, arguments.member)
    if len(config.derived.image_shape) != 3:
        raise UserError(f"--workdir: {workdir} is a run on {config.data.name}, not on images")
    if not hasattr(algorithm, "sample") and arguments.statistics != "running":
        raise UserError(f"--statistics: a run of {config.algorithm} has running ones; leave it out")
    section = data_of(arguments, config)
    asked = judges.Asked(("spectrum",), arguments.samples, False, split=arguments.split)
    judge = judges.plan(section, asked)
    few = judge.reference.first(arguments.samples)
    mesh = parallel.whole_mesh()
    with jax.set_mesh(mesh):
        trial = evaluation.Trial(dataclasses.replace(judge, reference=few), mesh)
        sampler = Sampler(algorithm, mesh, statistics=arguments.statistics)
        found = trial.of_state(sampler, state, arguments.seed)["spectrum"]
    writer.write_png(arguments.out, _drawn(found, config.derived.image_shape[0]))
    print(
        f"{few.count:,} samples of step {int(state.step):,} and as many real images, "
        f"{float(found.distance):.2f} dB apart: {arguments.out}"
    )
    return 0


def _drawn(spectra, size: int):
    """A picture of both curves."""
    import numpy as np
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.5), dpi=100, layout="constrained")
    canvas, axes = FigureCanvasAgg(figure), figure.subplots()
    for name, colour in (("real", "0.5"), ("fake", "C0")):
        axes.plot(np.asarray(getattr(spectra, name)), c=colour, label=name)
    axes.axvline(size / 2, c="0.8", lw=1, zorder=0)  # the finest along an axis
    axes.set(xlabel="cycles an image", ylabel="power in dB")
    axes.grid(alpha=0.3)
    axes.legend()
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()
