"""Write a page about a run, or about several beside one another.

It is one HTML file that opens from disk, without a network: samples over time, curves that zoom,
metrics with their protocols, warnings, settings (of several runs the differing ones first), and the
commands to train the run anew. Training leaves one in the run's folder.

    python -m jaxgan report --workdir runs/cgan
    python -m jaxgan report --workdir runs/cgan runs/hinge --out comparison.html
"""

import argparse
from pathlib import Path

from jaxgan.errors import UserError
from jaxgan.workdir import folder_at


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--workdir", nargs="+", required=True, help="folders of one or more runs")
    parser.add_argument(
        "--out", type=Path, metavar="FILE.html", help="of one run by default WORKDIR/report.html"
    )


def run(arguments: argparse.Namespace) -> int:
    # A name is told of each, which "." has none of.
    workdirs = [each if each.name else each.resolve() for each in map(folder_at, arguments.workdir)]
    out = arguments.out
    if out is None and len(workdirs) > 1:
        raise UserError("--out: of several runs, name the file to write, as --out comparison.html")
    if out is not None and (out.suffix != ".html" or out.is_dir()):
        raise UserError(f"--out: {out} is not a .html file")
    if out is not None and not out.parent.is_dir():
        raise UserError(f"--out: there is no folder {out.parent}")
    places = {each.resolve() if isinstance(each, Path) else str(each) for each in workdirs}
    if len(places) < len(workdirs):
        raise UserError("--workdir: a run is named twice; name each once")

    from jaxgan import report  # here, so that --help and mistakes are answered at once

    out = workdirs[0] / "report.html" if out is None else out
    report.write(workdirs, out)
    print(out)
    return 0
