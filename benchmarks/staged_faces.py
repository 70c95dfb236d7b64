"""Real portraits moved along known paths over real backgrounds, and what following them is held against.

Where every face is on every frame, and whose it is, is known: MTCNN looks once at each still portrait, at
full scale, and its box is moved as the portrait is.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from counts import Counts
from facenet_pytorch import MTCNN
from matplotlib import cbook
from PIL import Image
from skimage import data

from emotemporal.faces.association import box_overlaps
from emotemporal.faces.tracker import FaceTracker
from emotemporal.structures import FaceRows, FrameBatch, Track, TrackStatus

FPS = 25.0
_BATCH = 16
_PATCH = 2.2
"""Side of what is cut out around a face, in sizes of its box: the whole head."""
_HEAD = (0.95, 0.92)
"""Half axes of the ellipse that is kept of it, in widths and heights of the box."""
# Scikit-image's own pictures without a face, read from its package: its functions may download.
_BACKGROUNDS = ("coffee.png", "rocket.jpg", "brick.png", "grass.png", "gravel.png", "hubble_deep_field.jpg")
_NOISE_LEVELS = 2.0
_SAME_FACE = 0.5
_NEAR_FACE = 0.3
_RETURN_SECONDS = 0.5
"""A face that was away for no longer is expected to keep its id: the tracker's `max_gap_seconds`."""


@dataclass(frozen=True, eq=False)
class Portrait:
    """A head cut out of a picture."""

    picture: np.ndarray
    """uint8 (S, S, 3), RGB, the face's box in the middle."""
    alpha: np.ndarray
    """float32 (S, S), 1 where the head is."""
    box_size: tuple[float, float]
    """Width and height of MTCNN's box in pixels of the picture."""


class Pose(NamedTuple):
    """A face on a frame."""

    person: int
    x: float
    y: float
    size: float
    """Geometric mean of the box's sides, in pixels."""
    turn_degrees: float = 0.0
    cover: str = ""
    """What is held before the face: nothing, `mask` or `hand`."""


class Scene(NamedTuple):
    """What is behind the faces on a frame."""

    background: int
    shift: tuple[float, float] = (0.0, 0.0)
    """Of the camera, in pixels; the faces move with it."""


class Truth(NamedTuple):
    """A face that is there."""

    frame: int
    shot: int
    person: int
    box: np.ndarray
    visible: float
    """Share of its box within the picture that nothing covers."""


@dataclass(frozen=True, eq=False)
class Stage:
    """A sequence and all that is true of it.

    Args:
        poses: the faces of a frame, from back to front, in pixels of the picture.
        scene: what is behind them; the shot changes with its background.
    """

    name: str
    width: int
    height: int
    num_frames: int
    portraits: Sequence[Portrait]
    poses: Callable[[int], list[Pose]]
    scene: Callable[[int], Scene]
    seed: int = 0

    def frames(self) -> Iterator[np.ndarray]:
        """Yield uint8 (H, W, 3), RGB, `num_frames` times."""
        rng = np.random.default_rng(self.seed)
        noise = rng.normal(0, _NOISE_LEVELS, (self.height + 32, self.width + 32, 1)).astype(np.float32)
        for index in range(self.num_frames):
            scene = self.scene(index)
            frame = _background(scene, self.width, self.height)
            for pose in self.poses(index):
                moved = pose._replace(x=pose.x + scene.shift[0], y=pose.y + scene.shift[1])
                _draw(frame, self.portraits[pose.person % len(self.portraits)], moved)
            top, left = rng.integers(0, 32, 2)
            frame += noise[top : top + self.height, left : left + self.width]
            yield frame.clip(0, 255).astype(np.uint8)

    def truth(self) -> list[Truth]:
        found, shot, last = [], 0, self.scene(0).background
        for index in range(self.num_frames):
            scene = self.scene(index)
            shot, last = shot + (scene.background != last), scene.background
            poses = self.poses(index)
            boxes = [self._box(pose, scene) for pose in poses]
            for i, (pose, box) in enumerate(zip(poses, boxes, strict=True)):
                visible = self._visible(box, boxes[i + 1 :], pose.cover)
                found.append(Truth(index, shot, pose.person, box, visible))
        return found

    def batches(self) -> Iterator[FrameBatch]:
        waiting: list[np.ndarray] = []
        done = 0
        for frame in self.frames():
            waiting.append(frame)
            if len(waiting) == _BATCH or done + len(waiting) == self.num_frames:
                index = np.arange(done, done + len(waiting))
                yield FrameBatch(np.stack(waiting), index, index / FPS)
                done += len(waiting)
                waiting = []

    def _box(self, pose: Pose, scene: Scene) -> np.ndarray:
        width, height = self.portraits[pose.person % len(self.portraits)].box_size
        half = np.array([width, height]) * pose.size / math.sqrt(width * height) / 2
        centre = np.array([pose.x + scene.shift[0], pose.y + scene.shift[1]])
        return np.concatenate([centre - half, centre + half]).astype(np.float32)

    def _visible(self, box: np.ndarray, before: list[np.ndarray], cover: str) -> float:
        area = float((box[2:] - box[:2]).prod())
        inside = np.minimum(box[2:], (self.width, self.height)) - np.maximum(box[:2], 0)
        share = float(inside.clip(min=0).prod()) / area
        for other in before:
            both = np.minimum(box[2:], other[2:]) - np.maximum(box[:2], other[:2])
            share -= float(both.clip(min=0).prod()) / area
        return max(share, 0.0) * {"": 1.0, "mask": 0.6, "hand": 0.0}[cover]


@cache
def still_portraits() -> tuple[Portrait, ...]:
    """Return the portraits that ship with scikit-image and matplotlib, and both in a mirror and other light.

    The latter are people of their own: they look no more alike than two of one family.
    """
    with cbook.get_sample_data("grace_hopper.jpg") as file:
        hopper = np.array(Image.open(file).convert("RGB"))
    pictures = [_package_picture("astronaut.png"), hopper]
    own = [found for picture in pictures if (found := cut_portrait(picture)) is not None]
    gains = np.array([0.75, 0.95, 1.1], np.float32)
    relit = [
        Portrait((p.picture[:, ::-1] * gains).clip(0, 255).astype(np.uint8), p.alpha[:, ::-1], p.box_size)
        for p in own
    ]
    return (*own, *relit)


def cut_portrait(picture: np.ndarray) -> Portrait | None:
    """Cut out the largest face of a picture, uint8 (H, W, 3) RGB; None where MTCNN finds none for sure."""
    boxes, scores = _full_mtcnn().detect(Image.fromarray(picture))
    if boxes is None:
        return None
    box = np.array(list(boxes[0]), np.float64)
    if scores[0] < 0.99:
        return None
    width, height = box[2:] - box[:2]
    half = _PATCH * math.sqrt(width * height) / 2
    side = round(2 * half)
    corner = (box[:2] + box[2:]) / 2 - half
    move = np.float32([[1, 0, -corner[0]], [0, 1, -corner[1]]])
    patch = cv2.warpAffine(picture, move, (side, side), borderMode=cv2.BORDER_REPLICATE)
    alpha = np.zeros((side, side), np.float32)
    axes = (round(_HEAD[0] * width), round(_HEAD[1] * height))
    cv2.ellipse(alpha, (side // 2, side // 2), axes, 0, 0, 360, 1.0, cv2.FILLED)
    alpha = cv2.GaussianBlur(alpha, (0, 0), 0.03 * side)
    return Portrait(patch, alpha, (float(width), float(height)))


@cache
def _full_mtcnn() -> MTCNN:
    return MTCNN(keep_all=True, post_process=False)


@cache
def _package_picture(name: str) -> np.ndarray:
    path = Path(data.__file__).parent / name
    return cv2.cvtColor(cv2.imread(str(path), cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)


@cache
def _wide_background(number: int, width: int, height: int) -> np.ndarray:
    """float32, larger than the frame by a quarter, so that the camera may move."""
    picture = _package_picture(_BACKGROUNDS[number % len(_BACKGROUNDS)])
    scale = 1.25 * max(width / picture.shape[1], height / picture.shape[0])
    size = (math.ceil(picture.shape[1] * scale), math.ceil(picture.shape[0] * scale))
    return cv2.resize(picture, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)


def _background(scene: Scene, width: int, height: int) -> np.ndarray:
    wide = _wide_background(scene.background, width, height)
    left, top = (wide.shape[1] - width) / 2, (wide.shape[0] - height) / 2
    move = np.float32([[1, 0, scene.shift[0] - left], [0, 1, scene.shift[1] - top]])
    moved = cv2.warpAffine(wide, move, (width, height), borderMode=cv2.BORDER_REFLECT)
    return moved.astype(np.float32)


def _draw(frame: np.ndarray, portrait: Portrait, pose: Pose) -> None:
    """Lay a portrait over a frame, float32 (H, W, 3), in place."""
    scale = pose.size / math.sqrt(portrait.box_size[0] * portrait.box_size[1])
    picture, alpha = portrait.picture, portrait.alpha
    if pose.cover:
        picture = _covered(portrait, pose.cover)
    if scale < 1:
        # Shrunk by averaging first: the warp alone would skip pixels.
        side = max(round(len(alpha) * scale), 2)
        picture = cv2.resize(picture, (side, side), interpolation=cv2.INTER_AREA)
        alpha = cv2.resize(alpha, (side, side), interpolation=cv2.INTER_AREA)
        scale *= len(portrait.alpha) / side
    middle = len(alpha) / 2 - 0.5
    move = cv2.getRotationMatrix2D((middle, middle), pose.turn_degrees, scale)
    move[:, 2] += (pose.x - 0.5 - middle, pose.y - 0.5 - middle)
    reach = _PATCH * pose.size * 0.75
    height, width = frame.shape[:2]
    left, right = (int(np.clip(v, 0, width)) for v in (pose.x - reach, pose.x + reach + 1))
    top, bottom = (int(np.clip(v, 0, height)) for v in (pose.y - reach, pose.y + reach + 1))
    if left >= right or top >= bottom:
        return
    move[:, 2] -= (left, top)
    size = (right - left, bottom - top)
    over = cv2.warpAffine(picture, move, size).astype(np.float32)
    share = cv2.warpAffine(alpha, move, size)[..., None]
    part = frame[top:bottom, left:right]
    part += share * (over - part)


def _covered(portrait: Portrait, cover: str) -> np.ndarray:
    picture = portrait.picture.copy()
    middle = len(picture) / 2
    width, height = portrait.box_size
    if cover == "mask":
        outline = [(-0.5, 0.02), (0, -0.06), (0.5, 0.02), (0.42, 0.42), (0, 0.56), (-0.42, 0.42)]
        points = np.array([(middle + x * width, middle + y * height) for x, y in outline])
        cv2.fillPoly(picture, [points.astype(np.int32)], (178, 205, 215), cv2.LINE_AA)
        for line in (0.1, 0.2, 0.3):
            y = round(middle + line * height)
            ends = [(round(middle + x * width), y) for x in (-0.42, 0.42)]
            cv2.line(picture, *ends, (150, 180, 195), max(round(0.01 * width), 1), cv2.LINE_AA)
        return picture
    palm = (round(middle), round(middle + 0.1 * height))
    cv2.ellipse(
        picture, palm, (round(0.62 * width), round(0.5 * height)), 0, 0, 360, (196, 150, 126), cv2.FILLED
    )
    for finger in (-0.45, -0.15, 0.15, 0.45):
        root = (round(middle + finger * width), round(middle))
        tip = (root[0], round(middle - 0.62 * height))
        cv2.line(picture, root, tip, (196, 150, 126), round(0.24 * width), cv2.LINE_AA)
        cv2.line(
            picture,
            (root[0] + round(0.14 * width), root[1]),
            (root[0] + round(0.14 * width), tip[1]),
            (150, 105, 85),
            max(round(0.03 * width), 1),
            cv2.LINE_AA,
        )
    return picture


@dataclass(eq=False)
class Score(Counts):
    """What came of sequences, against the truth."""

    num_frames: int = 0
    num_faces: int = 0
    """Of which at least the asked-for share is visible."""
    overlaps: list[float] = field(default_factory=list)
    """IoU of each of them that was found."""
    num_interpolated: int = 0
    """Of those, the ones without evidence of their own."""
    num_rows: int = 0
    """Rows that claim to have seen a face on their frame."""
    num_stray: int = 0
    """Of these, the ones that are near no face of any visibility."""
    switches: int = 0
    """Times that an id passed from one person to another."""
    splits: int = 0
    """Times that a person who was never away for long, within one shot, got another id."""
    unseen_starts: list[int] = field(default_factory=list)
    """Frames from a face's becoming visible, or from a cut, to its first row."""

    def measures(self) -> dict[str, Any]:
        found = len(self.overlaps)
        return {
            "frames": self.num_frames,
            "faces": self.num_faces,
            "recall": found / self.num_faces if self.num_faces else None,
            "median_iou": float(np.median(self.overlaps)) if found else None,
            "interpolated": self.num_interpolated / found if found else None,
            "stray_rows": self.num_stray,
            "identity_switches": self.switches,
            "identity_splits": self.splits,
            "late_frames": sum(self.unseen_starts),
        }


def follow(stage: Stage, tracker: FaceTracker) -> tuple[list[FaceRows], tuple[Track, ...]]:
    """Return what a tracker hands out for a stage."""
    rows = [out for batch in stage.batches() for out in tracker.update(batch)]
    rows += tracker.finish()
    return rows, tracker.tracks()


def score_tracks(stage: Stage, tracks: Sequence[Track], *, min_visible: float = 0.6) -> Score:
    """Hold tracks against what is true of their stage.

    Args:
        min_visible: share of its box from which a face must be found.
    """
    truths = stage.truth()
    score = Score(num_frames=stage.num_frames)
    by_frame: dict[int, list[Truth]] = {}
    for truth in truths:
        by_frame.setdefault(truth.frame, []).append(truth)
    person_of: dict[int, int] = {}
    last_of: dict[int, tuple[int, int, int]] = {}
    began: dict[tuple[int, int], int] = {}
    started: set[tuple[int, int]] = set()
    for frame in range(stage.num_frames):
        there = by_frame.get(frame, [])
        rows = [
            (t, frame - int(t.frame_index[0]))
            for t in tracks
            if t.frame_index[0] <= frame <= t.frame_index[-1]
        ]
        boxes = np.array([t.boxes[k] for t, k in rows], np.float32).reshape(-1, 4)
        truth_boxes = np.array([truth.box for truth in there], np.float32).reshape(-1, 4)
        overlap, _ = box_overlaps(truth_boxes, boxes)
        seen = np.array([t.status[k] != TrackStatus.INTERPOLATED for t, k in rows], bool)
        score.num_rows += int(seen.sum())
        score.num_stray += int((seen & ~(overlap.max(axis=0, initial=0) >= _NEAR_FACE)).sum())
        pairs = _pair(overlap)
        for i, truth in enumerate(there):
            if truth.visible < min_visible:
                continue
            score.num_faces += 1
            key = (truth.shot, truth.person)
            began.setdefault(key, frame)
            if i not in pairs:
                continue
            if key not in started:
                started.add(key)
                score.unseen_starts.append(frame - began[key])
            track, place = rows[pairs[i]]
            score.overlaps.append(float(overlap[i, pairs[i]]))
            score.num_interpolated += int(track.status[place] == TrackStatus.INTERPOLATED)
            score.switches += person_of.get(track.track_id, truth.person) != truth.person
            person_of[track.track_id] = truth.person
            before = last_of.get(truth.person)
            if before is not None and before[1] == truth.shot:
                was_away = (frame - before[0]) / FPS > _RETURN_SECONDS
                score.splits += before[2] != track.track_id and not was_away
            last_of[truth.person] = (frame, truth.shot, track.track_id)
    return score


def _pair(overlap: np.ndarray) -> dict[int, int]:
    """Pair truths and rows one to one, by what they share, the best pair first."""
    pairs: dict[int, int] = {}
    for flat in np.argsort(-overlap, axis=None, kind="stable"):
        i, j = divmod(int(flat), overlap.shape[1])
        if overlap[i, j] < _SAME_FACE:
            break
        if i not in pairs and j not in pairs.values():
            pairs[i] = j
    return pairs
