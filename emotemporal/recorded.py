"""Networks on a GPU, recorded once for each shape of their input and from then on started as a whole.

The kernels of a small network take longer to be started from Python, one by one, than to run: on an H200
5.7 ms for the frame network on a dozen faces. What follows the faces on the processor meanwhile waits for
the interpreter. A recording, in CUDA's words a graph, is started in one call.
"""

from __future__ import annotations

import gc
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

_MAX_RECORDINGS = 64
"""Those used last are kept: a dozen for each size of video, and the numbers of faces, in powers of two."""
_recording = threading.Lock()
"""Held while one is made: what waits for the whole device, as first uses of libraries do, would spoil it."""


@contextmanager
def unrecorded(device: torch.device) -> Iterator[None]:
    """Run networks directly on a device, in this block, while no other thread records one."""
    if device.type == "cpu":
        yield
    else:
        with _recording:
            yield


class _Recording(NamedTuple):
    graph: torch.cuda.CUDAGraph
    taken: Tensor
    given: tuple[Tensor, ...]


class RecordedNetwork:
    """A network on a CUDA device; may be called from several threads.

    Args:
        network: takes a batch and gives tensors with a row for each of its; all on the device, in kernels
            that depend on the shape of the batch alone.
        device: where it runs.
    """

    def __init__(self, network: Callable[[Tensor], tuple[Tensor, ...]], device: torch.device | str) -> None:
        self._network = network
        self._device = torch.device(device)
        self._stream = torch.cuda.Stream(self._device)
        # One recording's outputs are copied before the next one is started, in the stream's order.
        self._pool = torch.cuda.graph_pool_handle()
        self._recordings: OrderedDict[tuple[int, ...], _Recording] = OrderedDict()
        self._lock = threading.Lock()

    def __call__(self, batch: np.ndarray) -> tuple[np.ndarray, ...]:
        """Run on uint8 (B, ...), B at least 1; each output is (B, ...)."""
        return self.run_all([batch])[0]

    @torch.inference_mode()
    def run_all(self, batches: Iterable[np.ndarray]) -> list[tuple[np.ndarray, ...]]:
        """Run on batches of any shapes, and wait for the device once."""
        with self._lock, torch.cuda.stream(self._stream):
            found = [self._start(torch.from_numpy(batch)) for batch in batches]
            self._stream.synchronize()
        return [tuple(part.numpy() for part in parts) for parts in found]

    def _start(self, batch: Tensor) -> list[Tensor]:
        # Few recordings for any number of faces; rows beyond it hold those of a batch before.
        rows = 1 << (len(batch) - 1).bit_length()
        shape = (rows, *batch.shape[1:])
        recording = self._recordings.pop(shape, None) or self._record(shape)
        self._recordings[shape] = recording
        if len(self._recordings) > _MAX_RECORDINGS:
            # It may still run.
            self._stream.synchronize()
            self._recordings.popitem(last=False)
        recording.taken[: len(batch)].copy_(batch, non_blocking=True)
        recording.graph.replay()
        return [part[: len(batch)].to("cpu", non_blocking=True) for part in recording.given]

    def _record(self, shape: tuple[int, ...]) -> _Recording:
        with _recording:
            taken = torch.zeros(shape, dtype=torch.uint8, device=self._device)
            # What libraries set up when they are first used cannot be recorded.
            self._network(taken)
            graph = torch.cuda.CUDAGraph()
            # Other recordings may be run by other threads meanwhile.
            with (
                _no_collection(),
                torch.cuda.graph(graph, self._pool, self._stream, capture_error_mode="thread_local"),
            ):
                given = self._network(taken)
        return _Recording(graph, taken, given)


@contextmanager
def _no_collection() -> Iterator[None]:
    """Leave garbage where it is: it may hold recordings, which cannot be let go while another is made."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
