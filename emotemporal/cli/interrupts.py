"""Ctrl-C at a moment when it is not lost."""

from __future__ import annotations

import _thread
import signal
import sys
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import TypeVar

T = TypeVar("T")

_IMPORT_SYSTEM = "<frozen importlib._bootstrap>"
_RETRY_SECONDS = 0.05


def call_interruptibly(work: Callable[[], T]) -> T:
    """Call `work`; an interrupt while it imports a module is raised once that module is loaded.

    Modules that try whether something is installed may take a KeyboardInterrupt for a no, and the command
    would go on to its end; compiled ones may end the process. Where interrupts are not left to Python's own
    handler, as in a job in the background, they stay as they are.
    """
    in_main_thread = threading.current_thread() is threading.main_thread()
    if not in_main_thread or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        return work()
    base, main_thread = sys._getframe(), threading.get_ident()
    # Whoever presses twice gets one.
    is_waiting, is_over = False, False

    def retry() -> None:
        nonlocal is_waiting
        time.sleep(_RETRY_SECONDS)
        if not is_over:
            is_waiting = False
            _interrupt(main_thread)

    def handle(number: int, frame: FrameType | None) -> None:
        nonlocal is_waiting
        if not _is_importing(frame, base):
            signal.default_int_handler(number, frame)
        if not is_waiting:
            is_waiting = True
            # Not `threading.Thread`, whose locks the interrupted code may hold.
            _thread.start_new_thread(retry, ())

    signal.signal(signal.SIGINT, handle)
    try:
        result = work()
    finally:
        is_over = True
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if is_waiting:
        raise KeyboardInterrupt
    return result


def _interrupt(main_thread: int) -> None:
    if hasattr(signal, "pthread_kill"):
        # A signal of its own ends what the thread may be waiting for.
        signal.pthread_kill(main_thread, signal.SIGINT)
    else:
        _thread.interrupt_main()


def _is_importing(frame: FrameType | None, base: FrameType) -> bool:
    """True if a module is being loaded by what `base` has called; it may itself be called by an import."""
    while frame is not None and frame is not base:
        if frame.f_code.co_filename == _IMPORT_SYSTEM:
            return True
        frame = frame.f_back
    return False
