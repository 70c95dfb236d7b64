"""Follow every face through a video at a fraction of the cost of detecting it on each frame.

The full detector runs on key frames. Between them each face is found again from its last box by the
detector's last stage alone, and a face that is new on a key frame is followed backward as well, to the frame
on which it entered. Frames wait for that: results lag behind by one key interval. A key frame that shows
nothing new, with every face surely in sight, is spared the detector.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from emotemporal.faces.detector import FaceDetector
from emotemporal.faces.following import (
    MAX_UNLIKE,
    STILL_SECONDS,
    FaceFollower,
    box_at,
    is_same_face,
    sighting_of,
)
from emotemporal.faces.shots import ShotCutDetector
from emotemporal.faces.trail import Trail, face_look, look_distance
from emotemporal.structures import Detections, FaceRows, FrameBatch, Track, TrackStatus

_LOST_FRAMES = 2
"""Frames out of sight after which the full detector looks for a face before its time."""
_BACK_FRAMES = 5
"""Frames in a row that a new face, followed backward, may be out of sight: something passed before it."""


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


class FaceTracker(FaceFollower):
    """Turn frames, in order and in batches of any size, into tracks; the result does not depend on the sizes.

    Args:
        detector: finds and refines faces.
        key_interval: frames between two runs of the full detector.
        still_seconds: time from which on the full detector runs on the next key frame even where nothing
            changes but the faces that are followed.
        search_interval: least frames between two such runs when faces were lost.
        max_gap_seconds, min_score, min_refined_score, max_unconfirmed, shots: as of `FaceFollower`.
        min_track_seconds: shorter tracks are dropped, unless they fill half of their shot.
        min_track_score: tracks whose detections score less on average are dropped, and those that were
            seen on less than half of their frames.
    """

    def __init__(
        self,
        detector: FaceDetector,
        *,
        key_interval: int = 12,
        still_seconds: float = STILL_SECONDS,
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
        super().__init__(
            detector,
            still_seconds=still_seconds,
            max_gap_seconds=max_gap_seconds,
            min_score=min_score,
            min_refined_score=min_refined_score,
            max_unconfirmed=max_unconfirmed,
            shots=shots,
        )
        self._key_interval = key_interval
        self._search_interval = search_interval
        self._min_track_seconds = min_track_seconds
        self._min_track_score = min_track_score
        self._waiting: list[_Frame] = []
        """Frames since the last key frame: not yet handed out."""
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
        self._leave_shot()

    def _must_search(self, frame: _Frame) -> bool:
        """True soon after a face is lost, unless the detector has only just run."""
        if len(self._waiting) < self._search_interval:
            return False
        lost = (t for t in self._active if not t.is_searched)
        return any(frame.frame_index - t.last.frame_index >= _LOST_FRAMES for t in lost)

    def _settle(self, frame: _Frame) -> Iterator[FaceRows]:
        """Hand out everything up to a frame, on which the full detector runs unless nothing is new there."""
        if self._is_news(frame):
            self._detect(frame)
        yield from self._emit()
        self._let_go(self._gone(frame))

    def _detect(self, frame: _Frame) -> None:
        """Run the full detector; follow the faces that are new."""
        found = self._detector.detect_faces(frame.image)
        new = found[self._confirm(frame, found)]
        for trail in self._join(frame, self._trace_back(frame, new)):
            self._trails.append(trail)
            trail.track_id = len(self._trails)
        self._remember(frame, found)

    def _trace_back(self, frame: _Frame, found: Detections) -> list[Trail]:
        """Follow new faces from the key frame back into the waiting frames."""
        trails = self._begin(frame, found, shot=len(self._shot_lengths) - 1)
        going = list(trails)
        for earlier in reversed(self._waiting[:-1]):
            if not going:
                break
            starts = np.stack([t.sightings[0].box for t in going])
            refined = self._detector.refine_faces(earlier.image, starts)
            holds = self._is_step(starts, refined)
            # Two that meet going backward were one: the later in the list, the smaller, ends there.
            ends = np.triu(is_same_face(refined.boxes, refined.boxes), 1).any(axis=0)
            known = [box for t in self._active if (box := box_at(t, earlier.frame_index)) is not None]
            if known:
                ends |= is_same_face(refined.boxes, np.stack(known)).any(axis=1)
            ends &= holds
            for i, trail in enumerate(going):
                if holds[i] and not ends[i] and self._continues_back(trail, earlier, refined.boxes[i]):
                    trail.sightings.insert(0, sighting_of(earlier, refined, i, TrackStatus.TRACKED))
            going = [t for i, t in enumerate(going) if not ends[i] and self._goes_on_back(t, earlier)]
        return trails

    def _continues_back(self, trail: Trail, earlier: _Frame, box: np.ndarray) -> bool:
        """True if a box on an earlier frame is the face's: the next to its first, or one that looks alike."""
        if trail.sightings[0].frame_index == earlier.frame_index + 1:
            return True
        return look_distance(face_look(earlier.image, box), trail.look) <= MAX_UNLIKE

    def _goes_on_back(self, trail: Trail, earlier: _Frame) -> bool:
        """True if it is worth to look for a face on the frame before `earlier`."""
        # What may be a mistake of the detector is not searched for beyond the first frame without it.
        patience = _BACK_FRAMES if trail.last.score >= self._min_score else 0
        return trail.sightings[0].frame_index - earlier.frame_index <= patience

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
