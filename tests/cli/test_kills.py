"""Commands killed and interrupted at work: what `benchmarks/kill_nine.py` does at length, a few times."""

import os
import random
import shutil
import signal
import time
from dataclasses import replace
from pathlib import Path

import pytest
from kill_nine import Nursery, communicate, marked, run_trial, run_unbroken, start
from killed_jobs import Job, extract_job, predict_job, train_clip_job, train_frame_job, write_faces

pytestmark = pytest.mark.timeout(400)
COMMANDS = ("predict_clip", "extract_faces", "train_frame", "train_clip")


@pytest.fixture(scope="module")
def nursery():
    with Nursery() as found:
        yield found


@pytest.fixture(scope="module")
def jobs(tmp_path_factory, short_clip, manifest, store, tiny_clip_checkpoint, tiny_frame_checkpoint):
    """Small jobs of one process by name."""
    folder = tmp_path_factory.mktemp("inputs")
    for name in "abc":
        shutil.copy(short_clip, folder / f"{name}.mp4")
    write_faces(folder / "faces.csv")
    one = ["--workers", "1"]
    weights = ["--checkpoint", str(tiny_clip_checkpoint), "--backend", "torch"]
    every = [
        predict_job(str(folder), *one, *weights),
        extract_job(str(manifest), *one),
        train_frame_job(str(folder / "faces.csv"), "--optim.epochs", "4"),
        train_clip_job(str(store), str(tiny_frame_checkpoint), "--protocol", "none"),
    ]
    return {job.name: job for job in every}


@pytest.mark.parametrize("name", COMMANDS)
def test_a_killed_run_is_gone_on_with(nursery, jobs, tmp_path, name):
    truth, seconds = run_unbroken(jobs[name], tmp_path / "whole", nursery)
    draws = random.Random(0)
    for i in range(2):
        delay = draws.uniform(0.3, 1.0) * seconds
        trial = run_trial(
            jobs[name], tmp_path / str(i), truth, delay_seconds=delay, victim="main", nursery=nursery
        )
        assert not trial.faults


@pytest.mark.parametrize("name", [*COMMANDS, "one video", "evaluate", "live"])
def test_an_interrupt_is_one_line_and_nothing_is_left(
    nursery, jobs, tmp_path, root, name, short_clip, manifest, tiny_clip_checkpoint
):
    weights = ["--checkpoint", str(tiny_clip_checkpoint)]
    endless = str(root / "examples" / "demo.mp4")
    others = {
        "one video": ["predict_clip.py", endless, "--output-dir", "out", "--overlay", *weights],
        "evaluate": ["evaluate.py", "--data", str(manifest), *weights],
        "live": ["live.py", endless, "--max-delay", "60000", *weights],
    }
    job = jobs.get(name)
    if name.startswith("train"):
        # Not over before it is interrupted.
        job = replace(job, arguments=[*job.arguments, "--optim.epochs", "10000"])
    if job is None:
        tool, *flags = others[name]
        job = Job(name, [str(root / "tools" / tool), *flags], None, None, None)
    with start(job, tmp_path, f"interrupt {name}", nursery) as process:
        _await_handler(process.pid)
        os.kill(process.pid, signal.SIGINT)
        code, errors = communicate(process)
    assert code == 130, errors
    assert errors.splitlines()[-1] == "interrupted"
    assert "Traceback" not in errors
    until = time.monotonic() + 30
    while marked(f"interrupt {name}") and time.monotonic() < until:
        time.sleep(0.05)
    assert not marked(f"interrupt {name}")
    assert not list(tmp_path.rglob(".emotemporal-*"))


def _await_handler(pid: int) -> None:
    """Wait until a fork is at work, by the processor time that it has used."""
    ticks = os.sysconf("SC_CLK_TCK")
    while True:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        # What a fork begins with is zero.
        if (int(fields[11]) + int(fields[12])) / ticks > 0.2:
            return
        time.sleep(0.01)
