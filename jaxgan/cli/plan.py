"""Compile a config's training for devices that are not here, and tell what it needs of them.

    python -m jaxgan plan --config configs/cgan.py --topology v5e:2x4
    python -m jaxgan plan --config configs/cgan.py --topology v5e:1x1,v6e:1x1 --out plan.json
    python -m jaxgan plan --config configs/sngan_cifar10.py --topology v5e:2x4 --fit
    python -m jaxgan plan --config configs/sagan_imagenet128.py --classes 1000 --topology v5e:2x4

The call that training makes is compiled by TPUs' own compiler, which runs on any Linux machine:
pip install "jaxgan[plan]". The data need not be there. Printed are, for each device, its memory,
the operations and bytes of a step, what devices send each other, and how long a step takes at best.
Nothing is run. Any key of the config can be set with --config.KEY=VALUE.
"""

import argparse
from pathlib import Path
from typing import Any

from jaxgan.errors import UserError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--config", type=Path, required=True, help="the config file")
    parser.add_argument(
        "--topology",
        required=True,
        metavar="CHIP:SHAPE,...",
        help="chips of TPU, v2 to v6e, and how many of them along each axis, as v5e:1x1 (Colab's), "
        "v5e:2x4, v5p:2x2x2; or cpu:8, so many fake devices. Several make a table",
    )
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--batch_size", type=int, help="instead of the config's")
    size.add_argument("--fit", action="store_true", help="find the largest batch that fits")
    parser.add_argument(
        "--classes", type=int, default=0, help="of labelled data of which it is not known"
    )
    parser.add_argument("--out", type=Path, help="a .json file for all figures")


def run(arguments: argparse.Namespace) -> int:
    if arguments.out and arguments.out.suffix != ".json":
        raise UserError(f"--out: {arguments.out} is not a .json file")
    if arguments.classes < 0:
        raise UserError(f"--classes: {arguments.classes} is not a number of classes")
    from jaxgan.planning import chips

    topologies = chips.parse(arguments.topology)
    chips.prepare_environment(topologies)
    from jaxgan import config, writer  # after the environment

    overrides = list(arguments.overrides)
    if arguments.batch_size is not None:
        overrides.append(f"batch_size={arguments.batch_size}")
    settings = config.load(arguments.config, overrides)
    rows = []
    for topology in topologies:
        plan_one = _fitted if arguments.fit else _planned
        rows.append(plan_one(arguments, settings, topology))
        print(flush=True)
    if len(rows) > 1:
        from jaxgan.planning import report

        print(report.table(rows))
    if arguments.out:
        writer.write_json(arguments.out, {"config": str(arguments.config), "plans": rows})
        print(arguments.out)
    return 0


def _planned(arguments: argparse.Namespace, settings: Any, topology: Any) -> dict[str, Any]:
    from jaxgan.planning import plan, report

    found = plan.plan(settings, topology, arguments.classes)
    print(report.details(str(arguments.config), found))
    return found


def _fitted(arguments: argparse.Namespace, settings: Any, topology: Any) -> dict[str, Any]:
    """The plan of the largest batch that fits, or of the smallest where none does."""
    from ml_collections import ConfigDict

    from jaxgan.planning import fit, plan, report

    if topology.chip is None:
        raise UserError("--fit: how much memory fake devices have is not known; name a TPU")
    plans = {}

    def at(batch: int) -> fit.Need:
        changed = ConfigDict(settings.to_dict(), type_safe=False)
        changed.batch_size = batch
        plans[batch] = found = plan.plan(changed, topology, arguments.classes)
        needed = found["needed"] if "needed" in found else found["memory"]["peak"]
        print(
            f"{topology.name}: batch {batch:,} {'fits' if found['fits'] else 'does not fit'}, "
            f"{report.size(needed)} of {report.size(found['usable'])}",
            flush=True,
        )
        return fit.Need(needed, found["usable"])

    examples = plan.described(settings, arguments.classes)[1].num_examples
    grain, most = plan.grain(settings, topology), examples or fit.MOST
    if most < grain:
        raise UserError(f"--fit: {examples:,} examples are fewer than a batch's least, {grain}")
    found = fit.largest(at, grain, settings.batch_size, most)
    chosen = plans[found.largest or min(plans)]
    print(report.details(str(arguments.config), chosen))
    print(report.fitting(topology.name, found, most))
    tries = {str(batch): need._asdict() for batch, need in sorted(found.tries.items())}
    searched = {"largest": found.largest, "refused": found.refused, "tries": tries}
    return {**chosen, "fit": searched}
