"""Faults on purpose: whatever kills a run, the same command again must end to the bit.

    python tests/faults.py kill --trials 50 --steps_per_call 1 --cache none --devices 8
    python tests/faults.py kill --trials 50 --all       # of each steps_per_call, cache, devices
    python tests/faults.py stop --trials 20             # SIGTERM and SIGINT in each phase
    python tests/faults.py damage                       # flipped, cut off, missing files
    python tests/faults.py disk                         # full disks; root, for a tmpfs
    python tests/faults.py nan                          # a loss that is NaN, on_nonfinite
    python tests/faults.py devices                      # 8 devices, then 1, then 8

Each verb trains one small network (on CPU, 240 steps, seconds long) without a fault, as the
reference. Then, for each trial in a fresh folder, it starts the same command, does the harm, gives
the same command again, and compares what is there then with the reference: parameters, averages,
optimiser states and all else of the newest and the best checkpoint, metrics.jsonl without its
times, every picture, config.json.

The run that comes to harm is `harmed.py`: train.py, with a few functions wrapped so that they
tell through a pipe in which phase the run is. The one that goes on is train.py itself. All that is
written lies in one temporary folder, which stays where a trial failed. The exit code is then 1.
"""

import argparse
import collections
import dataclasses
import functools
import itertools
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).parents[1]))  # as a script
from tests.harmed import (
    FILL,
    NAN,
    PHASES,
    STEPS,
    Child,
    Entered,
    Setting,
    arrays,
    differences,
    newest,
)

# --------------------------------------------------------------------------------------------------
# Verbs; each returns whether all went as it must. First those that send signals.


class Moment(NamedTuple):
    """When a signal comes: `delay` seconds after a phase begins for the nth time, from 0; or after
    the start, where `phase` is ""."""

    number: int  # of the trial
    phase: str
    nth: int
    delay: float


class Trial(NamedTuple):
    """A run that got a signal, and the same command again."""

    moment: Moment
    phase: str  # that it was in, at `step`
    step: int
    cut: bool  # whether it left a checkpoint that was not whole
    problems: list[str]


def moments(setting: Setting, options: argparse.Namespace, uniform: bool) -> list[Moment]:
    """Random moments in phases, one phase after the other; with `uniform` every other moment is
    uniform over the run's duration instead."""
    begin = time.monotonic()
    rehearsal = Child(setting, setting.folder / f"rehearsal-{setting}")
    code, text, _ = rehearsal.end()
    if code:
        sys.exit(f"a run without a fault failed:\n{text}")
    end = time.monotonic()
    lengths = collections.defaultdict(list)
    for this, after in itertools.pairwise([*rehearsal.entered, Entered("", 0, end)]):
        lengths[this.phase].append(max(0.0, after.time - this.time))
    # Compilation is to be fresh then, and a checkpoint is written in the background.
    lengths["compile"] = [1.5] * len(lengths["compile"])
    lengths["checkpoint"] = [0.1] * len(lengths["checkpoint"])
    draw = random.Random(f"{options.seed} {setting}")
    # What is to stop before its end needs some time to it.
    phases, share = (PHASES, 1.0) if uniform else (PHASES[1:], 0.7)
    drawn = []
    for number in range(options.trials):
        if uniform and number % 2:
            drawn.append(Moment(number, "", 0, draw.uniform(0, end - begin)))
        else:
            phase = phases[(number // 2 if uniform else number) % len(phases)]
            nth = int(draw.uniform(0, share * len(lengths[phase])))
            drawn.append(Moment(number, phase, nth, draw.uniform(0, lengths[phase][nth])))
    return drawn


def trial(setting: Setting, reference: dict, number: int, moment: Moment) -> Trial:
    workdir = setting.folder / f"trial-{setting}-{moment.number}"
    # There is a compilation to interrupt only where the programs are not there yet.
    programs = f"{workdir.name}-programs" if moment.phase == "compile" else "programs"
    run = Child(setting, workdir, programs)
    if moment.phase:
        run.wait_for(moment.phase, moment.nth)
    time.sleep(moment.delay)
    code, text, (phase, step, _) = run.end(number)
    if (phase, step) == ("step", STEPS):
        phase = "end"
    cut = any(workdir.glob("checkpoints/*/*.orbax-checkpoint-tmp*"))
    problems = [] if number == signal.SIGKILL else stopped_well(workdir, code, text, number)
    again, said = setting.train(workdir)
    problems += [f"exit code {again} of the same command again"] if again else []
    problems += re.findall(r"^(?:damaged|error|Traceback).*", said, re.MULTILINE)
    problems += differences(reference, workdir)
    name = signal.Signals(number).name
    say(f"{setting} {moment.number:3} {name} in {phase}, step {step}: {verdict(problems)}")
    if not problems:
        shutil.rmtree(workdir)
    return Trial(moment, phase, step, cut, problems)


def stopped_well(workdir: Path, code: int, text: str, number: int) -> list[str]:
    """What is wrong with a run that got SIGTERM or SIGINT."""
    problems = [] if code == 128 + number else [f"exit code {code}"]
    told = re.search(r"^stopped after step ([\d,]+);", text, re.MULTILINE)
    if not told or "The same command again goes on from there." not in text:
        return [*problems, "it does not say that it stopped"]
    steps = [int(p.name) for p in workdir.glob("checkpoints/last/*") if p.name.isdecimal()]
    if max(steps, default=-1) != int(told[1].replace(",", "")):
        problems.append(f"it stopped after step {told[1]} and has checkpoints of {steps}")
    return problems


def kill(options: argparse.Namespace) -> bool:
    rows = []
    for setting in settings(options):
        _, reference = setting.reference()
        with ThreadPoolExecutor(options.jobs) as pool:
            one = functools.partial(trial, setting, reference, signal.SIGKILL)
            trials = list(pool.map(one, moments(setting, options, uniform=True)))
        times = collections.Counter(t.phase for t in trials)
        counts = [times[phase] for phase in (*PHASES, "line", "end")]
        equal, cut = sum(not t.problems for t in trials), sum(t.cut for t in trials)
        rows.append([*str(setting).split("-"), len(trials), equal, *counts, cut])
    names = ["steps_per_call", "cache", "devices", "trials", "equal", *PHASES, "line", "end"]
    print_table([*names, "checkpoint cut off"], rows)
    return all(row[3] == row[4] for row in rows)


def stop(options: argparse.Namespace) -> bool:
    rows = []
    for setting in settings(options):
        _, reference = setting.reference()

        def one(moment: Moment, setting=setting, reference=reference) -> Trial:
            number = (signal.SIGTERM, signal.SIGINT)[moment.number % 2]
            return trial(setting, reference, number, moment)

        with ThreadPoolExecutor(options.jobs) as pool:
            trials = list(pool.map(one, moments(setting, options, uniform=False)))
        for phase in PHASES[1:]:
            those = [t for t in trials if t.moment.phase == phase]
            equal = sum(not t.problems for t in those)
            rows.append([*str(setting).split("-"), phase, len(those), equal])
    print_table(["steps_per_call", "cache", "devices", "phase", "trials", "as it must"], rows)
    return all(row[-1] == row[-2] for row in rows)


def settings(options: argparse.Namespace) -> list[Setting]:
    choices = [(options.steps_per_call, options.cache, options.devices)]
    if options.all:
        choices = list(itertools.product((20, 1), ("device", "host", "none"), (1, 8)))
    return [Setting(options.folder, *choice) for choice in choices]


def verdict(problems: list[str]) -> str:
    more = f" and {len(problems) - 4} more" if len(problems) > 4 else ""
    return ", ".join(problems[:4]) + more if problems else "equal"


def say(text: str) -> None:
    print(text, flush=True)


def print_table(names: list[str], rows: list[list]) -> None:
    for row in (names, ["---"] * len(names), *rows):
        say(f"| {' | '.join(map(str, row))} |")


# --------------------------------------------------------------------------------------------------
# Damage


def damage(options: argparse.Namespace) -> bool:
    setting, cut = Setting(options.folder), STEPS // 2
    _, reference = setting.reference()
    base, workdir = options.folder / "base", options.folder / "damaged"
    dataclasses.replace(setting, flags=(f"--config.steps={cut}",)).train(base)
    draw, failed = random.Random(options.seed), 0
    last = base / "checkpoints" / "last" / str(cut)
    for what, name in harms(last, draw):
        shutil.copytree(base, workdir)
        harm(workdir / last.relative_to(base), what, name, draw)
        code, said = setting.train(workdir)
        problems = [f"exit code {code}"] if code else differences(reference, workdir)
        told = re.search(r"^damaged: .*; moved to .*", said, re.MULTILINE)
        # Orbax writes these after the checksums; there are no arrays in them.
        if not told and name not in ("_CHECKPOINT_METADATA", "commit_success.txt"):
            problems.append("it does not say that the checkpoint is damaged")
        failed += bool(problems)
        say(f"{what} {name}: {'said so' if told else 'nothing said'}, {verdict(problems)}")
        shutil.rmtree(workdir)
    shutil.copytree(base, workdir)
    for folder in (workdir / "checkpoints" / "last").iterdir():
        harm(folder, "flip", "default/_METADATA", draw)
    before = contents(workdir)
    code, said = setting.train(workdir)
    good = code == 2 and said.startswith("error: ") and said.count("\n") == 1
    unchanged = contents(workdir) == before
    say(f"all flipped: exit code {code}, {said.strip()}")
    say(f"one error line: {good}; nothing changed: {unchanged}")
    return good and unchanged and not failed


def harms(folder: Path, draw: random.Random) -> Iterator[tuple[str, str]]:
    """Ways to damage a checkpoint, and a file of it."""
    kinds: dict[str, list[str]] = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            name = path.relative_to(folder).as_posix()
            kinds.setdefault(re.sub(r"/d/\w{32}$", "/d/", name), []).append(name)
    one_of_each = [draw.choice(names) for names in kinds.values()]
    arrays = [name for names in kinds.values() for name in names if "/d/" in name]
    flips = one_of_each + draw.choices(arrays, k=5)
    yield from (("flip", name) for name in flips)
    yield from (("truncate", draw.choice(arrays)) for _ in range(3))
    yield from (("delete", name) for name in one_of_each)
    yield from (("empty", ""), ("rename", ""))


def harm(folder: Path, what: str, name: str, draw: random.Random) -> None:
    path = folder / name
    if what == "flip":
        content = bytearray(path.read_bytes())
        content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
        path.write_bytes(content)
    elif what == "truncate":
        os.truncate(path, draw.randrange(path.stat().st_size))
    elif what == "delete":
        path.unlink()
    elif what == "empty":
        shutil.rmtree(folder)
        folder.mkdir()
    elif what == "rename":
        folder.rename(folder.with_name(str(int(folder.name) + 40)))


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# --------------------------------------------------------------------------------------------------
# A full disk

# When it is filled, and with which settings: what is written next is what the name says.
FULL = {
    "a checkpoint": ("checkpoint 160", ()),
    "the best checkpoint": ("checkpoint 60", ()),
    "samples": ("sampling 80", ()),
    "metrics.jsonl": (
        "line 130",
        ("--config.log_every=1", "--config.sample_every=240", "--config.checkpoint_every=60"),
    ),
}


def disk(options: argparse.Namespace) -> bool | None:
    """None where it cannot be tried."""
    place = options.folder / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", str(place)]
    if subprocess.run(mount, capture_output=True).returncode:
        say("skipped: a small disk needs the right to mount a tmpfs (root)")
        return None
    try:
        failed = [what for what in FULL if not full(options.folder, place, what)]
        return not failed
    finally:
        subprocess.run(["umount", str(place)], check=True)


def full(folder: Path, place: Path, what: str) -> bool:
    at, flags = FULL[what]
    setting = Setting(folder, steps_per_call=1, flags=flags)
    straight, reference = setting.reference()
    shutil.rmtree(straight)  # another one's has other flags
    workdir = place / what.replace(" ", "-")
    code, text, _ = Child(setting, workdir, **{FILL: f"{at} {place / 'filler'}"}).end()
    errors = re.findall(r"^error: .*", text, re.MULTILINE)
    problems = [] if code and len(errors) == 1 else ["no error, or more than one"]
    problems += [] if str(workdir) in "".join(errors) else ["the error names no file"]
    problems += ["a traceback"] if "Traceback" in text else []
    left, _ = newest(workdir)
    (place / "filler").unlink()
    again, _ = setting.train(workdir)
    differing = differences(reference, workdir)
    problems += [f"exit code {again} of the same command again"] if again else []
    shutil.rmtree(workdir)
    say(f"full before {what} is written ({at}): exit code {code}; {'; '.join(errors)}")
    say(f"  it left step {left} whole; with space again: {verdict(differing)}")
    if problems:
        say(f"  NOT AS IT MUST BE: {verdict(problems)}; see {folder}/{workdir.name}.harmed.log")
    return not problems and not differing


# --------------------------------------------------------------------------------------------------
# A loss that is NaN, and other numbers of devices


def nan(options: argparse.Namespace) -> bool:
    import numpy as np

    plain, failed = Setting(options.folder), 0
    _, reference = plain.reference()
    for policy, fault, expected in (
        ("stop", "130 always", 2),
        ("skip", "130 always", 0),
        ("restore", "130 once", 0),
        ("restore", "130 always", 2),
    ):
        flags = (f"--config.on_nonfinite={policy}", "--config.nonfinite_attempts=3")
        setting = dataclasses.replace(plain, flags=flags)
        workdir = options.folder / f"{policy}-{fault.replace(' ', '-')}"
        code, text, _ = Child(setting, workdir, **{NAN: fault}).end()
        step, _ = newest(workdir)
        leaves = [x for x in arrays(workdir, step).values() if x.dtype.kind == "f"]
        finite = all(np.isfinite(leaf).all() for leaf in leaves)
        say(f"on_nonfinite={policy}, NaN at step {fault}: exit code {code}")
        for line in re.findall(r"^(?:error: )?step [\d,]+: .*", text, re.MULTILINE):
            say(f"  {line}")
        problems = [] if code == expected and finite else ["not as it must be"]
        if code:  # without the fault the same run goes on
            plain.train(workdir)
            problems += differences(reference, workdir)
            say(f"  without the fault the run then ends: {verdict(problems)}")
        say(f"  it left step {step}, {'all' if finite else 'not all'} of it finite")
        failed += bool(problems)
    return not failed


def devices(options: argparse.Namespace) -> bool:
    eight, one = (Setting(options.folder, devices=number) for number in (8, 1))
    straight, _ = eight.reference()
    good = True
    for parts in ((eight, one), (eight, one, eight)):
        names = ", ".join(str(setting.devices) for setting in parts)
        workdir = options.folder / names.replace(", ", "-")
        said = ""
        for number, setting in enumerate(parts[:-1], start=1):
            run = Child(setting, workdir)
            run.wait_for("step", step=STEPS * number // len(parts))
            said += run.end(signal.SIGKILL)[1]
        code, text = parts[-1].train(workdir)
        told = re.findall(r"^that checkpoint was written on .*", said + text, re.MULTILINE)
        a, b = arrays(straight, STEPS), arrays(workdir, STEPS)
        difference, where = max(
            (float(abs(a[k] - b[k]).max() / max(abs(a[k]).max(), 1e-30)), k)
            for k in a
            if a[k].dtype.kind == "f"
        )
        say(f"{names} devices: exit code {code}; " + "; ".join(told))
        say(f"  largest difference, relative to its array's largest: {difference:.1e} ({where})")
        good &= code == 0 and len(told) == len(parts) - 1 and difference < 1e-3
    return good


# --------------------------------------------------------------------------------------------------
# The command line


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    verbs = parser.add_subparsers(metavar="VERB", required=True)
    for verb in (kill, stop, damage, disk, nan, devices):
        own = verbs.add_parser(verb.__name__)
        own.set_defaults(verb=verb)
        own.add_argument("--seed", type=int, default=0, help="of the random moments and places")
        if verb in (kill, stop):
            trials = 50 if verb is kill else 20
            own.add_argument("--trials", type=int, default=trials, help="of each combination")
            own.add_argument("--steps_per_call", type=int, default=20)
            own.add_argument("--cache", choices=("device", "host", "none"), default="device")
            own.add_argument("--devices", type=int, default=1)
            own.add_argument("--all", action="store_true", help="all combinations of the three")
            own.add_argument("--jobs", type=int, default=1, help="trials at a time")
    options = parser.parse_args()
    os.environ["JAX_PLATFORMS"] = "cpu"
    options.folder = Path(tempfile.mkdtemp(prefix="jaxgan-faults-"))
    good = options.verb(options) is not False
    if good:
        shutil.rmtree(options.folder)
    else:
        say(f"not as it must be; what the trials left is in {options.folder}")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
