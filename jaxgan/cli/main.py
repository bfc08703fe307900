"""The verbs of `python -m jaxgan`. A verb is a module with `add_arguments` and `run`."""

import argparse
import difflib
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
        verb.set_defaults(run=module.run, verb=verb)
    own, overrides = cli.split_overrides(sys.argv[1:] if arguments is None else arguments)
    chosen, stray = parser.parse_known_args(own, argparse.Namespace(overrides=overrides))
    if stray:
        flags = [flag for action in chosen.verb._actions for flag in action.option_strings]
        near = difflib.get_close_matches(stray[0].partition("=")[0], flags, n=1)
        hint = f" (did you mean {near[0]}?)" if near else ""
        chosen.verb.error(f"unrecognized arguments: {' '.join(stray)}{hint}")
    if overrides and chosen.run not in (plan.run, reproduce.run):
        parser.error(f"--config.{overrides[0]} is for plan and reproduce; a run has its own config")
    if chosen.run is not plan.run:  # which tells how long compilation takes
        cli.keep_compiled()
    return cli.run(lambda: chosen.run(chosen))
