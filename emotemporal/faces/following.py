"""Keep faces in sight from one frame to the next: what following in a file and in front of a camera share."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from emotemporal.faces.association import box_distances, box_overlaps, match_boxes
from emotemporal.faces.detector import FaceDetector
from emotemporal.faces.shots import ShotCutDetector
from emotemporal.faces.stillness import KnownPicture
from emotemporal.faces.trail import Sighting, Trail, face_look, look_distance
from emotemporal.structures import Detections, TrackStatus

_SAME_FACE = 0.5
"""Two boxes of one frame that share this part of their union hold one face."""
_NESTED = 0.75
"""As do boxes of which the smaller lies within the larger to this part."""
_MAX_STEP = 0.6
"""Farthest a face moves between two frames that follow each other, in sizes of its box."""
_MAX_STEP_RATIO = 1.4
"""Most it grows or shrinks: a greater change is the refinement slipping to something else."""
_RETURN_SPEED = 2.0
"""Sizes a second by which a face may stray from where it was expected while it was out of sight."""
_MAX_RETURN_RATIO = 1.8
_AGREEMENT = 0.85
"""A refined box and the detector's that share this part are equally right, and the refined one jumps less, by
half. Of 215 frontal faces on key frames 98 % share more; what shares less has slipped, as profiles do."""
STILL_SECONDS = 1.9
"""Longest time without the full detector where nothing is new, less what key frames' times may be off: it may
have overlooked a face. Of 25 frames a second it then sees every 48th, of 30 every 60th."""
MAX_UNLIKE = 0.2
"""Greatest difference of two looks of one person within a shot; a quarter or half of a second apart it is
0.02 to 0.08 in the middle and 0.09 to 0.22 for the worst of a hundred, in four real clips."""


class Frame(Protocol):
    """A picture and its place in time."""

    @property
    def image(self) -> np.ndarray:
        """uint8 (H, W, 3), RGB."""
        ...

    @property
    def frame_index(self) -> int:
        """Rises by one from each frame that is looked at to the next."""
        ...

    @property
    def pts_seconds(self) -> float: ...


class FaceFollower:
    """The faces in sight, refined from frame to frame and matched with what the full detector finds.

    Args:
        detector: finds and refines faces.
        still_seconds: time from which on a key frame is looked at by the full detector even where nothing
            changes but the faces that are followed.
        max_gap_seconds: a face that returns within this time, at a plausible place, keeps its id.
        min_score: least score of a detection that starts a track; one that confirms or continues a
            track need only pass the detector's own threshold.
        min_refined_score: least score at which a face counts as seen between key frames.
        max_unconfirmed: key frames in a row on which the full detector may miss a face that the
            refinement still sees, as it does with profiles.
        shots: finds shot cuts; no face is followed across one.
    """

    def __init__(
        self,
        detector: FaceDetector,
        *,
        still_seconds: float,
        max_gap_seconds: float,
        min_score: float,
        min_refined_score: float,
        max_unconfirmed: int,
        shots: ShotCutDetector | None,
    ) -> None:
        if still_seconds < 0 or max_gap_seconds < 0:
            raise ValueError(
                f"still_seconds and max_gap_seconds must not be negative, found {still_seconds} and "
                f"{max_gap_seconds}"
            )
        self._detector = detector
        self._still_seconds = still_seconds
        self._max_gap_seconds = max_gap_seconds
        self._min_score = min_score
        self._min_refined_score = min_refined_score
        self._max_unconfirmed = max_unconfirmed
        self._shots = shots or ShotCutDetector()
        self._active: list[Trail] = []
        """Faces in sight or lost for less than `max_gap_seconds`."""
        self._known: KnownPicture | None = None
        """What the full detector has last looked at, in this shot; None unless it all is followed."""
        self._known_seconds = 0.0

    def _follow(self, frame: Frame) -> None:
        """Look on this frame for every active face, from where it was last."""
        trails = self._active
        if not trails:
            return
        starts = np.stack([self._start_box(trail, frame) for trail in trails])
        found = self._detector.refine_faces(frame.image, starts)
        holds = self._is_step(starts, found)
        in_sight = [self._is_in_sight(trail, frame) for trail in trails]
        for i, trail in enumerate(trails):
            if holds[i] and in_sight[i]:
                trail.sightings.append(sighting_of(frame, found, i, TrackStatus.TRACKED))
        self._separate(frame)
        for i, trail in enumerate(trails):
            # Looking for a lost face where another one is would only find that one.
            if not holds[i] or in_sight[i] or self._is_taken(found.boxes[i], frame):
                continue
            if look_distance(face_look(frame.image, found.boxes[i]), trail.look) <= MAX_UNLIKE:
                trail.sightings.append(sighting_of(frame, found, i, TrackStatus.TRACKED))

    def _start_box(self, trail: Trail, frame: Frame) -> np.ndarray:
        return trail.last.box if self._is_in_sight(trail, frame) else trail.predict_box(frame.pts_seconds)

    def _is_in_sight(self, trail: Trail, frame: Frame) -> bool:
        """True if the face was seen on the frame before."""
        return trail.last.frame_index >= frame.frame_index - 1

    def _is_step(self, before: np.ndarray, found: Detections) -> np.ndarray:
        """bool (M,): true where a refinement is sure and near to the box that it started from."""
        away, ratio = box_distances(before, found.boxes)
        near = (np.diag(away) <= _MAX_STEP) & (np.diag(ratio) <= _MAX_STEP_RATIO)
        return near & (found.scores >= self._min_refined_score)

    def _is_taken(self, box: np.ndarray, frame: Frame) -> bool:
        others = [t.last.box for t in self._active if t.last.frame_index == frame.frame_index]
        return bool(others) and bool(is_same_face(box[None], np.stack(others)).any())

    def _separate(self, frame: Frame) -> None:
        """Where two faces have come to share one box, take it from the one that it does not belong to."""
        present = [t for t in self._active if t.last.frame_index == frame.frame_index]
        if len(present) < 2:
            return
        boxes = np.stack([t.last.box for t in present])
        same = np.triu(is_same_face(boxes, boxes), 1)
        for i, j in zip(*np.nonzero(same), strict=True):
            older, younger = present[i], present[j]
            if any(t.last.frame_index != frame.frame_index for t in (older, younger)):
                continue
            look = face_look(frame.image, older.last.box)
            unlike = [look_distance(look, t.look) for t in (older, younger)]
            loser = older if unlike[0] > unlike[1] + 0.02 else younger
            winner = younger if loser is older else older
            _forget_overlap(loser, winner)

    def _let_go(self, trails: list[Trail]) -> None:
        """Follow these faces no more."""
        for trail in trails:
            trail.close()
        self._active = [t for t in self._active if t not in trails]

    def _leave_shot(self) -> None:
        """Follow nobody any more: what comes is of another shot."""
        self._let_go(self._active)
        self._known = None

    def _confirm(self, frame: Frame, found: Detections) -> np.ndarray:
        """Match detections with the faces in sight; return the rows of those that are left, int64 (K,)."""
        present = [t for t in self._active if t.last.frame_index == frame.frame_index]
        boxes = np.array([t.last.box for t in present], np.float32).reshape(-1, 4)
        pairs = match_boxes(boxes, found.boxes, reach=_MAX_STEP, max_size_ratio=_MAX_RETURN_RATIO)
        for trail in present:
            trail.num_unconfirmed += 1
        overlap, _ = box_overlaps(boxes, found.boxes)
        for i, j in pairs:
            trail = present[i]
            trail.num_unconfirmed = 0
            if overlap[i, j] < _AGREEMENT:
                trail.sightings[-1] = sighting_of(frame, found, j, TrackStatus.DETECTED)
            else:
                score = float(found.scores[j])
                trail.sightings[-1] = trail.last._replace(score=score, status=TrackStatus.DETECTED)
            trail.remember_look(face_look(frame.image, trail.last.box))
        left = np.setdiff1d(np.arange(len(found)), [j for _, j in pairs])
        taken = [self._is_taken(found.boxes[j], frame) for j in left]
        return left[~np.array(taken, bool)]

    def _remember(self, frame: Frame, found: Detections) -> None:
        """Keep what a key frame shows, once its detections are confirmed and joined."""
        confirmed = self._confirmed_on(frame)
        self._known = KnownPicture(frame.image, *_places(confirmed)) if len(confirmed) == len(found) else None
        self._known_seconds = frame.pts_seconds

    def _is_news(self, frame: Frame) -> bool:
        """False if the full detector would find what it has found lately: the faces that are followed."""
        if self._known is None or frame.pts_seconds - self._known_seconds >= self._still_seconds:
            return True
        confirmed = self._confirmed_on(frame)
        if len(confirmed) < len(self._active):
            return True
        are_sure = all(sighting.score >= self._min_score for sighting in confirmed)
        return not (are_sure and self._known.is_unchanged(frame.image, *_places(confirmed)))

    def _confirmed_on(self, frame: Frame) -> list[Sighting]:
        """Return where the faces in sight are that the full detector saw as well when it last looked."""
        lasts = (trail.last for trail in self._active if trail.num_unconfirmed == 0)
        return [sighting for sighting in lasts if sighting.frame_index == frame.frame_index]

    def _begin(self, frame: Frame, found: Detections, *, shot: int) -> list[Trail]:
        """Return a trail for each detection of a key frame; none is followed yet."""
        trails = []
        for i in range(len(found)):
            trail = Trail(shot, [sighting_of(frame, found, i, TrackStatus.DETECTED)])
            trail.remember_look(face_look(frame.image, trail.last.box))
            trails.append(trail)
        return trails

    def _join(self, frame: Frame, new: list[Trail]) -> list[Trail]:
        """Continue lost faces with the new ones that they explain; follow the others, and return them.

        Args:
            frame: the key frame, on which the full detector has looked for all.
            new: trails that end on it.
        """
        lost = [t for t in self._active if t.last.frame_index < frame.frame_index]
        continued = self._match_returns(lost, new)
        for trail, returned in continued:
            trail.sightings.extend(returned.sightings)
            trail.num_unconfirmed = 0
            trail.remember_look(returned.look)
        known = {id(returned) for _, returned in continued}
        fresh = [t for t in new if id(t) not in known and t.last.score >= self._min_score]
        fresh.sort(key=lambda t: (t.sightings[0].frame_index, float(t.sightings[0].box[0])))
        self._active += fresh
        for trail in self._active:
            trail.is_searched = trail.last.frame_index < frame.frame_index
        return fresh

    def _match_returns(self, lost: list[Trail], new: list[Trail]) -> list[tuple[Trail, Trail]]:
        if not lost or not new:
            return []
        firsts = [trail.sightings[0] for trail in new]
        gaps = np.array([[first.pts_seconds - t.last.pts_seconds for first in firsts] for t in lost])
        unlike = np.array([[look_distance(t.look, trail.look) for trail in new] for t in lost])
        possible = (gaps > 0) & (gaps <= self._max_gap_seconds) & (unlike <= MAX_UNLIKE)
        # A sure detection may lie farther off the longer the face was out of sight; a weak one may not.
        roam = _RETURN_SPEED * gaps * np.array([trail.last.score >= self._min_score for trail in new])
        reach = np.where(possible, _MAX_STEP + roam, -1.0)
        # Each pair has its own time, so the places are compared as if the face had waited at the latest.
        before = np.stack([t.predict_box(max(f.pts_seconds for f in firsts)) for t in lost])
        now = np.stack([first.box for first in firsts])
        pairs = match_boxes(
            before, now, reach=reach, max_size_ratio=_MAX_RETURN_RATIO, dissimilarity=unlike / MAX_UNLIKE
        )
        return [(lost[i], new[j]) for i, j in pairs]

    def _gone(self, frame: Frame) -> list[Trail]:
        """Return the faces that are to be followed no more after a key frame."""
        return [
            trail
            for trail in self._active
            if trail.num_unconfirmed > self._max_unconfirmed
            or frame.pts_seconds - trail.last.pts_seconds > self._max_gap_seconds
        ]


def sighting_of(frame: Frame, found: Detections, row: int, status: TrackStatus) -> Sighting:
    score = float(found.scores[row])
    return Sighting(
        frame.frame_index, frame.pts_seconds, found.boxes[row], score, found.landmarks[row], status
    )


def _places(sightings: list[Sighting]) -> tuple[np.ndarray, np.ndarray]:
    """Boxes float32 (M, 4) and landmarks float32 (M, 5, 2)."""
    boxes = np.array([sighting.box for sighting in sightings], np.float32)
    landmarks = np.array([sighting.landmarks for sighting in sightings], np.float32)
    return boxes.reshape(-1, 4), landmarks.reshape(-1, 5, 2)


def is_same_face(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """bool (M, N): boxes of one frame that hold one face."""
    overlap, nested = box_overlaps(a, b)
    return (overlap > _SAME_FACE) | (nested > _NESTED)


def box_at(trail: Trail, frame_index: int) -> np.ndarray | None:
    return next((s.box for s in reversed(trail.pending) if s.frame_index == frame_index), None)


def _forget_overlap(loser: Trail, winner: Trail) -> None:
    """Take back the loser's latest sightings on which it already was at the winner's face."""
    while loser.pending and (box := box_at(winner, loser.last.frame_index)) is not None:
        overlap, _ = box_overlaps(loser.last.box[None], box[None])
        if overlap[0, 0] < _SAME_FACE / 2 or len(loser.sightings) == 1:
            return
        loser.sightings.pop()
