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
from jaxgan import experiment, health, judges, parallel, report, seeds, signals, writer
from jaxgan import workdir as folders
from jaxgan.checkpoint import Checkpoints, judged_by
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
    algorithm = experiment.algorithm_of(config, begun=experiment.has_begun(workdir))
    mesh = experiment.make_mesh(config)
    with jax.set_mesh(mesh):
        summary = experiment.summary(config, algorithm, mesh)  # finds impossible networks
        if dry_run:
            told = summary, costs(config, algorithm, dataset, mesh)
            print(json.dumps(config.to_dict(), indent=2), *told, sep="\n")
            return 0
        judge = judges.plan_of(config, algorithm) if config.evaluate_every else None
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
                return _farewell(mirror, run.members, algorithm)
            if judge:
                run.judge = judges.ready(judge, config)
            writer.say(summary)
            run.tell(start)
            writer.write_json(folder / "config.json", config.to_dict())
            step, seconds = run.train(start)
            event = "stopped" if run.interrupted else "finished"
            used = {"seconds": round(seconds, 3), "peak_memory": parallel.peak_memory()}
            folders.record(folder, event, step=step, **used)
            if run.interrupted:
                report.leave(mirror, [member.group for member in run.members])
                writer.say(f"stopped after step {step:,}; the checkpoint is written.")
                writer.say("The same command again goes on from there.")
                return 128 + stop()
            writer.say(
                f"{step:,} steps ({config.derived.kimg:,.0f} kimg) in {seconds / 60:.1f} min."
            )
            return _farewell(mirror, run.members, algorithm)


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

    def __init__(self, step: int, what: str, member: int | None = None):
        super().__init__(f"step {step:,}: {what}")
        self.member = member  # whose it is, where that is known


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

    def __post_init__(self) -> None:
        self.members = experiment.members(self.config)
        self.names = [member.name for member in self.members]

    def start(self) -> _Start:
        """The newest checkpoint that is whole, or a fresh state."""
        like = experiment.abstract_state(self.algorithm, self.mesh, len(self.members))
        restored = self.last.newest(like)
        if restored is None:
            every = [self.config.checkpoint_every, *self.changed.get("checkpoint_every", ())]
            experiment.refuse_to_begin_again(self.mirror, max(filter(None, every)))
            algorithm = experiment.algorithm_of(self.config)  # with all that a start needs
            return _Start(0, initial_state(self.config, algorithm, self.mesh))
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
            state = seeds.with_other_keys(start.state, attempt, broken.member)
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
        folder, boards = run.mirror.folder, []
        if parallel.is_first():
            boards = experiment.make_boards(config, folder, run.mirror.home.name, first)
        with (
            closing(writer.Writer(folder, first, boards)) as self.output,
            closing(writer.Progress(first, config.steps, not parallel.is_first())) as self.progress,
            closing(inputs_of(config, self.programs.feed, run.mesh, first)) as inputs,
        ):
            earlier = self.output.lines[-1].get("seconds", 0.0) if self.output.lines else 0.0
            images = config.derived.images_per_step
            self.clock = writer.Clock(first, images, earlier, len(run.members))
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
                told = health.told(metrics | self._health())
            if self.config.on_nonfinite == "skip":
                told["skipped"] = self.attempts
            self.run.last.check()
            line = self.clock.line(self.step, told)
            self.progress.metrics(line, self.clock.seconds_left(self.step, self.config.steps))
            self._finish_step(line)
        if self._due("checkpoint") and not self.run.stopped():
            self._save()
        self.progress.update(self.step)

    def _due(self, what: str) -> bool:
        every = self.config[f"{what}_every"]
        return bool(every) and (self.step % every == 0 or self.step == self.config.steps)

    def _read(self) -> dict[str, np.ndarray]:
        """The means over the steps of the call not yet read, of each member. Raises _Broken at a
        step whose numbers are not finite, unless it may be skipped; they are then of the others."""
        if self.pending is None:
            return {}
        (step, metrics), self.pending = self.pending, None
        metrics = jax.device_get(metrics)
        self.run.stopped.hear(metrics)
        skips, found = self.config.on_nonfinite == "skip", health.read(metrics)
        if found.first:
            earlier = f", after {self.attempts} skipped steps" if skips and self.attempts else ""
            whose = f"{self.run.names[found.member]}: " if len(self.run.names) > 1 else ""
            at = step - len(next(iter(metrics.values()))) + 1 + found.first.position
            broken = _Broken(at, f"{whose}{found.first.what}{earlier}", found.member)
            if skips:
                self.attempts += found.faults
            if not skips or self.attempts > self.config.nonfinite_attempts:
                raise broken
            self.progress.say(f"{broken}; skipped, {self.attempts} so far")
            folders.record(
                self.run.mirror.folder, "skipped", reason=str(broken), number=self.attempts
            )
        return found.means

    def _health(self) -> dict[str, np.ndarray]:
        values = {k: np.asarray(v) for k, v in self.programs.health(self.state).items()}
        for name, value in values.items():
            good = np.atleast_1d(np.isfinite(value))
            if not good.all():
                n = int(np.argmin(good))
                whose = f"{self.run.names[n]}: " if len(good) > 1 else ""
                what = f"{first_nonfinite_leaf(self.state) or name} is {np.atleast_1d(value)[n]}"
                raise _Broken(self.step, f"{whose}{what}", n)
        return values

    def _finish_step(self, line: dict[str, Any]) -> None:
        """Draw, evaluate and write what is due at this step, the line as the last of it.

        A stop does not wait for an evaluation: the run does it when it goes on.
        """
        with self.clock.stopped():
            jax.block_until_ready(self.state)
            if self._due("sample"):
                self.output.samples(self.step, self.programs.draw(self.state))
            if self._due("evaluate"):
                found = self.programs.evaluate(self.state, self.run.stopped.ask)
                if found is None:
                    self.unfinished = line
                    return
                found = parallel.of_first(lambda: found)  # others may round otherwise
                scores = health.told({k: np.array([one[k] for one in found]) for k in found[0]})
                each = line.get("seeds", {}) | scores.get("seeds", {})
                line = line | scores | ({"seeds": each} if each else {})
                failed = None in scores.get("seeds", {}).get(self.config.best_metric, [])
                self._save_if_best(None if failed else scores[self.config.best_metric])
            if self._due("log") or self._due("evaluate"):
                self.output.metrics(line)
                for text in health.warnings_of(self.output.lines, self.run.names):
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
            judged = lambda: judged_by(best, self.step, told, judge.directions[name])  # noqa: E731
            better, damaged, removed = parallel.of_first(judged)
            for step, text in damaged:
                self.run.tell_damage(step, text, best.set_aside(step))
            for step in removed:
                best.remove(step)
            if better:
                best.save(self.step, self.state, **told, **self._info())
                best.wait()  # the step's own checkpoint, which says that all is done, comes after

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


def _farewell(mirror: folders.Mirror, members: list[seeds.Member], algorithm: Any) -> int:
    folder, home = mirror.folder, mirror.home
    curves = report.leave(mirror, [member.group for member in members])
    found = [*sorted((folder / "samples").glob("*.png"))[-len(members) :], curves]
    pictures = [str(home / path.relative_to(folder)) for path in filter(None, found)]
    writer.say(f"pictures: {', '.join(pictures)}; all on one page: {home / 'report.html'}")
    verb = "sample" if hasattr(algorithm, "sample") else "reconstruct"
    writer.say(f"next: python -m jaxgan {verb} --workdir {home} --num 64 --out {verb}.png")
    return 0
