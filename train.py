"""Trains a GAN, or goes on with a run that was stopped.

    python train.py --config configs/cgan.py
    python train.py --config configs/cgan.py --workdir runs/long --config.steps=20000
    python train.py --config configs/cgan.py --dry_run

Any key of the config can be set with --config.KEY=VALUE; configs/default.py explains them all.
The same command again goes on from the newest checkpoint. Ctrl-C writes a checkpoint and stops.
"""

import os
import sys
from pathlib import Path

from absl import flags

from jaxgan import cli
from jaxgan.errors import UserError

CONFIG = flags.DEFINE_string("config", None, "the config file, such as configs/cgan.py")
WORKDIR = flags.DEFINE_string("workdir", None, "the run's folder; runs/NAME for configs/NAME.py")
DRY_RUN = flags.DEFINE_bool(
    "dry_run", False, "prepare the data, print the resolved config and the costs, and stop"
)

COORDINATOR = flags.DEFINE_string("coordinator", None, "HOST:PORT of the first of the processes")
NUM_PROCESSES = flags.DEFINE_integer("num_processes", None, "how many processes train together")
PROCESS_ID = flags.DEFINE_integer("process_id", None, "which of them this is, from 0")
DISTRIBUTED = flags.DEFINE_bool(
    "distributed", False, "ask the launcher (Cloud TPU, GKE ...) which processes train together"
)


def main() -> int:
    own, overrides = cli.split_overrides(sys.argv)
    if {"--help", "-h", "-help"} & set(own):
        print(__doc__, "flags:", flags.FLAGS.main_module_help(), sep="\n")
        return 0
    try:
        _, *stray = flags.FLAGS(own)
    except flags.Error as error:
        raise UserError(str(error)) from error
    if stray or CONFIG.value is None:
        what = f"{stray[0]!r} is no flag" if stray else "--config is missing"
        raise UserError(f"{what}; for example: python train.py --config configs/cgan.py")

    cli.keep_compiled()
    from jaxgan import (
        config,
        loop,
        processes,
        workdir,
    )  # here: --help and wrong flags answer at once

    of_processes = COORDINATOR.value, NUM_PROCESSES.value, PROCESS_ID.value
    if DISTRIBUTED.value or any(x is not None for x in of_processes):
        processes.join(*of_processes)
    elif processes.launched_together(os.environ):
        processes.join(None, None, None)
    settings = config.load(CONFIG.value, overrides)
    name = WORKDIR.value or Path("runs") / Path(CONFIG.value).stem
    return loop.train(settings, workdir.folder_at(name), DRY_RUN.value)


if __name__ == "__main__":
    sys.exit(cli.run(main))
