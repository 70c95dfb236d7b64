"""A frame training as a process: killed, out of disk, in several processes."""

import hashlib
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from emotemporal.checkpoint import load_checkpoint
from emotemporal.datasets.fer2013 import read_fer2013
from emotemporal.training.evaluation import evaluate_frames

TOOL = Path(__file__).resolve().parents[2] / "tools" / "train_frame.py"
pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]


def start(data: Path, folder: Path, *more: str, max_file_bytes: int | None = None) -> subprocess.Popen:
    command = [sys.executable, str(TOOL), "--data", str(data), "--run.folder", str(folder)]
    command += ["--backbone.widths", "[8,16]", "--backbone.depths", "[1,1]", "--optim.epochs", "10"]
    command += ["--run.accelerator", "cpu", "--run.precision", "32-true", "--optim.batch_size", "16"]
    command += ["--optim.lr", "0.05", "--optim.ema_decay", "0.8", *more]

    def limit() -> None:
        if max_file_bytes is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (max_file_bytes, max_file_bytes))

    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
    return subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        preexec_fn=limit,
    )


def lines_of(process: subprocess.Popen) -> list[str]:
    stdout, stderr = process.communicate()
    assert process.returncode == 0, stderr
    return [line.split(":")[0] for line in stdout.splitlines() if line.startswith(("epoch", "resuming"))]


def test_two_processes_train_one_network_and_one_goes_on_from_it(toy_fer2013, tmp_path):
    assert lines_of(start(toy_fer2013, tmp_path, "--run.devices", "2")) == [
        f"epoch {i}" for i in range(1, 11)
    ]
    faces = read_fer2013(toy_fer2013).split("PublicTest")
    assert evaluate_frames(load_checkpoint(tmp_path / "best.safetensors"), faces)["accuracy"] > 0.4
    assert lines_of(start(toy_fer2013, tmp_path)) == ["resuming after epoch 10 of 10"]


def test_a_full_disk_keeps_the_last_state_and_a_killed_run_goes_on(toy_fer2013, tmp_path):
    first = start(toy_fer2013, tmp_path)
    for line in first.stdout:
        if line.startswith("epoch 2:"):
            first.send_signal(signal.SIGKILL)
            break
    first.communicate()
    state = tmp_path / "last.ckpt"
    before = hashlib.sha256(state.read_bytes()).hexdigest()

    # A file that may not grow fails as a full disk does.
    starved = start(toy_fer2013, tmp_path, max_file_bytes=4096)
    _, stderr = starved.communicate()
    assert starved.returncode == 1
    errors = [line for line in stderr.splitlines() if line.startswith("error:")]
    assert len(errors) == 1
    assert "cannot write" in errors[0]
    assert "Traceback" not in stderr
    assert hashlib.sha256(state.read_bytes()).hexdigest() == before

    lines = lines_of(start(toy_fer2013, tmp_path))
    assert lines[0].startswith("resuming after epoch")
    assert lines[-1] == "epoch 10"
