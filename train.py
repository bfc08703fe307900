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
    "distributed",
    None,
    "ask the launcher (Cloud TPU ...) which processes train together; --nodistributed: none do",
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
    from jaxgan import processes  # here, and the rest below: --help and wrong flags answer at once

    of_processes = COORDINATOR.value, NUM_PROCESSES.value, PROCESS_ID.value
    many = DISTRIBUTED.value or any(each is not None for each in of_processes)
    if many or (DISTRIBUTED.value is None and processes.launched_together(os.environ)):
        processes.join(*of_processes)
        with processes.together():
            return train(CONFIG.value, overrides)
    return train(CONFIG.value, overrides)


def train(path: str, overrides: list[str]) -> int:
    from jaxgan import config, loop, workdir

    settings = config.load(path, overrides)
    folder = workdir.folder_at(WORKDIR.value or Path("runs") / Path(path).stem)
    return loop.train(settings, folder, DRY_RUN.value)


if __name__ == "__main__":
    sys.exit(cli.run(main))
