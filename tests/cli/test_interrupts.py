"""An interrupt is not lost, at whatever moment it comes."""

import signal
import subprocess
import sys
import textwrap
import threading
import time

import pytest

from emotemporal.cli.common import EXIT_INTERRUPTED, guarded
from emotemporal.cli.interrupts import call_interruptibly

_CAREFREE = """
import os, signal

try:
    os.kill(os.getpid(), signal.SIGINT)
    sum(range(100))
except BaseException:
    pass
is_loaded = True
"""
"""A module that takes whatever is raised for a no."""


def test_one_that_comes_while_a_module_is_loaded_is_raised_once_it_is(tmp_path, monkeypatch, capsys):
    (tmp_path / "carefree.py").write_text(_CAREFREE)
    monkeypatch.syspath_prepend(tmp_path)
    loaded = []

    @guarded
    def main(argv=None):
        import carefree

        loaded.append(carefree.is_loaded)
        threading.Event().wait(30)
        return 0

    assert main([]) == EXIT_INTERRUPTED
    assert loaded == [True]
    assert capsys.readouterr().err == "interrupted\n"
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_one_that_still_waits_at_the_end_is_raised_there(tmp_path, monkeypatch):
    (tmp_path / "carefree_too.py").write_text(_CAREFREE)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        call_interruptibly(lambda: __import__("carefree_too"))
    # And not a second time.
    time.sleep(0.2)


def test_any_other_is_raised_at_once():
    with pytest.raises(KeyboardInterrupt):
        call_interruptibly(lambda: signal.raise_signal(signal.SIGINT))


def test_a_program_that_is_itself_imported_can_be_interrupted(tmp_path):
    (tmp_path / "program.py").write_text(
        textwrap.dedent("""
            import signal
            from emotemporal.cli.interrupts import call_interruptibly

            try:
                call_interruptibly(lambda: signal.raise_signal(signal.SIGINT))
            except KeyboardInterrupt:
                print("at once")
        """)
    )
    done = subprocess.run(
        [sys.executable, "-c", "import program"],
        cwd=tmp_path,
        env={"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert done.stdout == "at once\n", done.stderr


def test_where_interrupts_are_not_heeded_they_stay_so():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        assert call_interruptibly(lambda: signal.getsignal(signal.SIGINT)) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_other_threads_do_not_touch_signals():
    found = []
    thread = threading.Thread(
        target=lambda: found.append(call_interruptibly(lambda: signal.getsignal(signal.SIGINT)))
    )
    thread.start()
    thread.join()
    assert found == [signal.default_int_handler]
