"""Follow every face through a video at a fraction of the cost of detecting it on each frame.

The full detector runs on key frames. Between them each face is found again from its last box by the
detector's last stage alone, and a face that is new on a key frame is followed backward as well, to the frame
on which it entered. Frames wait for that: results lag behind by one key interval.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from emotemporal.faces.association import box_distances, box_overlaps, match_boxes
from emotemporal.faces.detector import FaceDetector
from emotemporal.faces.shots import ShotCutDetector
from emotemporal.faces.trail import Sighting, Trail, face_look, look_distance
from emotemporal.structures import Detections, FaceRows, FrameBatch, Track, TrackStatus

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
_AGREEMENT = 0.6
"""A refined box and the detector's that share this part are equally right, and the refined one jumps less."""
_MAX_UNLIKE = 0.2
"""Greatest difference of two looks of one person within a shot; a quarter or half of a second apart it is
0.02 to 0.08 in the middle and 0.09 to 0.22 for the worst of a hundred, in four real clips."""
_LOST_FRAMES = 2
"""Frames out of sight after which the full detector looks for a face before its time."""


class _Frame(NamedTuple):
    batch: FrameBatch
    position: int

    @property
    def image(self) -> np.ndarray:
        return self.batch.data[self.position]

    @property
    def frame_index(self) -> int:
        return int(self.batch.frame_index[self.position])

    @property
    def pts_seconds(self) -> float:
        return float(self.batch.pts_seconds[self.position])


class FaceTracker:
    """Turn frames, in order and in batches of any size, into tracks; the result does not depend on the sizes.

    Args:
        detector: finds and refines faces.
        key_interval: frames between two runs of the full detector.
        search_interval: least frames between two such runs when faces were lost.
        max_gap_seconds: a face that returns within this time, at a plausible place, keeps its id.
        min_score: least score of a detection that starts a track; one that confirms or continues a
            track need only pass the detector's own threshold.
        min_refined_score: least score at which a face counts as seen between key frames.
        max_unconfirmed: key frames in a row on which the full detector may miss a face that the
            refinement still sees, as it does with profiles.
        min_track_seconds: shorter tracks are dropped, unless they fill half of their shot.
        min_track_score: tracks whose detections score less on average are dropped, and those that were
            seen on less than half of their frames.
        shots: finds shot cuts; no track goes on across one.
    """

    def __init__(
        self,
        detector: FaceDetector,
        *,
        key_interval: int = 12,
        search_interval: int = 4,
        max_gap_seconds: float = 0.5,
        min_score: float = 0.9,
        min_refined_score: float = 0.6,
        max_unconfirmed: int = 2,
        min_track_seconds: float = 0.3,
        min_track_score: float = 0.85,
        shots: ShotCutDetector | None = None,
    ) -> None:
        if key_interval < 1 or search_interval < 1:
            raise ValueError(f"intervals must be at least 1, found {key_interval} and {search_interval}")
        if max_gap_seconds < 0:
            raise ValueError(f"max_gap_seconds must not be negative, found {max_gap_seconds}")
        self._detector = detector
        self._key_interval = key_interval
        self._search_interval = search_interval
        self._max_gap_seconds = max_gap_seconds
        self._min_score = min_score
        self._min_refined_score = min_refined_score
        self._max_unconfirmed = max_unconfirmed
        self._min_track_seconds = min_track_seconds
        self._min_track_score = min_track_score
        self._shots = shots or ShotCutDetector()
        self._waiting: list[_Frame] = []
        """Frames since the last key frame: not yet handed out."""
        self._active: list[Trail] = []
        """Faces in sight or lost for less than `max_gap_seconds`."""
        self._trails: list[Trail] = []
        """All faces, in the order of their ids."""
        self._pts_seconds: list[float] = []
        self._first_index = 0
        self._shot_lengths = [0]
        self._is_finished = False

    def update(self, batch: FrameBatch) -> Iterator[FaceRows]:
        """Take the next frames; hand out those whose faces are settled.

        Raises:
            ValueError: the batch does not follow on the one before, or the tracker is finished.
        """
        if self._is_finished:
            raise ValueError("this tracker is finished, make a new one for another video")
        for position in range(len(batch)):
            yield from self._take(_Frame(batch, position))

    def finish(self) -> Iterator[FaceRows]:
        """Hand out the remaining frames."""
        self._is_finished = True
        yield from self._end_shot()

    def tracks(self) -> tuple[Track, ...]:
        """Return the tracks, by id; call after `finish` has been used up."""
        pts = np.array(self._pts_seconds)
        kept = (trail for trail in self._trails if self._is_credible(trail))
        return tuple(trail.to_track(pts, self._first_index) for trail in kept)

    def _take(self, frame: _Frame) -> Iterator[FaceRows]:
        if not self._pts_seconds:
            self._first_index = frame.frame_index
        elif frame.frame_index != (expected := self._first_index + len(self._pts_seconds)):
            raise ValueError(f"frames must be consecutive: expected {expected}, found {frame.frame_index}")
        if self._shots.is_cut(frame.image):
            yield from self._end_shot()
            self._shot_lengths.append(0)
        is_first = self._shot_lengths[-1] == 0
        self._pts_seconds.append(frame.pts_seconds)
        self._shot_lengths[-1] += 1
        self._waiting.append(frame)
        self._follow(frame)
        if is_first or len(self._waiting) >= self._key_interval or self._must_search(frame):
            yield from self._settle(frame)

    def _end_shot(self) -> Iterator[FaceRows]:
        if self._waiting:
            yield from self._settle(self._waiting[-1])
        self._let_go(self._active)

    def _follow(self, frame: _Frame) -> None:
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
                trail.sightings.append(_sighting(frame, found, i, TrackStatus.TRACKED))
        self._separate(frame)
        for i, trail in enumerate(trails):
            # Looking for a lost face where another one is would only find that one.
            if not holds[i] or in_sight[i] or self._is_taken(found.boxes[i], frame):
                continue
            if look_distance(face_look(frame.image, found.boxes[i]), trail.look) <= _MAX_UNLIKE:
                trail.sightings.append(_sighting(frame, found, i, TrackStatus.TRACKED))

    def _start_box(self, trail: Trail, frame: _Frame) -> np.ndarray:
        return trail.last.box if self._is_in_sight(trail, frame) else trail.predict_box(frame.pts_seconds)

    def _is_in_sight(self, trail: Trail, frame: _Frame) -> bool:
        """True if the face was seen on the frame before."""
        return trail.last.frame_index >= frame.frame_index - 1

    def _is_step(self, before: np.ndarray, found: Detections) -> np.ndarray:
        """bool (M,): true where a refinement is sure and near to the box that it started from."""
        away, ratio = box_distances(before, found.boxes)
        near = (np.diag(away) <= _MAX_STEP) & (np.diag(ratio) <= _MAX_STEP_RATIO)
        return near & (found.scores >= self._min_refined_score)

    def _is_taken(self, box: np.ndarray, frame: _Frame) -> bool:
        others = [t.last.box for t in self._active if t.last.frame_index == frame.frame_index]
        return bool(others) and bool(_is_same(box[None], np.stack(others)).any())

    def _separate(self, frame: _Frame) -> None:
        """Where two faces have come to share one box, take it from the one that it does not belong to."""
        present = [t for t in self._active if t.last.frame_index == frame.frame_index]
        if len(present) < 2:
            return
        boxes = np.stack([t.last.box for t in present])
        same = np.triu(_is_same(boxes, boxes), 1)
        for i, j in zip(*np.nonzero(same), strict=True):
            older, younger = present[i], present[j]
            if any(t.last.frame_index != frame.frame_index for t in (older, younger)):
                continue
            look = face_look(frame.image, older.last.box)
            unlike = [look_distance(look, t.look) for t in (older, younger)]
            loser = older if unlike[0] > unlike[1] + 0.02 else younger
            winner = younger if loser is older else older
            _forget_overlap(loser, winner)

    def _must_search(self, frame: _Frame) -> bool:
        """True soon after a face is lost, unless the detector has only just run."""
        if len(self._waiting) < self._search_interval:
            return False
        lost = (t for t in self._active if not t.is_searched)
        return any(frame.frame_index - t.last.frame_index >= _LOST_FRAMES for t in lost)

    def _settle(self, frame: _Frame) -> Iterator[FaceRows]:
        """Run the full detector on a frame and hand out everything up to it."""
        found = self._detector.detect_faces(frame.image)
        new = found[self._confirm(frame, found)]
        self._add(self._trace_back(frame, new))
        for trail in self._active:
            trail.is_searched = trail.last.frame_index < frame.frame_index
        yield from self._emit()
        self._let_go([t for t in self._active if not self._is_active(t, frame)])

    def _let_go(self, trails: list[Trail]) -> None:
        """Follow these faces no more."""
        for trail in trails:
            trail.close()
        self._active = [t for t in self._active if t not in trails]

    def _confirm(self, frame: _Frame, found: Detections) -> np.ndarray:
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
                trail.sightings[-1] = _sighting(frame, found, j, TrackStatus.DETECTED)
            else:
                score = float(found.scores[j])
                trail.sightings[-1] = trail.last._replace(score=score, status=TrackStatus.DETECTED)
            trail.remember_look(face_look(frame.image, trail.last.box))
        left = np.setdiff1d(np.arange(len(found)), [j for _, j in pairs])
        taken = [self._is_taken(found.boxes[j], frame) for j in left]
        return left[~np.array(taken, bool)]

    def _trace_back(self, frame: _Frame, found: Detections) -> list[Trail]:
        """Follow new faces from the key frame back into the waiting frames."""
        shot = len(self._shot_lengths) - 1
        trails = []
        for i in range(len(found)):
            trail = Trail(shot, [_sighting(frame, found, i, TrackStatus.DETECTED)])
            trail.remember_look(face_look(frame.image, trail.last.box))
            trails.append(trail)
        going = list(trails)
        for earlier in reversed(self._waiting[:-1]):
            if not going:
                break
            starts = np.stack([t.sightings[0].box for t in going])
            refined = self._detector.refine_faces(earlier.image, starts)
            holds = self._is_step(starts, refined)
            # Two that meet going backward were one: the later in the list, the smaller, ends there.
            holds[np.nonzero(np.triu(_is_same(refined.boxes, refined.boxes), 1))[1]] = False
            known = [box for t in self._active if (box := _box_at(t, earlier.frame_index)) is not None]
            if known:
                holds &= ~_is_same(refined.boxes, np.stack(known)).any(axis=1)
            for i, trail in enumerate(going):
                if holds[i]:
                    trail.sightings.insert(0, _sighting(earlier, refined, i, TrackStatus.TRACKED))
            going = [trail for trail, hold in zip(going, holds, strict=True) if hold]
        return trails

    def _add(self, new: list[Trail]) -> None:
        """Continue lost faces with the new ones that they explain; give an id to the others."""
        lost = [t for t in self._active if t.last.frame_index < self._waiting[-1].frame_index]
        continued = self._match_returns(lost, new)
        for trail, returned in continued:
            trail.sightings.extend(returned.sightings)
            trail.num_unconfirmed = 0
            trail.remember_look(returned.look)
        known = {id(returned) for _, returned in continued}
        fresh = [t for t in new if id(t) not in known and t.last.score >= self._min_score]
        fresh.sort(key=lambda t: (t.sightings[0].frame_index, float(t.sightings[0].box[0])))
        for trail in fresh:
            self._trails.append(trail)
            trail.track_id = len(self._trails)
            self._active.append(trail)

    def _match_returns(self, lost: list[Trail], new: list[Trail]) -> list[tuple[Trail, Trail]]:
        if not lost or not new:
            return []
        firsts = [trail.sightings[0] for trail in new]
        gaps = np.array([[first.pts_seconds - t.last.pts_seconds for first in firsts] for t in lost])
        unlike = np.array([[look_distance(t.look, trail.look) for trail in new] for t in lost])
        possible = (gaps > 0) & (gaps <= self._max_gap_seconds) & (unlike <= _MAX_UNLIKE)
        # A sure detection may lie farther off the longer the face was out of sight; a weak one may not.
        roam = _RETURN_SPEED * gaps * np.array([trail.last.score >= self._min_score for trail in new])
        reach = np.where(possible, _MAX_STEP + roam, -1.0)
        # Each pair has its own time, so the places are compared as if the face had waited at the latest.
        before = np.stack([t.predict_box(max(f.pts_seconds for f in firsts)) for t in lost])
        now = np.stack([first.box for first in firsts])
        pairs = match_boxes(
            before, now, reach=reach, max_size_ratio=_MAX_RETURN_RATIO, dissimilarity=unlike / _MAX_UNLIKE
        )
        return [(lost[i], new[j]) for i, j in pairs]

    def _is_active(self, trail: Trail, frame: _Frame) -> bool:
        if trail.num_unconfirmed > self._max_unconfirmed:
            return False
        return frame.pts_seconds - trail.last.pts_seconds <= self._max_gap_seconds

    def _emit(self) -> Iterator[FaceRows]:
        """Hand out the waiting frames, as slices of the batches that they came in."""
        rows = sorted(
            ((s.frame_index, t.track_id, s) for t in self._active for s in t.pending), key=lambda row: row[:2]
        )
        for trail in self._active:
            trail.settle()
        waiting, self._waiting = self._waiting, []
        while waiting:
            batch, first = waiting[0]
            run = [frame for frame in waiting if frame.batch is batch]
            waiting = waiting[len(run) :]
            part = slice(first, first + len(run))
            frames = FrameBatch(batch.data[part], batch.frame_index[part], batch.pts_seconds[part])
            start, end = int(frames.frame_index[0]), int(frames.frame_index[-1])
            own = [row for row in rows if start <= row[0] <= end]
            yield FaceRows(
                frames,
                np.array([index - start for index, _, _ in own], np.int64),
                np.array([track_id for _, track_id, _ in own], np.int64),
                np.array([s.box for _, _, s in own], np.float32).reshape(-1, 4),
                np.array([s.landmarks for _, _, s in own], np.float32).reshape(-1, 5, 2),
            )

    def _is_credible(self, trail: Trail) -> bool:
        """Tell a face from a passing mistake of the detector, by what the shot could have shown."""
        rows = trail.rows()
        detected = rows["score"][rows["status"] == TrackStatus.DETECTED]
        first, last = (int(index) - self._first_index for index in rows["frame_index"][[0, -1]])
        lasted = self._pts_seconds[last] - self._pts_seconds[first]
        lasts = lasted >= self._min_track_seconds or 2 * len(rows) >= self._shot_lengths[trail.shot]
        return lasts and 2 * len(rows) > last - first and float(detected.mean()) >= self._min_track_score


def _sighting(frame: _Frame, found: Detections, row: int, status: TrackStatus) -> Sighting:
    score = float(found.scores[row])
    return Sighting(
        frame.frame_index, frame.pts_seconds, found.boxes[row], score, found.landmarks[row], status
    )


def _is_same(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """bool (M, N): boxes of one frame that hold one face."""
    overlap, nested = box_overlaps(a, b)
    return (overlap > _SAME_FACE) | (nested > _NESTED)


def _box_at(trail: Trail, frame_index: int) -> np.ndarray | None:
    return next((s.box for s in reversed(trail.pending) if s.frame_index == frame_index), None)


def _forget_overlap(loser: Trail, winner: Trail) -> None:
    """Take back the loser's latest sightings on which it already was at the winner's face."""
    while loser.pending and (box := _box_at(winner, loser.last.frame_index)) is not None:
        overlap, _ = box_overlaps(loser.last.box[None], box[None])
        if overlap[0, 0] < _SAME_FACE / 2 or len(loser.sightings) == 1:
            return
        loser.sightings.pop()
