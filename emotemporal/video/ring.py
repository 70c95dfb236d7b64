"""The shared memory through which decoded frames reach the parent process."""

from __future__ import annotations

import mmap
import os
import tempfile
from dataclasses import dataclass

import numpy as np

_RING_BYTES = 128 << 20
"""Upper bound of the ring: at 1080p 21 frames, about 0.2 s of decoding ahead."""
_MIN_FRAMES = 2


@dataclass(frozen=True)
class RingShape:
    """How the ring is cut: slots of a few frames each; a slot is passed on as a whole."""

    num_slots: int
    slot_frames: int
    height: int
    width: int

    @classmethod
    def fit(cls, *, height: int, width: int, max_frames: int) -> RingShape:
        """Cut a ring of at most `max_frames` frames that stays within its memory."""
        affordable = _RING_BYTES // (height * width * 3)
        frames = max(_MIN_FRAMES, min(max_frames, affordable))
        slot_frames = max(1, frames // 6)
        return cls(frames // slot_frames, slot_frames, height, width)

    @property
    def array_shape(self) -> tuple[int, int, int, int, int]:
        return self.num_slots, self.slot_frames, self.height, self.width, 3

    @property
    def num_bytes(self) -> int:
        return int(np.prod(self.array_shape))


def create_ring(shape: RingShape) -> int:
    """Return the descriptor of new memory for a ring; it has no name, so nothing can be left behind.

    Memory from `memfd_create` does not count against the size of /dev/shm, which is 64 MB in many
    containers; where there is none, an unlinked temporary file serves.
    """
    try:
        descriptor = os.memfd_create("emotemporal-frames")
    except (AttributeError, OSError):
        with tempfile.TemporaryFile(prefix="emotemporal-frames-") as file:
            descriptor = os.dup(file.fileno())
    try:
        os.ftruncate(descriptor, shape.num_bytes)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def map_ring(descriptor: int, shape: RingShape) -> np.ndarray:
    """Return the ring as uint8 (slots, frames, H, W, 3); the mapping ends with the array."""
    memory = mmap.mmap(descriptor, shape.num_bytes)
    return np.frombuffer(memory, np.uint8).reshape(shape.array_shape)
