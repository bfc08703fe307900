"""The verbs of `python -m jaxgan`. A verb is a module with `add_arguments` and `run`."""

import argparse
import difflib
import re
import sys

from jaxgan import __version__, cli
from jaxgan.cli import (
    directions,
    edit,
    evaluate,
    export,
    inpaint,
    interpolate,
    invert,
    neighbours,
    plan,
    prepare,
    reconstruct,
    report,
    reproduce,
    sample,
    spectrum,
    stylize,
    translate,
    traverse,
)

VERBS = {
    "sample": sample,
    "evaluate": evaluate,
    "export": export,
    "interpolate": interpolate,
    "neighbours": neighbours,
    "invert": invert,
    "directions": directions,
    "edit": edit,
    "spectrum": spectrum,
    "reconstruct": reconstruct,
    "translate": translate,
    "traverse": traverse,
    "inpaint": inpaint,
    "stylize": stylize,
    "prepare": prepare,
    "plan": plan,
    "reproduce": reproduce,
    "report": report,
}

# Verbs that read a run's images, which may have moved since.
OF_DATA = ("evaluate", "neighbours", "invert", "spectrum", "reconstruct", "traverse")


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m jaxgan",
        description="What to do with a trained GAN. To train one: python train.py --help",
    )
    parser.add_argument("--version", action="version", version=f"jaxgan {__version__}")
    verbs = parser.add_subparsers(metavar="VERB", required=True)
    for name, module in VERBS.items():
        summary, _, details = (module.__doc__ or "").partition("\n\n")
        verb = verbs.add_parser(
            name,
            help=summary.rstrip("."),
            description=f"{summary}\n\n{details}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        module.add_arguments(verb)
        verb.set_defaults(run=module.run)
    own, overrides = cli.split_overrides(sys.argv[1:] if arguments is None else arguments)
    if own and own[0] in verbs.choices:
        _check_flags(verbs.choices[own[0]], own[1:])
    chosen = parser.parse_args(own, argparse.Namespace(overrides=overrides))
    if overrides and chosen.run not in (plan.run, reproduce.run):
        keys = {each.partition("=")[0] for each in overrides}
        if own[0] not in OF_DATA or not keys <= {"data.path", "data.dir"}:
            parser.error(
                f"--config.{overrides[0]} is for plan and reproduce; a run has its own config, of "
                f"which {', '.join(OF_DATA)} take data.path and data.dir, where its data have moved"
            )
    if chosen.run is not plan.run:  # which tells how long compilation takes
        cli.keep_compiled()
    return cli.run(lambda: chosen.run(chosen))


def _check_flags(verb: argparse.ArgumentParser, words: list[str]) -> None:
    """Exits at the first flag that is none, before argparse misses what it stands for."""
    flags = {"--help", *re.findall(r"--\w+", verb.format_usage())}
    for word in words:
        name = word.partition("=")[0]
        if name.startswith("--") and not any(flag.startswith(name) for flag in flags):
            near = difflib.get_close_matches(name, flags, n=1)
            hint = f" (did you mean {near[0]}?)" if near else ""
            verb.error(f"unrecognized arguments: {name}{hint}")
