"""What a report page holds of an analysis, small enough to be embedded.

Probabilities are 8-bit numbers, boxes are told to 1/2048 of the picture's longer side, times to a
microsecond. All is laid out so that neighbouring numbers are alike (differences in time, one emotion or one
byte of all frames after the other) and then deflated. `assets/data.js` reads it again. Where a long video
would make the page too large, frames are taken together: first in the probabilities of single frames, then in
the boxes, at last in the smoothed probabilities. The smoothed labels and their segments stay exact.
"""

from __future__ import annotations

import base64
import json
import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np

from emotemporal.labelling.statistics import frame_ends, segments_table
from emotemporal.structures import VideoAnalysis

BUDGET_BYTES = 2_600_000
"""Of all that is embedded, as text. The rest of a page takes some 100 kB: together they stay below 3 MB."""
# Of the picture's longer side; on a screen a page's video is rarely wider.
_BOX_STEPS = 2048
_TIME_BYTES = 6
# Of 1024 frames hardly anything is left to see; what is too large then stays too large.
_MAX_TOGETHER = 1024


@dataclass(frozen=True)
class PageData:
    """An analysis as it is embedded."""

    layout: dict[str, Any]
    """JSON-ready: what the streams hold, and what is short."""
    streams: dict[str, str]
    """Deflated bytes as base64: `frames`, `boxes`, `smoothed` and `raw`."""
    together: dict[str, int]
    """Of `boxes`, `smoothed` and `raw`: how many frames were taken together."""


def pack_analysis(analysis: VideoAnalysis, *, budget_bytes: int = BUDGET_BYTES) -> PageData:
    """Pack what a page shows.

    Args:
        analysis: of a video or a picture.
        budget_bytes: of the streams as base64, together. A very long video's times and segments alone may
            take more.
    """
    packers = {"raw": _pack_raw, "boxes": _pack_boxes, "smoothed": _pack_smoothed}
    together = dict.fromkeys(packers, 1)
    segments = _segments(analysis)
    streams = {"frames": _deflate(_pack_frames(analysis, segments))}
    streams |= {name: _deflate(pack(analysis, 1)) for name, pack in packers.items()}
    while sum(map(len, streams.values())) > budget_bytes:
        name = _next_to_thin(together)
        if name is None:
            break
        together[name] *= 2
        streams[name] = _deflate(packers[name](analysis, together[name]))
    starts = np.searchsorted(analysis.frame_index, [track.frame_index[0] for track in analysis.tracks])
    layout = {
        "width": analysis.info.width,
        "height": analysis.info.height,
        "labels": list(analysis.labels),
        "told": list(analysis.told_labels),
        "num_frames": len(analysis.pts_seconds),
        "end_seconds": float(frame_ends(analysis)[-1]),
        "box_step": _box_step(analysis),
        "together": together,
        "text_bytes": len(segments),
        "people": [
            {"id": int(track.track_id), "first": int(first), "num_frames": len(track)}
            for track, first in zip(analysis.tracks, starts, strict=True)
        ],
    }
    return PageData(layout, streams, together)


def quantised(probs: np.ndarray) -> np.ndarray:
    """Return (N, C) probabilities as uint8, 255 for 1; the largest of a row stays the first largest."""
    levels = np.round(255 * probs).astype(np.uint8)
    winner = probs.argmax(1)
    tied = np.flatnonzero(levels.argmax(1) != winner)
    levels[tied, winner[tied]] += 1
    return levels


def _next_to_thin(together: dict[str, int]) -> str | None:
    """Return what to thin next: the raw first, boxes an eighth as much, the smoothed least."""
    ranks = {"raw": 1, "boxes": 8, "smoothed": 16}
    left = [name for name in together if together[name] < _MAX_TOGETHER]
    return min(left, key=lambda name: together[name] * ranks[name], default=None)


def _segments(analysis: VideoAnalysis) -> bytes:
    """Return the rows of `segments_table` of each person as JSON.

    Of a row: label, frames, mean and peak of its probability, the peak's frame within the video. When a
    segment begins and ends follows from the frames.
    """
    place = {name: index for index, name in enumerate(analysis.told_labels)}
    people: dict[int, list[list[float]]] = {int(track.track_id): [] for track in analysis.tracks}
    for row in segments_table(analysis).itertuples():
        peak = int(np.searchsorted(analysis.pts_seconds, row.peak_seconds))
        numbers = [round(row.mean_intensity, 4), round(row.peak_intensity, 4), peak]
        people[row.track_id].append([place[row.emotion], row.num_frames, *numbers])
    return json.dumps(list(people.values()), separators=(",", ":")).encode()


def _pack_frames(analysis: VideoAnalysis, segments: bytes) -> bytes:
    """Return segments, times, numbers of the frames, and how each box came about."""
    micros = np.round(1e6 * analysis.pts_seconds).astype(np.int64)
    parts = [segments, _planes(_twice_differenced(micros), _TIME_BYTES)]
    parts.append(_planes(_twice_differenced(analysis.frame_index), _TIME_BYTES))
    parts += [track.status.tobytes() for track in analysis.tracks]
    return b"".join(parts)


def _pack_boxes(analysis: VideoAnalysis, together: int) -> bytes:
    """Return left, top, width and height of every `together`-th box and of the last, person by person."""
    parts = []
    for track in analysis.tracks:
        corners = track.boxes[_kept(len(track), together)] / _box_step(analysis)
        corners = corners.round().clip(-(1 << 13), 1 << 14).astype(np.int64)
        values = np.hstack([corners[:, :2], corners[:, 2:] - corners[:, :2]])
        parts += [_planes(np.diff(column, prepend=0), 2) for column in values.T]
    return b"".join(parts)


def _pack_smoothed(analysis: VideoAnalysis, together: int) -> bytes:
    return b"".join(_pack_probs(timeline.smoothed_probs, together) for timeline in analysis.timelines)


def _pack_raw(analysis: VideoAnalysis, together: int) -> bytes:
    return b"".join(_pack_probs(timeline.frame_probs, together) for timeline in analysis.timelines)


def _pack_probs(probs: np.ndarray, together: int) -> bytes:
    """Return (L, C) probabilities, means of `together` frames, emotion by emotion as differences."""
    first = np.arange(0, len(probs), together)
    counts = np.diff(np.append(first, len(probs)))[:, None]
    means = np.add.reduceat(probs.astype(np.float64), first) / counts if together > 1 else probs
    columns = quantised(means).T
    return np.diff(columns, axis=1, prepend=np.uint8(0)).astype(np.uint8).tobytes()


def _kept(num_frames: int, together: int) -> np.ndarray:
    return np.unique(np.append(np.arange(0, num_frames, together), num_frames - 1))


def _box_step(analysis: VideoAnalysis) -> float:
    """Return the unit of boxes in pixels."""
    return max(analysis.info.width, analysis.info.height) / _BOX_STEPS


def _twice_differenced(values: np.ndarray) -> np.ndarray:
    return np.diff(np.diff(values, prepend=0), prepend=0)


def _planes(values: np.ndarray, num_bytes: int) -> bytes:
    """Return integers byte by byte: the lowest ones of all, then the next; the sign is the lowest bit."""
    folded = np.where(values < 0, -2 * values - 1, 2 * values).astype("<u8")
    return folded.view(np.uint8).reshape(-1, 8)[:, :num_bytes].T.tobytes()


def _deflate(data: bytes) -> str:
    return base64.b64encode(zlib.compress(data, 6)).decode("ascii")
