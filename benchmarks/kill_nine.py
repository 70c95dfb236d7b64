"""Kill commands at random moments: the next run ends with what an unbroken one makes, and nothing is left.

python benchmarks/kill_nine.py [--kills 20] [--seed 0] [--jobs predict_clip extract_faces ...]

Each job is run unbroken, then killed (SIGKILL) `--kills` times, each time in a new folder, after a delay
drawn evenly from the time that it took, and run again to its end at once, while processes of the first may
still be ending. Jobs of several processes are killed a quarter as often again in one of their workers alone.
The runs are forks of a process that has loaded what they import, so that kills fall upon work and not upon
imports; `--cold` starts each as a command of its own.
"""

import argparse
import json
import os
import random
import runpy
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TextIO

from killed_jobs import ROOT, Contents, Job, write_inputs

_MARK = "EMOTEMPORAL_KILL_NINE"
"""Environment variable by which all processes of a run are known."""
_END_SECONDS = 60.0
"""After which what is left of a killed run counts as an orphan."""
_RUN_SECONDS = 300.0


@dataclass(frozen=True)
class Trial:
    """One kill and what followed."""

    job: str
    victim: str
    delay_seconds: float
    exit_code: int
    """Of the run whose worker was killed, or minus the signal."""
    num_finished: int
    """Videos, clips, folds and epochs that were done by then."""
    orphan_seconds: float
    """How long processes of the killed run outlived it."""
    faults: Sequence[str] = field(default_factory=tuple)


class Nursery:
    """Starts commands, one at a time, as forks of a process that has their libraries loaded."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, __file__, "--nursery"],
            env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> "Nursery":
        return self

    def __exit__(self, *error: object) -> None:
        self._process.communicate()

    def start(self, arguments: Sequence[str], folder: Path, mark: str, errors: Path) -> "Fork":
        order = {"arguments": list(arguments), "folder": str(folder), "mark": mark, "errors": str(errors)}
        print(json.dumps(order), file=self._process.stdin, flush=True)
        return Fork(int(self._process.stdout.readline()), self._process.stdout)


class Fork:
    """A command that a nursery has started, waited for as a `subprocess.Popen` is."""

    stderr: TextIO

    def __init__(self, pid: int, codes: TextIO) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._codes = codes

    def poll(self) -> int | None:
        if self.returncode is None and select.select([self._codes], [], [], 0)[0]:
            self.wait()
        return self.returncode

    def wait(self, timeout: float = _RUN_SECONDS) -> int:
        if self.returncode is None:
            if not select.select([self._codes], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired("fork", timeout)
            self.returncode = int(self._codes.readline())
        return self.returncode

    def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)


def serve_nursery() -> None:
    """Fork for each order on stdin; tell the process, then its exit code."""
    import torch

    import emotemporal.pipeline
    import emotemporal.training.clip
    import emotemporal.training.frame  # noqa: F401

    torch.set_num_threads(1)
    # Not `for line in sys.stdin`, which a fork would read on.
    while line := sys.stdin.readline():
        order = json.loads(line)
        pid = os.fork()
        if pid == 0:
            _run_command(**order)
        print(pid, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)


def _run_command(arguments: list[str], folder: str, mark: str, errors: str) -> None:
    nowhere = os.open(os.devnull, os.O_RDWR)
    for stream, descriptor in enumerate((nowhere, nowhere, os.open(errors, os.O_WRONLY | os.O_CREAT))):
        os.dup2(descriptor, stream)
    os.chdir(folder)
    os.environ[_MARK] = mark
    sys.argv = arguments
    sys.path.insert(0, str(ROOT))
    code = 1
    try:
        runpy.run_path(arguments[0], run_name="__main__")
    except SystemExit as end:
        code = int(end.code or 0)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


def run_trial(
    job: Job,
    folder: Path,
    truth: Contents,
    *,
    delay_seconds: float,
    victim: str,
    seed: int = 0,
    nursery: Nursery | None = None,
) -> Trial:
    """Run a job in a new folder, kill it or a worker of it, and run it again to its end.

    Args:
        folder: to run it in.
        truth: contents that an unbroken run leaves.
        delay_seconds: after which it is killed; a worker once there is one.
        victim: `main` or `worker`.
        nursery: starts it; None starts a command.
    """
    folder.mkdir(parents=True)
    out, mark = folder / "out", f"{folder.name}-{os.getpid()}-"
    faults: list[str] = []
    with start(job, folder, mark + "first", nursery) as process:
        killed = _kill(process, mark, victim, delay_seconds, random.Random(seed))
        if victim == "main":
            # Not its output's end: what it leaves behind may hold that open.
            process.wait()
    code, died = process.returncode, time.monotonic()
    # A run that outlives its worker ends by itself, and its tables say what failed.
    failed = victim == "worker" and code == 1
    faults += [fault for fault in job.check(out, truth) if not (failed and fault.split()[0] in job.tables)]
    before = job.finished(out)
    with start(job, folder, mark + "again", nursery) as again:
        orphan_seconds = _await_end(mark + "first", died, killed) if victim == "main" else 0.0
        _, errors = communicate(again)
    if orphan_seconds > _END_SECONDS:
        faults.append(f"processes were left: {marked(mark)}")
    if again.returncode != 0:
        faults.append(f"the next run ended with {again.returncode}: {errors[-300:]}")
    else:
        after, found = job.finished(out), job.contents(out)
        faults += [f"{name} was done again" for name in before if before[name] != after.get(name)]
        names = sorted(found.keys() ^ truth.keys())
        faults += [f"{name} is missing or too much" for name in names]
        faults += [f"{name} differs" for name in found.keys() & truth.keys() if found[name] != truth[name]]
    if list(folder.rglob(".emotemporal-*")):
        faults.append("temporary files were left")
    _await_end(mark, time.monotonic(), 0)
    for pid in marked(mark):
        faults.append(f"process {pid} was left")
        os.kill(pid, signal.SIGKILL)
    return Trial(job.name, victim, delay_seconds, code, len(before), orphan_seconds, tuple(faults))


@contextmanager
def start(
    job: Job, folder: Path, mark: str, nursery: Nursery | None = None
) -> Iterator[subprocess.Popen | Fork]:
    """Start a job in a folder, its processes known by a mark."""
    if nursery is not None:
        errors_file = folder / f"{mark}.txt"
        errors_file.touch()
        process = nursery.start(job.arguments, folder, mark, errors_file)
        process.stderr = errors_file.open()
        try:
            yield process
        finally:
            communicate(process)
            process.stderr.close()
        return
    environment = os.environ | {_MARK: mark, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    # Files, since whatever outlives a process would hold its pipes open.
    with tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(
            [sys.executable, *job.arguments],
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=errors,
        )
        process.stderr = errors
        try:
            yield process
        finally:
            communicate(process)


def communicate(process: subprocess.Popen) -> tuple[int, str]:
    """Wait for a process that `start` gave; return its exit code and what it wrote to stderr."""
    try:
        process.wait(_RUN_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    process.stderr.seek(0)
    return process.returncode, process.stderr.read()


def _kill(
    process: subprocess.Popen, mark: str, victim: str, delay_seconds: float, draws: random.Random
) -> int:
    """Kill a process or one of its workers, if it does not end before; return whom."""
    until = time.monotonic() + delay_seconds
    while process.poll() is None:
        if time.monotonic() >= until:
            found = [process.pid] if victim == "main" else [p for p in marked(mark) if _is_worker(p)]
            if found:
                chosen = draws.choice(found)
                os.kill(chosen, signal.SIGKILL)
                return chosen
        time.sleep(0.01)
    return 0


def _is_worker(pid: int) -> bool:
    try:
        return b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


def _await_end(mark: str, died: float, pid: int) -> float:
    """Return how long the processes of a killed run were there after its death."""
    while set(marked(mark)) - {pid} and time.monotonic() - died < _END_SECONDS + 1:
        time.sleep(0.05)
    return time.monotonic() - died


def marked(mark: str) -> list[int]:
    """Return the living processes of a run, and of those whose mark begins with this one."""
    wanted = f"\0{_MARK}={mark}".encode()
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                # A zombie has no environment any more.
                if wanted in b"\0" + (entry / "environ").read_bytes():
                    found.append(int(entry.name))
            except OSError:
                continue
    return found


def run_unbroken(job: Job, folder: Path, nursery: Nursery | None = None) -> tuple[Contents, float]:
    """Return what a job makes, and in which time.

    Raises:
        RuntimeError: it failed.
    """
    folder.mkdir(parents=True)
    started = time.monotonic()
    with start(job, folder, "unbroken", nursery) as process:
        code, errors = communicate(process)
    if code:
        raise RuntimeError(f"{job.name} ended with {code}: {errors}")
    return job.contents(folder / "out"), time.monotonic() - started


def main(argv: Sequence[str] | None = None) -> int:
    from results import write_result

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", nargs="+", help="only these")
    parser.add_argument("--cold", action="store_true", help="start each run as a command of its own")
    parser.add_argument("--nursery", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if options.nursery:
        serve_nursery()
        return 0
    trials, seconds = [], {}
    with tempfile.TemporaryDirectory() as name, nullcontext() if options.cold else Nursery() as nursery:
        folder = Path(name)
        for job in write_inputs(folder):
            if options.jobs and job.name not in options.jobs and job.name != "extract_faces":
                continue
            # The first one fills the caches.
            run_unbroken(job, folder / f"{job.name}-first", nursery)
            truth, seconds[job.name] = run_unbroken(job, folder / f"{job.name}-unbroken", nursery)
            if job.name == "extract_faces":
                shutil.copytree(folder / f"{job.name}-unbroken" / "out", folder / "store")
            if options.jobs and job.name not in options.jobs:
                continue
            draws = random.Random(options.seed)
            victims = ["main"] * options.kills + ["worker"] * (options.kills // 4 * job.has_workers)
            for number, victim in enumerate(victims):
                delay = draws.uniform(0, seconds[job.name])
                place = folder / f"{job.name}-{number}"
                trial = run_trial(
                    job, place, truth, delay_seconds=delay, victim=victim, seed=number, nursery=nursery
                )
                trials.append(trial)
                shutil.rmtree(place)
                said = "; ".join(trial.faults) or "ok"
                print(
                    f"{trial.job:14s} {victim:6s} {delay:5.2f} s, exit {trial.exit_code:3d}, "
                    f"{trial.num_finished:2d} done, others gone after {trial.orphan_seconds:.2f} s: {said}",
                    flush=True,
                )
    num_good = sum(not trial.faults for trial in trials)
    details = {
        "num_kills": len(trials),
        "unbroken_seconds": seconds,
        "num_in_the_middle": sum(trial.num_finished > 0 for trial in trials),
        "longest_orphan_seconds": max(trial.orphan_seconds for trial in trials),
        "trials": [asdict(trial) for trial in trials],
    }
    write_result("kill_nine", num_good, unit="kills without a fault", details=details)
    return 0 if num_good == len(trials) else 1


if __name__ == "__main__":
    sys.exit(main())
