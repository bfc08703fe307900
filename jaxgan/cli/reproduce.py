"""Repeat a published experiment, and print its figures beside those that it should have.

    python -m jaxgan reproduce dirac

The folder --out holds the picture and results.json.
"""

import argparse
from pathlib import Path

from jaxgan.errors import UserError, lookup


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "name", metavar="NAME", help="dirac: the Dirac-GAN, and which methods converge"
    )
    parser.add_argument("--out", type=Path, help="folder (default: runs/reproduce_NAME)")
    parser.add_argument("--seed", type=int, default=0, help="of what is drawn (default 0)")


def run(arguments: argparse.Namespace) -> int:
    if not 0 <= arguments.seed < 2**32:
        raise UserError(f"--seed: {arguments.seed} is not within 0 to {2**32 - 1:,}")

    from jaxgan import writer  # here, so that --help and mistakes are answered at once
    from jaxgan.reproductions import REPRODUCTIONS

    experiment = lookup(REPRODUCTIONS, arguments.name, "NAME")
    out = arguments.out or Path("runs") / f"reproduce_{arguments.name}"
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"--out: {out} cannot be made: {error.strerror}") from error
    lines, results = experiment.run(out, arguments.seed)
    writer.write_json(out / "results.json", results)
    print("\n".join(lines))
    return 0
