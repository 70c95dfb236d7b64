"""Decoders that misbehave on purpose; the reader's child process imports them by name."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator

import numpy as np

from emotemporal.video.decoders import DecodedFrame, DecodeJob, decode_with_pyav


def _good_frames(job: DecodeJob, count: int) -> Iterator[DecodedFrame]:
    for _, frame in zip(range(count), decode_with_pyav(job), strict=False):
        yield frame


def hang(job: DecodeJob) -> Iterator[DecodedFrame]:
    yield from _good_frames(job, 5)
    time.sleep(600)


def hang_at_once(job: DecodeJob) -> Iterator[DecodedFrame]:
    time.sleep(600)
    yield from ()


def die(job: DecodeJob) -> Iterator[DecodedFrame]:
    yield from _good_frames(job, 5)
    os.kill(os.getpid(), signal.SIGKILL)


def fail(job: DecodeJob) -> Iterator[DecodedFrame]:
    yield from _good_frames(job, 5)
    raise RuntimeError("broken\nin two lines")


def lie_about_times(job: DecodeJob) -> Iterator[DecodedFrame]:
    for index, frame in enumerate(decode_with_pyav(job)):
        yield frame._replace(seconds=frame.seconds - 1000.0 * (index >= 7))


def give_nan_times(job: DecodeJob) -> Iterator[DecodedFrame]:
    for frame in decode_with_pyav(job):
        yield frame._replace(seconds=np.nan)


def invent_frames(job: DecodeJob) -> Iterator[DecodedFrame]:
    frame = None
    for frame in decode_with_pyav(job):
        yield frame
    yield DecodedFrame(np.zeros((job.height, job.width, 3), np.uint8), frame.seconds + 0.04)


def lose_frames(job: DecodeJob) -> Iterator[DecodedFrame]:
    yield from _good_frames(job, 9)


def repeat_times(job: DecodeJob) -> Iterator[DecodedFrame]:
    """As a damaged file: one time repeated, one missing."""
    for index, frame in enumerate(decode_with_pyav(job)):
        seconds = {4: 3 / 25, 7: np.nan}.get(index, frame.seconds)
        yield frame._replace(seconds=seconds)
