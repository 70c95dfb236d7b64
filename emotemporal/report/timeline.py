"""One picture of a video: what everyone in it shows, over its whole time.

Drawn through matplotlib's objects alone, like `plots`. Probabilities are those of the frames, the band below
them is the smoothed label, so that what smoothing did can be seen.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle
from matplotlib.ticker import FuncFormatter, MaxNLocator

from emotemporal.errors import UsageError
from emotemporal.faces.shots import ShotCutDetector
from emotemporal.labelling.segments import Segment, to_segments
from emotemporal.labelling.statistics import frame_ends
from emotemporal.labels import UNCERTAIN
from emotemporal.progress import Progress, silent
from emotemporal.report.palette import INK, emotion_hatch, emotion_hex, text_hex
from emotemporal.report.plots import save_figure
from emotemporal.report.tables import clock, duration
from emotemporal.structures import EmotionTimeline, FrameBatch, Track, VideoAnalysis
from emotemporal.text import media_name, printable
from emotemporal.video.reader import VideoReader

_INK = (INK[0] / 255, INK[1] / 255, INK[2] / 255)
_MUTED = "#5c626c"
_FAINT = "#b0b5bd"
_GAP = "#f1f2f4"
_BEYOND = 224
# Inches. Thumbnails at 150 dots an inch are then 87 pixels wide.
_WIDTH, _LEFT, _RIGHT = 13.0, 1.05, 1.75
_TOP, _BOTTOM, _LANE, _BETWEEN = 1.0, 0.55, 1.75, 0.16
# A thumbnail's place, of which so much is its picture.
_THUMB, _THUMB_USED = 0.58, 0.95
# A lane in its own height: thumbnails above, probabilities, the band of labels below.
_BAND, _CHART = (0.0, 0.12), (0.15, 0.60)
_THUMBS = 0.66
_THUMB_PX = 96
_FACE_MARGIN = 0.15
# More points than this are not told apart on the width of the picture.
_MAX_POINTS = 1600
# A picture of more could not be drawn any more.
_MAX_LANES = 60


@dataclass(frozen=True, eq=False)
class _Lane:
    """What one person's lane is made of."""

    track: Track
    timeline: EmotionTimeline
    segments: list[Segment]
    ends: np.ndarray
    """float64 (L,), ends of the person's frames."""
    thumb_frames: list[tuple[float, int]]
    """Onset of a segment, and the frame from which its picture is taken."""


@dataclass(frozen=True, eq=False)
class TimelinePictures:
    """What the picture needs of the video's frames."""

    faces: dict[tuple[int, int], np.ndarray]
    """Of a track on a frame: uint8 (S, S, 3), RGB."""
    cut_seconds: list[float]
    """Times of the first frames of new shots."""


def write_timeline(
    analysis: VideoAnalysis,
    path: str | Path,
    *,
    aggregate: str | None = None,
    on_progress: Progress = silent,
) -> None:
    """Draw what everyone in a video shows over time; see `plot_timeline`.

    Args:
        analysis: of the video, which is read again for its faces and cuts.
        path: the picture to write; its suffix is its format.
        aggregate: name of the aggregation that gives the clip labels; None for the first there is.
        on_progress: called as the video is gone through.
    Raises:
        OutputError: it cannot be written.
        UsageError: the analysis is of a picture.
        VideoError: the video can no longer be read.
    """
    if analysis.info.is_still:
        raise UsageError(f"{analysis.info.path}: a timeline is for videos, a picture has no time")
    lanes = _lanes(analysis)
    gathered = _Gathering(lanes)
    with VideoReader(analysis.info.path) as reader:
        done = 0
        for batch in reader:
            gathered.take(batch)
            done += len(batch)
            on_progress("plot", done, len(analysis.frame_index))
    figure = plot_timeline(analysis, gathered.pictures, aggregate=aggregate)
    with warnings.catch_warnings():
        # A name in a script that the font lacks is shown as boxes.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        save_figure(figure, path, comment=analysis.provenance_line())


def plot_timeline(
    analysis: VideoAnalysis, pictures: TimelinePictures | None = None, *, aggregate: str | None = None
) -> Figure:
    """Draw a lane for each person over the video's time.

    A lane has the emotions' probabilities on each frame stacked upon each other, below them the smoothed
    label as a band, above them the face at each change of it, and at the right the label for the clip and its
    confidence. Where a face was not found, its lane is hatched; cuts go through all lanes. Of more than 60
    people those seen longest are shown.

    Args:
        pictures: faces and cuts; None leaves both out.
        aggregate: name of the aggregation that gives the clip labels; None for the first there is.
    """
    lanes = _lanes(analysis)
    rows = max(len(lanes), 1)
    height = _TOP + rows * _LANE + (rows - 1) * _BETWEEN + _BOTTOM
    figure = Figure(figsize=(_WIDTH, height))
    start = float(analysis.pts_seconds[0])
    span = start, float(frame_ends(analysis)[-1])
    cuts = [] if pictures is None else pictures.cut_seconds
    chart_width = _WIDTH - _LEFT - _RIGHT
    bottom = height - _TOP - _LANE
    for row in range(rows):
        place = (_LEFT / _WIDTH, bottom / height, chart_width / _WIDTH, _LANE / height)
        axes = figure.add_axes(place)
        bottom -= _LANE + _BETWEEN
        _prepare(axes, span, is_last=row == rows - 1)
        for seconds in cuts:
            axes.axvline(seconds, ymax=_CHART[1] + 0.03, color=_INK, lw=0.9, ls=(0, (4, 3)), zorder=4)
        if row == 0:
            _point_at_cuts(axes, cuts)
        if lanes:
            _draw_lane(axes, lanes[row], analysis, span)
            if pictures is not None:
                _draw_thumbs(axes, lanes[row], pictures, analysis.told_labels, span)
            _write_names(axes, lanes[row], aggregate, analysis.min_confidence)
        else:
            axes.text(0.5, 0.4, "no face found", transform=axes.transAxes, ha="center", color=_MUTED)
    _head(figure, analysis, lanes, height, has_cuts=bool(cuts))
    return figure


def _lanes(analysis: VideoAnalysis) -> list[_Lane]:
    """Return the lanes in the order of the tracks."""
    people = list(zip(analysis.tracks, analysis.timelines, strict=True))
    longest = sorted(people, key=lambda person: -person[0].seen.sum())[:_MAX_LANES]
    kept = {track.track_id for track, _ in longest}
    ends = frame_ends(analysis)
    lanes = []
    for track, timeline in people:
        if track.track_id not in kept:
            continue
        own = ends[np.searchsorted(analysis.frame_index, track.frame_index)]
        labels = analysis.frame_labels(timeline)
        segments = to_segments(labels, track.pts_seconds, end_seconds=float(own[-1]))
        lanes.append(_Lane(track, timeline, segments, own, _thumb_frames(track, segments, analysis)))
    return lanes


def _thumb_frames(track: Track, segments: list[Segment], analysis: VideoAnalysis) -> list[tuple[float, int]]:
    """Return onset and picture's frame of the segments that have room for one, the longest first."""
    duration = float(analysis.pts_seconds[-1] - analysis.pts_seconds[0])
    # Thumbnails are spread over the lane: as many as stand side by side between first and last.
    share = (track.pts_seconds[-1] - track.pts_seconds[0]) / duration if duration > 0 else 0.0
    room = 1 + int(0.95 * share * (_WIDTH - _LEFT - _RIGHT) / _THUMB)
    longest = sorted(segments, key=lambda segment: -segment.duration_seconds)[:room]
    seen_seconds, seen_frames = track.pts_seconds[track.seen], track.frame_index[track.seen]
    found = []
    for segment in sorted(longest, key=lambda segment: segment.onset_seconds):
        at = int(np.searchsorted(seen_seconds, segment.onset_seconds))
        if at < len(seen_seconds) and seen_seconds[at] < segment.offset_seconds:
            found.append((segment.onset_seconds, int(seen_frames[at])))
    return found


class _Gathering:
    """Takes faces and cuts from frames as they go by."""

    def __init__(self, lanes: list[_Lane]) -> None:
        self._wanted: dict[int, list[Track]] = {}
        for lane in lanes:
            for _, frame in lane.thumb_frames:
                self._wanted.setdefault(frame, []).append(lane.track)
        self._shots = ShotCutDetector()
        self.pictures = TimelinePictures({}, [])

    def take(self, batch: FrameBatch) -> None:
        for picture, index, seconds in zip(batch.data, batch.frame_index, batch.pts_seconds, strict=True):
            if self._shots.is_cut(picture):
                self.pictures.cut_seconds.append(float(seconds))
            for track in self._wanted.get(int(index), ()):
                box = track.boxes[int(index) - track.frame_index[0]]
                self.pictures.faces[track.track_id, int(index)] = _cut_out(picture, box)


def _cut_out(picture: np.ndarray, box: np.ndarray) -> np.ndarray:
    """Return the square about a box, uint8 (S, S, 3); beyond the picture it is light gray."""
    x1, y1, x2, y2 = (float(value) for value in box)
    side = math.ceil(max(x2 - x1, y2 - y1, 1.0) * (1 + 2 * _FACE_MARGIN))
    left, top = round((x1 + x2 - side) / 2), round((y1 + y2 - side) / 2)
    square = np.full((side, side, 3), _BEYOND, np.uint8)
    part = picture[max(top, 0) : max(top + side, 0), max(left, 0) : max(left + side, 0)]
    rows, columns = min(max(-top, 0), side), min(max(-left, 0), side)
    square[rows : rows + part.shape[0], columns : columns + part.shape[1]] = part
    way = cv2.INTER_AREA if side > _THUMB_PX else cv2.INTER_CUBIC
    return cv2.resize(square, (_THUMB_PX, _THUMB_PX), interpolation=way)


def _prepare(axes: Axes, span: tuple[float, float], *, is_last: bool) -> None:
    axes.set_xlim(*span)
    axes.set_ylim(0, 1)
    axes.set_yticks([])
    axes.spines[:].set_visible(False)
    axes.patch.set_visible(False)
    axes.xaxis.set_major_locator(MaxNLocator(12, steps=[1, 2, 3, 5, 6, 10]))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda seconds, _: clock(seconds)))
    axes.tick_params(axis="x", length=3, colors=_MUTED, labelsize=8, labelbottom=is_last, bottom=is_last)
    # Where nobody is in view there is still time.
    for low, high in (_BAND, _CHART):
        axes.add_patch(Rectangle((span[0], low), span[1] - span[0], high - low, color=_GAP, lw=0, zorder=0))
    if is_last:
        axes.set_xlabel("time in the video (s)" if span[1] < 60 else "time in the video", fontsize=9)


def _draw_lane(axes: Axes, lane: _Lane, analysis: VideoAnalysis, span: tuple[float, float]) -> None:
    track, low, high = lane.track, *_CHART
    edges, probs = _binned(np.append(track.pts_seconds, lane.ends[-1]), lane.timeline.frame_probs)
    tops = low + (high - low) * np.concatenate([np.zeros((len(probs), 1)), probs.cumsum(1)], axis=1)
    tops = np.concatenate([tops, tops[-1:]])  # the last frame lasts until its end
    for place, name in enumerate(analysis.labels):
        axes.fill_between(
            edges,
            tops[:, place],
            tops[:, place + 1],
            step="post",
            color=emotion_hex(name),
            lw=0,
            zorder=2,
        )
    for segment in lane.segments:
        name = analysis.told_labels[segment.label]
        where, size = (segment.onset_seconds, _BAND[0]), (segment.duration_seconds, _BAND[1])
        fill: dict[str, Any] = {"fc": emotion_hex(name), "hatch": emotion_hatch(name)}
        axes.add_patch(Rectangle(where, *size, ec="white", lw=0.6, zorder=2, **fill))
        inches = segment.duration_seconds / (span[1] - span[0]) * (_WIDTH - _LEFT - _RIGHT)
        if inches > 0.075 * len(name) + 0.08:
            middle = (segment.onset_seconds + segment.offset_seconds) / 2
            axes.text(
                middle,
                sum(_BAND) / 2 - 0.005,
                name,
                ha="center",
                va="center_baseline",
                fontsize=7.5,
                color=text_hex(name),
                parse_math=False,
                bbox={"fc": emotion_hex(name), "lw": 0, "pad": 1},
                zorder=3,
            )
    for onset, offset in _unseen(lane):
        style: dict[str, Any] = {"fc": (1, 1, 1, 0.55), "ec": _MUTED, "hatch": "////", "lw": 0, "zorder": 3}
        axes.add_patch(Rectangle((onset, low), offset - onset, high - low, **style))


def _binned(edges: np.ndarray, probs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Average neighbouring frames, as many as fall together in the picture.

    Args:
        edges: (L + 1,), beginnings of the frames and the end of the last.
        probs: (L, C).
    Returns: (M + 1,) and (M, C), M at most `_MAX_POINTS`.
    """
    together = -(-len(probs) // _MAX_POINTS)
    if together == 1:
        return edges, probs
    first = np.arange(0, len(probs), together)
    weights = np.diff(edges)[:, None]
    sums = np.add.reduceat(probs * weights, first) / np.add.reduceat(weights, first)
    return np.append(edges[first], edges[-1]), sums


def _unseen(lane: _Lane) -> list[tuple[float, float]]:
    """Return the stretches of time within a track where the face was not found."""
    parts = to_segments(lane.track.seen.astype(int), lane.track.pts_seconds, end_seconds=float(lane.ends[-1]))
    return [(part.onset_seconds, part.offset_seconds) for part in parts if not part.label]


def _draw_thumbs(
    axes: Axes, lane: _Lane, pictures: TimelinePictures, labels: tuple[str, ...], span: tuple[float, float]
) -> None:
    faces = [(onset, pictures.faces.get((lane.track.track_id, frame))) for onset, frame in lane.thumb_frames]
    shown = [(onset, face) for onset, face in faces if face is not None]
    inch = (span[1] - span[0]) / (_WIDTH - _LEFT - _RIGHT)  # in seconds
    width, height = _THUMB * inch, _THUMB / _LANE
    for (onset, face), left in zip(shown, _spread([onset for onset, _ in shown], width, span), strict=True):
        right = left + _THUMB_USED * width
        extent = (left, right, _THUMBS, _THUMBS + height)
        axes.imshow(face, extent=extent, aspect="auto", interpolation="lanczos", zorder=5)
        axes.plot([onset, min(max(onset, left), right)], [_CHART[1], _THUMBS], color=_MUTED, lw=0.7, zorder=1)
        label = next(segment.label for segment in lane.segments if segment.onset_seconds == onset)
        foot: dict[str, Any] = {"color": emotion_hex(labels[label]), "lw": 0, "zorder": 6}
        axes.add_patch(Rectangle((left, _THUMBS), right - left, 0.03, **foot))
    axes.set_xlim(*span)
    axes.set_ylim(0, 1)
    if len(shown) < len(lane.segments):
        text = f"faces at {len(shown)} of {len(lane.segments)} changes"
        axes.text(1.01, _BAND[0], text, transform=axes.transAxes, fontsize=7, color=_MUTED, va="bottom")


def _spread(onsets: list[float], width: float, span: tuple[float, float]) -> list[float]:
    """Return the left ends of thumbnails that neither overlap nor leave the lane, each near its onset."""
    lefts: list[float] = []
    for onset in onsets:
        lefts.append(max(onset, lefts[-1] + width) if lefts else onset)
    bound = span[1]
    for place in range(len(lefts) - 1, -1, -1):
        bound = lefts[place] = min(lefts[place], bound - width)
    return lefts


def _write_names(axes: Axes, lane: _Lane, aggregate: str | None, min_confidence: float) -> None:
    track, clip = lane.track, lane.timeline.clip
    write = partial(axes.text, transform=axes.transAxes, clip_on=False, parse_math=False)
    first, last = clock(float(track.pts_seconds[0])), clock(float(lane.ends[-1]))
    middle = sum(_CHART) / 2
    write(-0.012, middle + 0.02, f"person {track.track_id}", ha="right", fontsize=9.5, weight="bold")
    write(-0.012, middle - 0.09, f"{first}–{last}", ha="right", fontsize=8, color=_MUTED)
    name = aggregate if aggregate in clip else next(iter(clip), None)
    if name is None:
        return
    label = clip[name].label(min_confidence)
    share = clip[name].certainty if label == UNCERTAIN else clip[name].confidence
    swatch: dict[str, Any] = {"color": emotion_hex(label), "transform": axes.transAxes, "clip_on": False}
    axes.add_patch(Rectangle((1.012, middle + 0.01), 0.011, 0.1, **swatch))
    write(1.03, middle + 0.02, label, fontsize=10.5, weight="bold")
    write(1.03, middle - 0.09, f"{100 * share:.0f}% by {name}", fontsize=8, color=_MUTED)


def _point_at_cuts(axes: Axes, cuts: list[float]) -> None:
    """Mark the cuts above the uppermost lane."""
    for seconds in cuts:
        axes.plot(seconds, 1.03, marker="v", ms=5, color=_INK, clip_on=False, zorder=7)


def _head(
    figure: Figure, analysis: VideoAnalysis, lanes: list[_Lane], height: float, *, has_cuts: bool
) -> None:
    info = analysis.info
    facts = (
        f"{info.width}x{info.height} · {duration(info.duration_seconds)} · {len(analysis.pts_seconds)} frames"
    )
    if len(lanes) < len(analysis.tracks):
        facts += f" · the {len(lanes)} of {len(analysis.tracks)} people who are seen longest"
    left = _LEFT / _WIDTH
    write = partial(figure.text, parse_math=False, va="top")
    write(left, 1 - 0.14 / height, printable(media_name(info.path)), fontsize=12, weight="bold")
    write(left, 1 - 0.38 / height, facts, fontsize=8.5, color=_MUTED)
    handles: list[Artist] = [
        Patch(fc=emotion_hex(x), ec=_FAINT, lw=0.4, hatch=emotion_hatch(x), label=x)
        for x in analysis.told_labels
    ]
    if any(not lane.track.seen.all() for lane in lanes):
        handles.append(Patch(fc="white", ec=_MUTED, hatch="////", lw=0, label="face not found"))
    if has_cuts:
        handles.append(Line2D([], [], color=_INK, lw=0.9, ls=(0, (4, 3)), label="cut"))
    figure.legend(
        handles=handles,
        loc="upper left",
        bbox_to_anchor=(left, 1 - 0.6 / height),
        ncols=len(handles),
        frameon=False,
        fontsize=8.5,
        handlelength=1.1,
        handleheight=1.0,
        columnspacing=1.3,
        borderaxespad=0,
        borderpad=0,
    )
