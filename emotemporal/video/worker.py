"""The child process: decodes one file after the other into a shared ring until it is told to stop.

It imports neither torch nor anything else that is slow to load. Messages to the parent are tuples:
`("frames", slot, seconds, notes)`, `("alive",)`, `("end", damage or None, ready for another file)`,
`("failed", reason)`; for each file the parent sends the order and the ring's descriptor, then a number of
freed slots each time.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import os
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from multiprocessing.connection import Connection
from multiprocessing.reduction import recv_handle

import numpy as np

from emotemporal.video.decoders import DamagedFile, DecodedFrame, DecodeJob, DecoderFault
from emotemporal.video.ring import RingShape, map_ring

_SIGN_OF_LIFE_SECONDS = 1.0
_MAX_STOP_SECONDS = 1
_MAX_IDLE_BYTES = 400 << 20
"""A process that a file has left larger is not used for another."""


@dataclass(frozen=True)
class DecodeOrder:
    """Everything the child is told."""

    job: DecodeJob
    function: str
    """`module:function` of the decoder."""
    ring_shape: RingShape
    stop_when_full: bool
    """Stop the whole process while the ring is full. decord's own threads decode ahead without bound
    (1 GB within three seconds at 1080p) whatever the reader does; a stopped process does not."""
    memory_limit_bytes: int
    """Give up when the process grows beyond this."""
    suicide_seconds: float
    """The kernel ends the process when one slot takes longer, should nobody be left to end it."""


def main(descriptor: int) -> None:
    """Serve the parent at the other end of the connection `descriptor`."""
    with contextlib.suppress(EOFError, BrokenPipeError, ConnectionResetError), Connection(descriptor) as peer:
        while True:
            order = peer.recv()
            if not isinstance(order, DecodeOrder):  # the parent still frees slots of the last file
                continue
            try:
                _Server(peer, order, recv_handle(peer)).serve()
            except (EOFError, BrokenPipeError, ConnectionResetError):
                raise
            except Exception as error:
                peer.send(("failed", _describe(error)))
            signal.setitimer(signal.ITIMER_REAL, 0.0)


class _Server:
    """Fills slots of the ring and hands them over."""

    def __init__(self, peer: Connection, order: DecodeOrder, ring: int) -> None:
        self._peer = peer
        self._order = order
        self._ring = map_ring(ring, order.ring_shape)
        os.close(ring)  # the mapping stays
        self._slot = 0
        self._num_free = order.ring_shape.num_slots
        self._seconds: list[float] = []
        self._notes: list[str] = []
        self._stop = _timed_stop() if order.stop_when_full else None

    def serve(self) -> None:
        damage = None
        last_sign = time.monotonic()
        frames = _import_function(self._order.function)(self._order.job)
        try:
            self._set_alarm()
            for frame in frames:
                if frame.pixels is not None:
                    self._put(frame.pixels, frame)
                elif time.monotonic() - last_sign > _SIGN_OF_LIFE_SECONDS:
                    last_sign = time.monotonic()
                    self._peer.send(("alive",))
                    self._set_alarm()
        except DamagedFile as error:
            damage = str(error)
        finally:
            self._hand_over()  # what was decoded before a failure counts
        is_small = _resident_bytes() < _MAX_IDLE_BYTES
        self._peer.send(("end", damage, is_small))

    def _put(self, pixels: np.ndarray, frame: DecodedFrame) -> None:
        if not self._seconds:
            self._await_slot()
        np.copyto(self._ring[self._slot, len(self._seconds)], pixels)
        self._seconds.append(frame.seconds)
        if frame.note:
            self._notes.append(frame.note)
        if len(self._seconds) == self._order.ring_shape.slot_frames:
            self._hand_over()

    def _hand_over(self) -> None:
        if not self._seconds:
            return
        self._peer.send(("frames", self._slot, self._seconds, self._notes))
        self._seconds, self._notes = [], []
        self._slot = (self._slot + 1) % self._order.ring_shape.num_slots
        self._num_free -= 1
        if _resident_bytes() > self._order.memory_limit_bytes:
            raise DecoderFault("it keeps too many frames in memory")

    def _await_slot(self) -> None:
        """Wait until the parent has freed a slot; while waiting no alarm runs."""
        self._set_alarm(0.0)
        while self._peer.poll():
            self._num_free += self._peer.recv()
        while not self._num_free:
            if self._stop is not None:
                self._stop()  # the parent's next look wakes it
            if self._peer.poll(None if self._stop is None else 0.0):
                self._num_free += self._peer.recv()
        self._set_alarm()

    def _set_alarm(self, seconds: float | None = None) -> None:
        signal.setitimer(signal.ITIMER_REAL, self._order.suicide_seconds if seconds is None else seconds)


@cache
def _timed_stop() -> Callable[[], None]:
    """Return what stops this process until it is woken, at most for `_MAX_STOP_SECONDS`.

    When the parent is killed the kernel wakes and ends a stopped orphan, but not in a container whose first
    process has the same session: there it would stay for ever. Without POSIX timers it still may;
    other alarms do not reach what is stopped.
    """
    libc, timer = ctypes.CDLL(None), ctypes.c_void_p()
    # struct sigevent: 8 bytes of value, the signal, SIGEV_SIGNAL (0), padding.
    event = (ctypes.c_int * 16)(0, 0, signal.SIGCONT)
    has_timer = hasattr(libc, "timer_create") and not libc.timer_create(
        time.CLOCK_MONOTONIC, event, ctypes.byref(timer)
    )

    def stop() -> None:
        if has_timer:
            # struct itimerspec: seconds and nanoseconds, first of the repetition.
            libc.timer_settime(timer, 0, (ctypes.c_long * 4)(0, 0, _MAX_STOP_SECONDS, 0), None)
        os.kill(os.getpid(), signal.SIGSTOP)

    return stop


def _describe(error: Exception) -> str:
    text = " ".join(str(error).split())[:200]
    return text if isinstance(error, DecoderFault) else f"{type(error).__name__}: {text}"


def _import_function(name: str) -> Callable[[DecodeJob], Iterator[DecodedFrame]]:
    module, _, function = name.partition(":")
    return getattr(importlib.import_module(module), function)


def _resident_bytes() -> int:
    """Return the memory of this process, 0 where the system does not tell it cheaply."""
    try:
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0
