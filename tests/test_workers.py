"""Processes for tasks: nothing is lost to one that dies, and none outlives the one that started it."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from emotemporal.errors import EmotemporalError, OutputError
from emotemporal.workers import Death, run_in_processes

# What runs in other processes must be importable there.
HANDLERS = """
import os, sys, time
from emotemporal.errors import OutputError
from emotemporal.workers import run_in_processes


def make():
    def handle(task, report):
        if task == "die":
            os._exit(9)
        if task == "full":
            raise OutputError("cannot write x")
        report(0.5)
        return task.upper(), os.getpid()

    return handle


def make_nothing():
    os._exit(7)


def make_sleeper():
    def handle(task, report):
        print(os.getpid(), flush=True)
        time.sleep(600)

    return handle


if __name__ == "__main__":
    list(run_in_processes(["a", "b"], make_sleeper, workers=2))
"""


@pytest.fixture
def handlers(tmp_path, monkeypatch):
    (tmp_path / "task_handlers.py").write_text(HANDLERS)
    monkeypatch.syspath_prepend(tmp_path)
    import task_handlers

    yield task_handlers
    del sys.modules["task_handlers"]


def is_alive(process: int) -> bool:
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    # Of nobody who would wait for it, it may stay as a name in a list.
    return state != "Z"


def test_a_dead_process_takes_one_task_with_it(handlers):
    shares = []
    found = dict(
        run_in_processes(
            ["a", "die", "b", "c"],
            handlers.make,
            workers=2,
            on_share=lambda task, share: shares.append((task, share)),
        )
    )
    assert found.pop("die") == Death(9)
    assert {task: result[0] for task, result in found.items()} == {"a": "A", "b": "B", "c": "C"}
    assert sorted(shares) == [("a", 0.5), ("b", 0.5), ("c", 0.5)]
    processes = {process for _, process in found.values()}
    assert os.getpid() not in processes
    assert not any(map(is_alive, processes))


def test_an_error_on_purpose_is_raised_here_and_ends_the_others(handlers):
    found = []
    with pytest.raises(OutputError, match="cannot write x"):
        found.extend(run_in_processes(["a", "full", *"bcdefgh"], handlers.make, workers=1))
    assert [task for task, _ in found] == ["a"]
    with pytest.raises(EmotemporalError, match="exit code 7 before it began; try --workers 1"):
        list(run_in_processes(["a", "b"], handlers.make_nothing, workers=2))


@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGINT])
def test_processes_end_with_the_one_that_started_them(handlers, root, sent):
    with subprocess.Popen(
        [sys.executable, handlers.__file__],
        env=os.environ | {"PYTHONPATH": str(root)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        process_group=0,
    ) as process:
        workers = [int(process.stdout.readline()) for _ in range(2)]
        assert all(map(is_alive, workers))
        # As a terminal does with Ctrl-C: to all of them.
        if sent == signal.SIGINT:
            os.killpg(process.pid, sent)
        else:
            process.send_signal(sent)
        _, errors = process.communicate()
    until = time.monotonic() + 20
    while any(map(is_alive, workers)) and time.monotonic() < until:
        time.sleep(0.05)
    assert not any(map(is_alive, workers))
    # One traceback, of the parent, which the command line turns into one line.
    assert errors.count("Traceback") == (sent == signal.SIGINT)
