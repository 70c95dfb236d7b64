"""The videos of a session, and what is done with them, one thing after the other."""

from __future__ import annotations

import shutil
import threading
import time
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

from emotemporal.app.folder import new_id
from emotemporal.app.names import safe_stem
from emotemporal.errors import InputError

Kind = Literal["label", "overlay"]
State = Literal["waiting", "running", "done", "failed", "cancelled"]


class Refusal(InputError):
    """A request cannot be met; the browser is told why.

    Args:
        status: of HTTP.
    """

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class Cancelled(Exception):
    """The user no longer wants what is being done."""


class Task:
    """Something to be done with a video, and how far that is."""

    def __init__(self, video: Video, kind: Kind) -> None:
        self.video = video
        self.kind = kind
        self.state: State = "waiting"
        self.message = ""
        """Why it failed, in one line."""
        self.is_cancelled = False
        self.stage = ""
        self._share: float | None = None
        self._began = 0.0

    @property
    def is_open(self) -> bool:
        return self.state in ("waiting", "running")

    def on_progress(self, stage: str, done: int, total: int | None) -> None:
        """Take note of progress.

        Raises:
            Cancelled: there should be no more of it.
        """
        if self.is_cancelled:
            raise Cancelled
        if stage != self.stage:
            self.stage, self._began = stage, time.monotonic()
        self._share = min(1.0, done / total) if total else None

    def to_json(self) -> dict[str, Any]:
        document: dict[str, Any] = {"state": self.state, "message": self.message}
        if self.state == "running":
            document |= {"stage": self.stage, "share": self._share, "seconds_left": self._seconds_left()}
        return document

    def _seconds_left(self) -> float | None:
        # Of the very first frames it would be mostly the time that networks take to start.
        if not self._share or self._share < 0.02:
            return None
        return (time.monotonic() - self._began) * (1 - self._share) / self._share


class Video:
    """A video or picture that was uploaded.

    Args:
        name: what its owner calls it: shown, never used as a path.
        suffix: of its file, one of those that are taken.
        folder: its own, within that of the session.
    """

    def __init__(self, name: str, suffix: str, folder: Path) -> None:
        self.id = new_id()
        self.name = name
        self.suffix = suffix
        self.folder = folder
        self.results = folder / "results"
        """Where its file and its results lie."""
        self.results.mkdir()
        self.size_bytes = 0
        self.labelling = Task(self, "label")
        self.overlay: Task | None = None
        self.summary: Mapping[str, Any] = {}
        """What the list shows of its results."""

    @property
    def path(self) -> Path:
        return self.results / f"video{self.suffix}"

    @property
    def stem(self) -> str:
        """What its downloads are called."""
        return safe_stem(self.name)

    def remove(self) -> None:
        """Remove the file and all results, those that were kept, too, but nothing that others put there."""
        if self.results.parent != self.folder:
            for path in self.results.glob("video.*"):
                path.unlink(missing_ok=True)
            with suppress(OSError):
                self.results.rmdir()
        shutil.rmtree(self.folder, ignore_errors=True)


class Videos:
    """The videos in the order in which they came, and the queue of what is to be done with them.

    Args:
        max_open: videos that may wait or be worked on at a time, those that are being uploaded included.
    """

    def __init__(self, *, max_open: int = 20) -> None:
        self._max_open = max_open
        self._videos: dict[str, Video] = {}
        self._queue: deque[Task] = deque()
        self._running: Task | None = None
        self._num_uploads = 0
        self._is_closed = False
        self._changed = threading.Condition()

    def begin_upload(self) -> None:
        """Take a place in the queue; `end_upload` gives it back.

        Raises:
            Refusal: there is none.
        """
        with self._changed:
            is_busy = self._running is not None
            if len(self._queue) + is_busy + self._num_uploads >= self._max_open:
                raise Refusal(
                    f"the queue is full ({self._max_open} videos); add it when some of them are done", 429
                )
            self._num_uploads += 1

    def end_upload(self, video: Video | None) -> None:
        """Put what was uploaded into the queue; None where it came to nothing."""
        with self._changed:
            self._num_uploads -= 1
            if video is not None:
                self._videos[video.id] = video
                self._append(video.labelling)

    def find(self, video_id: str) -> Video:
        """Return a video.

        Raises:
            Refusal: there is no such video.
        """
        with self._changed:
            try:
                return self._videos[video_id]
            except KeyError:
                raise Refusal("there is no such video any more; reload the page", 404) from None

    def make_overlay(self, video: Video) -> None:
        """Let the overlay be made, unless it is there or on its way.

        Raises:
            Refusal: the video is not labelled.
        """
        with self._changed:
            if video.labelling.state != "done":
                raise Refusal(f"{video.name}: not labelled yet; wait until it is", 409)
            if video.overlay is None or video.overlay.state in ("failed", "cancelled"):
                video.overlay = Task(video, "overlay")
                self._append(video.overlay)

    def cancel(self, video: Video) -> None:
        """Give up what is still to be done with a video."""
        with self._changed:
            for task in (video.labelling, video.overlay):
                if task is None or not task.is_open:
                    continue
                task.is_cancelled = True
                # One that runs is ended by the worker.
                if task.state == "waiting":
                    self._queue.remove(task)
                    self._end(task, "cancelled")

    def forget(self, video: Video) -> None:
        """Remove a video and its results."""
        self.cancel(video)
        with self._changed:
            self._videos.pop(video.id, None)
            if self._running is None or self._running.video is not video:
                video.remove()

    def take(self) -> Task | None:
        """Wait for the next thing to do; None once there is an end of it."""
        with self._changed:
            self._changed.wait_for(lambda: self._queue or self._is_closed)
            if self._is_closed:
                return None
            self._running = self._queue.popleft()
            self._running.state = "running"
            return self._running

    def end(self, task: Task, state: State, message: str = "") -> None:
        """Say what became of what `take` gave."""
        with self._changed:
            self._running = None
            self._end(task, state, message)
            if task.video.id not in self._videos:  # forgotten meanwhile
                task.video.remove()

    def close(self) -> None:
        """Begin nothing more, and give up what is being done."""
        with self._changed:
            self._is_closed = True
            if self._running is not None:
                self._running.is_cancelled = True
            self._changed.notify_all()

    def to_json(self) -> list[dict[str, Any]]:
        """Return all videos as the list shows them, the newest first."""
        with self._changed:
            places = {task: place for place, task in enumerate(self._queue, 1)}
            return [self._describe(video, places) for video in reversed(self._videos.values())]

    def _describe(self, video: Video, places: Mapping[Task, int]) -> dict[str, Any]:
        document = {"id": video.id, "name": video.name, "size_bytes": video.size_bytes, **video.summary}
        for key, task in (("labelling", video.labelling), ("overlay", video.overlay)):
            document[key] = None if task is None else {**task.to_json(), "place": places.get(task, 0)}
        return document

    def _append(self, task: Task) -> None:
        self._queue.append(task)
        self._changed.notify_all()

    def _end(self, task: Task, state: State, message: str = "") -> None:
        task.state, task.message = state, message
        # Nothing comes of the file any more.
        if task.kind == "label" and state in ("failed", "cancelled"):
            task.video.remove()
