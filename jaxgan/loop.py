"""The training loop: data -> step -> evaluate -> write -> sample -> checkpoint.

Whatever it does at a step is a function of the step and the state alone, and a checkpoint is the
last of it. So a run that was stopped or killed, wherever that was, and is started again passes
through the same states and writes the same files as one that was not: on CPU to the bit, elsewhere
as far as the device's own arithmetic repeats itself.

A step with a loss or gradient that is not finite is never built upon unseen: each call's numbers
are read before anything of its state is written, and a state is looked at before it is saved.
"""

import dataclasses
import json
import math
import os
import socket
import time
from contextlib import closing
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh
from ml_collections import ConfigDict

import jaxgan
from jaxgan import experiment, health, judges, parallel, signals, writer
from jaxgan import workdir as folders
from jaxgan.checkpoint import Checkpoints, Damaged
from jaxgan.errors import UserError
from jaxgan.evaluation import Judge, digest
from jaxgan.programs import (
    Programs,
    Stop,
    costs,
    counts,
    first_nonfinite_leaf,
    initial_state,
    inputs_of,
)
from jaxgan.typing import Folder, PyTree


def train(config: ConfigDict, workdir: Folder, dry_run: bool = False) -> int:
    """Train what `config` describes in `workdir`, or go on with the run that is there.

    Returns the exit code: 0, or 128 + the number of the signal that stopped it. Raises UserError.
    """
    config, dataset = experiment.prepare(config)
    algorithm = experiment.build(config)
    mesh = experiment.make_mesh(config)
    with jax.set_mesh(mesh):
        summary = experiment.summary(config, algorithm, mesh)  # finds impossible networks
        if dry_run:
            told = summary, costs(config, algorithm, dataset, mesh)
            print(json.dumps(config.to_dict(), indent=2), *told, sep="\n")
            return 0
        judge = judges.plan_of(config) if config.evaluate_every else None
        kept = config.keep_checkpoints, parallel.of_first
        with (
            experiment.joined(workdir, config) as (mirror, changed),
            closing(Checkpoints(workdir / "checkpoints" / "last", *kept)) as last,
            signals.caught() as signalled,
        ):
            stop = Stop(signalled, mesh)
            of_run = algorithm, mesh, judge, last, stop, changed
            run, folder = _Run(config, mirror, dataset, *of_run), mirror.folder
            start = run.start()
            if start.step >= config.steps and start.unfinished is None:
                more = f"For more, add --config.steps={2 * start.step}."
                if experiment.at_rest(config, start.step):
                    more = "Its learning rate has come to 0; more takes another, longer run."
                writer.say(f"This run is finished: {start.step:,} steps. {more}")
                return _farewell(mirror)
            if judge:
                run.judge = judges.ready(judge, config)
            writer.say(summary)
            run.tell(start)
            writer.write_json(folder / "config.json", config.to_dict())
            step, seconds = run.train(start)
            event = "stopped" if run.interrupted else "finished"
            folders.record(folder, event, step=step, seconds=round(seconds, 3))
            if run.interrupted:
                writer.write_curves(folder)
                mirror.push()
                writer.say(f"stopped after step {step:,}; the checkpoint is written.")
                writer.say("The same command again goes on from there.")
                return 128 + stop()
            writer.say(
                f"{step:,} steps ({config.derived.kimg:,.0f} kimg) in {seconds / 60:.1f} min."
            )
            return _farewell(mirror)


@dataclasses.dataclass
class _Start:
    """Where training begins, goes on, or goes on once more."""

    step: int
    state: PyTree
    attempts: int = 0  # steps skipped or checkpoints restored so far, for on_nonfinite
    unfinished: dict[str, Any] | None = None  # the line of this step, not yet written
    devices: str = ""  # that the checkpoint was written on; "" for a fresh state


class _Broken(Exception):
    """Training met a number that is none."""

    def __init__(self, step: int, what: str):
        super().__init__(f"step {step:,}: {what}")


@dataclasses.dataclass
class _Run:
    """One start of a run."""

    config: ConfigDict
    mirror: folders.Mirror
    dataset: Any
    algorithm: Any
    mesh: Mesh
    judge: Judge | None  # of evaluations
    last: Checkpoints
    stopped: Stop
    changed: dict[str, list]  # harmless settings, with what they were and are
    interrupted: bool = False  # it ends before its end

    def start(self) -> _Start:
        """The newest checkpoint that is whole, or a fresh state."""
        restored = self.last.newest(experiment.abstract_state(self.algorithm, self.mesh))
        if restored is None:
            every = [self.config.checkpoint_every, *self.changed.get("checkpoint_every", ())]
            experiment.refuse_to_begin_again(self.mirror, max(filter(None, every)))
            return _Start(0, initial_state(self.algorithm, self.mesh, self.config.seed))
        for step, text in restored.damaged.items():
            self.tell_damage(step, text, self.last.set_aside(step))
        info = restored.info
        unfinished = info.get("unfinished")
        if any(line["step"] == restored.step for line in writer.read_metrics(self.mirror.folder)):
            unfinished = None  # it was finished at an earlier start
        attempts, devices = info.get("attempts", 0), info.get("devices", "")
        return _Start(restored.step, restored.state, attempts, unfinished, devices)

    def tell_damage(self, step: int, reason: str, moved: Folder) -> None:
        writer.say(f"damaged: {reason}; moved to {moved}")
        folders.record(self.mirror.folder, "damaged", step=step, reason=reason, moved=str(moved))

    def tell(self, start: _Start) -> None:
        """Say where training starts, and write it to history.jsonl."""
        here = parallel.describe(self.mesh)
        if start.devices:
            writer.say(f"going on from step {start.step:,} of {self.config.steps:,}")
            for key, (old, new) in self.changed.items():
                if not key.startswith("derived."):
                    writer.say(f"{key} was {old} and is {new} from here on")
            if start.devices != here:
                writer.say(
                    f"that checkpoint was written on {start.devices}, this is {here}: results are "
                    f"equal up to the rounding of sums, not to the bit"
                )
        elif writer.read_metrics(self.mirror.folder):
            writer.say("there is no checkpoint yet: beginning again")
        machine = {"jaxgan": jaxgan.__version__, "host": socket.gethostname(), "pid": os.getpid()}
        known = {"steps": self.config.steps, "changed": self.changed, "devices": here, **machine}
        folders.record(self.mirror.folder, "start", step=start.step, **known)

    def train(self, start: _Start) -> tuple[int, float]:
        """Train to the end, or until stopped; the step reached and the run's seconds."""
        config = self.config
        feed = experiment.make_feed(config, self.algorithm, self.dataset)
        resident = parallel.place(self.mesh, feed.resident)
        feed = feed._replace(resident={})  # lets go of the host's copy
        if config.data.cache == "auto" and feed.cache:
            writer.say(f"data.cache: {feed.cache}")
        of_run = self.algorithm, self.dataset, self.judge, self.mesh
        programs = Programs(config, *of_run, feed, resident)
        while True:
            try:
                return _Training(self, programs, start).to_the_end()
            except _Broken as broken:
                start = self._restored(broken, start.attempts + 1)

    def _restored(self, broken: _Broken, attempt: int) -> _Start:
        """Where to go on after `broken`. Raises UserError where that is nowhere."""
        mode = self.config.on_nonfinite
        self.last.wait()
        if mode == "restore" and attempt <= self.config.nonfinite_attempts:
            # Back to where a run that no signal had stopped would go.
            for step in self.last.steps()[:0:-1]:
                if self.last.info(step).get("due", True):
                    break
                self.last.remove(step)
            start = self.start()
            writer.say(f"{broken}; back to step {start.step:,}, attempt {attempt}")
            folders.record(self.mirror.folder, "restored", step=start.step, reason=str(broken))
            # With other latents it need not come to the same end.
            state = start.state.replace(key=jax.random.fold_in(start.state.key, attempt))
            return dataclasses.replace(start, state=state, attempts=attempt)
        steps = self.last.steps()
        newest = (
            f"the last good checkpoint is of step {steps[-1]:,}" if steps else "no checkpoint yet"
        )
        tried = f", after {attempt - 1} attempts" if mode == "restore" else ""
        other = {"stop": "skip or restore", "skip": "restore", "restore": "skip"}[mode]
        raise UserError(
            f"{broken}{tried}; {newest}; try the same command with --config.on_nonfinite={other}; "
            f"or, in another --workdir, a smaller optimizer.*.learning_rate, "
            f"optimizer.*.clip_norm=1 or penalties.r1=1"
        ) from None


class _Training:
    """Training from one state to the end, to a stop, or to a number that is none."""

    def __init__(self, run: _Run, programs: Programs, start: _Start):
        self.run, self.config, self.programs, self.start = run, run.config, programs, start
        self.state, self.step, self.attempts = start.state, start.step, start.attempts
        self.pending: tuple[int, dict] | None = None  # a call's last step and its metrics, unread
        self.unfinished: dict[str, Any] | None = None  # the line of a step, where a stop came first

    def to_the_end(self) -> tuple[int, float]:
        """The step reached and the seconds that the run has taken."""
        config, run, first = self.config, self.run, self.start.step
        with (
            closing(writer.Writer(run.mirror.folder, first)) as self.output,
            closing(writer.Progress(first, config.steps, not parallel.is_first())) as self.progress,
            closing(inputs_of(config, self.programs.feed, run.mesh, first)) as inputs,
        ):
            earlier = self.output.lines[-1].get("seconds", 0.0) if self.output.lines else 0.0
            self.clock = writer.Clock(first, config.derived.images_per_step, earlier)
            if self.start.unfinished is not None:
                self._finish_step(self.start.unfinished)
            while self.step < config.steps and not run.stopped():
                with self.clock.waiting():
                    count, given = next(inputs)
                if self.step == first:
                    self._compile(given)
                if not run.stopped():
                    self._call(count, given)
            self._read()
            run.interrupted = self.step < config.steps or self.unfinished is not None
            self._save()
            run.last.wait()
            return self.step, self.clock.seconds

    def _compile(self, inputs: PyTree) -> None:
        missing = counts(self.config, self.step) - set(self.programs.calls)
        if missing and not self.run.stopped():
            begin = time.perf_counter()
            with self.clock.stopped():
                self.programs.compile(self.state, inputs, missing)
            listed = " and ".join(map(str, sorted(missing)))
            self.progress.say(f"compiled {listed} steps in {time.perf_counter() - begin:.1f} s")

    def _call(self, count: int, inputs: PyTree) -> None:
        """A call's steps, and what is due after them."""
        call = self.programs.calls[count]
        signal = self.run.stopped.signal()
        self.state, metrics = call(self.state, self.programs.resident, inputs, signal)
        self.step += count
        self._read()  # one call runs, the next is in line, no more
        self.pending = self.step, metrics
        first = self.step == self.start.step + count  # the user waits for a line
        if first or any(map(self._due, ("log", "sample", "evaluate"))):
            metrics = self._read()
            with self.clock.stopped():
                metrics |= self._health()
            self.run.last.check()
            line = self.clock.line(self.step, metrics)
            self.progress.metrics(line, self.clock.seconds_left(self.step, self.config.steps))
            self._finish_step(line)
        if self._due("checkpoint") and not self.run.stopped():
            self._save()
        self.progress.update(self.step)

    def _due(self, what: str) -> bool:
        every = self.config[f"{what}_every"]
        return bool(every) and (self.step % every == 0 or self.step == self.config.steps)

    def _read(self) -> dict[str, int | float]:
        """The means over the steps of the call not yet read. Raises _Broken at a step whose numbers
        are not finite, unless it may be skipped; the means are then those of the others."""
        if self.pending is None:
            return {}
        (step, metrics), self.pending = self.pending, None
        metrics = jax.device_get(metrics)
        self.run.stopped.hear(metrics)
        good = np.all([np.isfinite(values) for values in metrics.values()], axis=0)
        skips = self.config.on_nonfinite == "skip"
        found = None if good.all() else health.first_nonfinite(metrics)
        if found:
            earlier = f", after {self.attempts} skipped steps" if skips and self.attempts else ""
            at = step - len(good) + 1 + found.position
            broken = _Broken(at, f"{found.what}{earlier}")
            if skips:
                self.attempts += int(np.sum(~good))
            if not skips or self.attempts > self.config.nonfinite_attempts:
                raise broken
            self.progress.say(f"{broken}; skipped, {self.attempts} so far")
            folders.record(
                self.run.mirror.folder, "skipped", reason=str(broken), number=self.attempts
            )
        means = {
            name: float(np.mean(values[good]))
            for name, values in metrics.items()
            if "/" not in name and good.any()  # blocks' norms are for first_nonfinite
        }
        return {**means, "skipped": self.attempts} if skips else means

    def _health(self) -> dict[str, float]:
        values = {k: float(v) for k, v in self.programs.health(self.state).items()}
        for name, value in values.items():
            if not math.isfinite(value):
                raise _Broken(self.step, f"{first_nonfinite_leaf(self.state) or name} is {value}")
        return values

    def _finish_step(self, line: dict[str, Any]) -> None:
        """Draw, evaluate and write what is due at this step, the line as the last of it.

        A stop does not wait for an evaluation: the run does it when it goes on.
        """
        with self.clock.stopped():
            jax.block_until_ready(self.state)
            if self._due("sample"):
                self.output.samples(self.step, self.programs.draw(self.state))
            scores: dict[str, float | None] = {}
            if self._due("evaluate"):
                found = self.programs.evaluate(self.state, self.run.stopped.ask)
                if found is None:
                    self.unfinished = line
                    return
                found = parallel.of_first(lambda: found)  # others may round otherwise
                scores = {k: v if math.isfinite(v) else None for k, v in found.items()}
                self._save_if_best(scores[self.config.best_metric])
            if self._due("log") or scores:
                self.output.metrics(line | scores)
                for text in health.warnings(self.output.lines):
                    self.progress.say(f"warning: {text}")
            self.run.mirror.push(last=False)

    def _save_if_best(self, value: float | None) -> None:
        """None is no finite number."""
        judge, name = self.run.judge, self.config.best_metric
        if value is None or not judge:
            return
        protocol = digest([judge.protocol, self.config.evaluation.samples])
        told = {"metric": name, "value": value, "protocol": protocol}
        best_of = self.run.mirror.home / "checkpoints" / "best"
        with closing(Checkpoints(best_of, 1, parallel.of_first)) as best:
            judged = lambda: self._judged(best, told, -judge.directions[name])  # noqa: E731
            better, damaged, removed = parallel.of_first(judged)
            for step, text in damaged:
                self.run.tell_damage(step, text, best.set_aside(step))
            for step in removed:
                best.remove(step)
            if better:
                best.save(self.step, self.state, **told, **self._info())
                best.wait()  # the step's own checkpoint, which says that all is done, comes after

    def _judged(self, best: Checkpoints, told: dict[str, Any], sign: int) -> tuple:
        """Whether this state is the best; damaged checkpoints; those of a path left or to come."""
        damaged, removed = list[tuple[int, str]](), list[int]()
        for step in best.steps():
            try:
                there = best.info(step)
            except Damaged as error:
                damaged.append((step, str(error)))
                continue
            alike = all(there.get(key) == told[key] for key in ("metric", "protocol"))
            cost, mine = sign * there["value"] if alike else math.inf, sign * told["value"]
            if cost == mine or (cost < mine and step < self.step):
                return False, damaged, removed
            if step >= self.step:
                removed.append(step)
        return True, damaged, removed

    def _save(self) -> None:
        if self.step in self.run.last.steps():
            return
        self._read()
        broken = first_nonfinite_leaf(self.state)
        if broken:
            raise _Broken(self.step, f"{broken} is not finite")
        self.output.sync()
        due = self._due("checkpoint")
        self.run.last.save(self.step, self.state, due=due, **self._info())

    def _info(self) -> dict[str, Any]:
        devices = parallel.describe(self.run.mesh)
        return {"attempts": self.attempts, "unfinished": self.unfinished, "devices": devices}


def _farewell(mirror: folders.Mirror) -> int:
    folder, home = mirror.folder, mirror.home
    found = [*sorted((folder / "samples").glob("*.png"))[-1:], writer.write_curves(folder)]
    mirror.push()
    pictures = [str(home / path.relative_to(folder)) for path in filter(None, found)]
    writer.say(f"pictures: {', '.join(pictures)}")
    writer.say(f"next: python -m jaxgan sample --workdir {home} --num 64 --out samples.png")
    return 0
