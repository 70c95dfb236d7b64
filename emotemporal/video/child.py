"""The parent's end of a decoding child process."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import weakref
from multiprocessing.connection import Connection, Pipe
from multiprocessing.reduction import send_handle
from typing import Any

import numpy as np

from emotemporal.video.decoders import DecodeJob
from emotemporal.video.ring import RingShape, create_ring, map_ring
from emotemporal.video.worker import DecodeOrder

_BOOT = (
    "import sys, json; sys.path[:] = json.loads(sys.argv[2]); "
    "from emotemporal.video.worker import main; main(int(sys.argv[1]))"
)
_idle: list[_Process] = []
"""At most one child that has ended its file well and can begin another: starting one takes 0.15 s."""
_LOOK_SECONDS = 0.1
_DECORD_MEMORY_BYTES = 1 << 30


class ChildFailed(Exception):
    """The child reported an error, died or fell silent."""


class _Process:
    """A child process that waits for files to decode; it ends with this object."""

    def __init__(self) -> None:
        self.owner = os.getpid()
        self.paths = list(sys.path)
        self.peer, theirs = Pipe()
        with theirs:
            self.errors = tempfile.TemporaryFile()  # noqa: SIM115 - open as long as the child
            self.popen = _start(theirs.fileno(), self.errors)
        self.end = weakref.finalize(self, _end, self.owner, self.popen, self.peer, self.errors)

    @property
    def is_usable(self) -> bool:
        """False once it has died, would import other modules, or is that of a process we were forked from."""
        is_ours = self.owner == os.getpid() and self.paths == sys.path
        return is_ours and self.popen.poll() is None and not self.peer.poll()


def prepare_child() -> None:
    """Start a child for the next file, if none is there, so that it is ready by then."""
    if not any(process.is_usable for process in _idle):
        _idle[:] = [_Process()]


def _take_process() -> _Process:
    with contextlib.suppress(IndexError):
        while True:
            process = _idle.pop()
            if process.is_usable:
                return process
            process.end()
    return _Process()


class DecodingChild:
    """One decoder at work on one file in a process of its own.

    A plain interpreter is started rather than a `multiprocessing` child: that one would import the
    caller's main module again, and with it torch.

    Args:
        function: `module:function` of the decoder.
        ring_shape: how much may be decoded ahead.
        timeout_seconds: how long the child may be silent while it has room to decode into.
        bound_memory: stop the process while the ring is full, for decoders that decode ahead on their own.
    """

    def __init__(
        self,
        job: DecodeJob,
        *,
        function: str,
        ring_shape: RingShape,
        timeout_seconds: float,
        bound_memory: bool,
    ) -> None:
        self._timeout_seconds = timeout_seconds
        self._unreported = 0
        self._is_reusable = False
        order = DecodeOrder(
            job=job,
            function=function,
            ring_shape=ring_shape,
            stop_when_full=bound_memory,
            memory_limit_bytes=_DECORD_MEMORY_BYTES if bound_memory else sys.maxsize,
            suicide_seconds=2 * timeout_seconds + 5,
        )
        descriptor = create_ring(ring_shape)
        try:
            self._ring = map_ring(descriptor, ring_shape)
            process = _take_process()
            self._held: _Process | None = process
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # `receive` says why it died
                process.peer.send(order)
                send_handle(process.peer, descriptor, process.popen.pid)
        finally:
            os.close(descriptor)

    def close(self) -> None:
        """Give up the file; a child that has ended it well may serve another."""
        process, self._held = self._held, None
        if process is None:
            return
        if self._is_reusable and not _idle:
            _idle.append(process)
        else:
            process.end()

    @property
    def _process(self) -> _Process:
        assert self._held is not None  # nothing is asked of it once it is closed
        return self._held

    @property
    def process_id(self) -> int:
        return self._process.popen.pid

    def receive(self) -> tuple[Any, ...]:
        """Return the next message; see `emotemporal.video.worker`.

        Raises:
            ChildFailed: the child reported a failure, died, or was silent for too long.
        """
        deadline = time.monotonic() + self._timeout_seconds
        peer = self._process.peer
        try:
            self._report_freed()
            while True:
                # It may have stopped itself after our last report: wake it at every look.
                with contextlib.suppress(ProcessLookupError):
                    self._process.popen.send_signal(signal.SIGCONT)
                if peer.poll(_LOOK_SECONDS):
                    message = peer.recv()
                    break
                if time.monotonic() > deadline:
                    raise ChildFailed(f"no frame within {self._timeout_seconds:g} s")
        except (EOFError, BrokenPipeError, ConnectionResetError) as error:
            raise ChildFailed(self._describe_death()) from error
        if message[0] == "failed":
            raise ChildFailed(message[1])
        if message[0] == "end":
            self._is_reusable = message[2]
        return message

    def view(self, slot: int) -> np.ndarray:
        """Return the frames of a slot, uint8 (F, H, W, 3), shared with the child until it is freed."""
        return self._ring[slot]

    def free_slot(self) -> None:
        """Let the child overwrite the slot that was received first."""
        self._unreported += 1

    def _report_freed(self) -> None:
        if self._unreported:
            self._process.peer.send(self._unreported)
            self._unreported = 0

    def _describe_death(self) -> str:
        try:
            code = self._process.popen.wait(timeout=5)
        except subprocess.TimeoutExpired:
            return "its process closed the connection"
        if code < 0:
            return f"its process was ended by {signal.Signals(-code).name}"
        self._process.errors.seek(0)
        lines = self._process.errors.read().decode(errors="replace").strip().splitlines()
        return f"its process ended with status {code}" + (f" ({lines[-1][:200]})" if lines else "")


def _start(connection: int, errors: Any) -> subprocess.Popen[bytes]:
    paths = [os.path.abspath(entry) for entry in sys.path]
    # The child calculates nothing: threads of a linear algebra library would only cost it memory.
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    # A child that stops itself must be alone in its process group: when the parent dies, the kernel wakes
    # and hangs up an orphaned group. It also leaves the terminal's Ctrl-C to the parent.
    return subprocess.Popen(
        [sys.executable, "-c", _BOOT, str(connection), json.dumps(paths)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=errors,
        pass_fds=(connection,),
        env=environment,
        process_group=0,
    )


def _end(owner: int, process: subprocess.Popen[bytes], peer: Connection, errors: Any) -> None:
    # Not from a forked copy of the process whose child it is.
    if owner == os.getpid():
        process.kill()
        process.wait()
    peer.close()
    errors.close()
