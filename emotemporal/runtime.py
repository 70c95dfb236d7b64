"""Where and how networks run: device, backend, threads."""

from __future__ import annotations

import ctypes
import sys
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from emotemporal.compiled import is_available
from emotemporal.errors import UsageError
from emotemporal.models.classifier import Backend

BackendChoice = Literal["auto", "torch", "openvino"]
Device = Literal["cpu", "cuda"]
_NVIDIA_DRIVERS = ("libcuda.so.1", "nvcuda.dll")
_AMD_DEVICE = Path("/dev/kfd")
"""PyTorch calls AMD's devices CUDA devices as well."""


def choose_device(name: str) -> Device:
    """Return the device for `auto`, `cpu` or `cuda`.

    Raises:
        UsageError: CUDA was asked for and is not there.
    """
    if name == "cpu":
        return "cpu"
    there = _has_cuda()
    if name == "cuda" and not there:
        raise UsageError("--device cuda: no CUDA device is present; use --device cpu or auto")
    return "cuda" if there else "cpu"


def _is_loadable(library: str) -> bool:
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True


def _has_cuda() -> bool:
    # PyTorch takes a second to load and half a gigabyte: it is asked only where there is a driver.
    if not (_AMD_DEVICE.exists() or any(map(_is_loadable, _NVIDIA_DRIVERS))):
        return False
    import torch

    return torch.cuda.is_available()


@contextmanager
def one_torch_thread() -> Iterator[None]:
    """Let PyTorch, where it is in use, work in one thread: several cost more than little arrays save.

    Sums depend on how many share them; with one they are the same on every machine.
    """
    torch = sys.modules.get("torch")
    if torch is None:
        yield
        return
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def choose_backend(name: BackendChoice, device: str) -> Backend:
    """Return what runs the networks: for `auto` OpenVINO on a CPU, where it is installed, else PyTorch."""
    if name == "auto":
        return "openvino" if device == "cpu" and is_available() else "torch"
    return name


class InOrder:
    """Calls a function in a thread of its own; its results come in the order of the calls."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function
        self._thread = ThreadPoolExecutor(1)
        self._waiting: deque[tuple[Any, Future]] = deque()

    def __enter__(self) -> InOrder:
        return self

    def __exit__(self, *error: object) -> None:
        self._thread.shutdown(cancel_futures=True)

    def submit(self, key: Any, *arguments: Any) -> None:
        self._waiting.append((key, self._thread.submit(self._function, *arguments)))

    def results(self, *, max_left: int) -> Iterator[tuple[Any, Any]]:
        """Yield keys with their results until no more than `max_left` are still to come."""
        while len(self._waiting) > max_left:
            key, future = self._waiting.popleft()
            yield key, future.result()
