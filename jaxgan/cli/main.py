"""The verbs of `python -m jaxgan`. A verb is a module with `add_arguments` and `run`."""

import argparse

from jaxgan import __version__, cli
from jaxgan.cli import evaluate, prepare, reproduce, sample

VERBS = {"sample": sample, "evaluate": evaluate, "prepare": prepare, "reproduce": reproduce}


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
    chosen = parser.parse_args(arguments)
    cli.keep_compiled()
    return cli.run(lambda: chosen.run(chosen))
