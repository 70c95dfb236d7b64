"""The thread that labels, one video at a time."""

from __future__ import annotations

import shutil
import threading
import traceback
from dataclasses import replace
from pathlib import Path

from emotemporal.app.recordings import index_recording
from emotemporal.app.results import is_disk_full, write_results, write_video_overlay
from emotemporal.app.videos import Cancelled, Task, Video, Videos
from emotemporal.errors import EmotemporalError
from emotemporal.pipeline import EmotionPipeline


class Worker(threading.Thread):
    """Does what the queue holds, in order.

    A thread is enough: decoding has a process of its own and networks run without Python's lock, so that
    the server answers meanwhile.

    Args:
        pipeline: what labels.
        videos: the queue.
        keep: folder for results of this session and others; None leaves nothing.
        min_confidence: labels of lower confidence are `uncertain`.
    """

    def __init__(
        self,
        pipeline: EmotionPipeline,
        videos: Videos,
        *,
        keep: Path | None = None,
        min_confidence: float = 0.0,
    ) -> None:
        # A daemon: should a file hold it up for good, the program ends nevertheless.
        super().__init__(name="labelling", daemon=True)
        self._pipeline = pipeline
        self._videos = videos
        self._keep = keep
        self._min_confidence = min_confidence

    def run(self) -> None:
        while (task := self._videos.take()) is not None:
            video = task.video
            try:
                if task.kind == "label":
                    self._label(task)
                else:
                    write_video_overlay(task)
            except Cancelled:
                self._videos.end(task, "cancelled")
            except Exception as error:
                if task.is_cancelled:
                    self._videos.end(task, "cancelled")
                else:
                    self._videos.end(task, "failed", _describe(error, video))
            else:
                self._videos.end(task, "done")

    def _label(self, task: Task) -> None:
        video = task.video
        task.on_progress("opening", 0, None)
        index_recording(video.path)
        analysis = self._pipeline.analyze(
            video.path, min_confidence=self._min_confidence, on_progress=task.on_progress
        )
        aggregate = "sum" if self._pipeline.classifier.head is None else "head"
        analysis = replace(analysis, settings={**analysis.settings, "aggregate": aggregate})
        task.on_progress("writing", 0, None)
        write_results(analysis, video)
        task.on_progress("writing", 0, None)
        if self._keep is not None:
            video.results = _move(video.results, self._keep, video.stem)


def _move(results: Path, keep: Path, stem: str) -> Path:
    """Move a folder into another, under a name that is not taken there."""
    number = 1
    while True:
        target = keep / (stem if number == 1 else f"{stem}-{number}")
        try:
            target.mkdir()
            break
        except FileExistsError:
            number += 1
    try:
        for path in results.iterdir():
            shutil.move(path, target / path.name)
    except OSError:
        shutil.rmtree(target, ignore_errors=True)
        raise
    return target


def _describe(error: Exception, video: Video) -> str:
    if is_disk_full(error):
        return f"{video.name}: the disk is full; free some space, then add it again"
    if isinstance(error, EmotemporalError):
        # Where the file lies is nothing that anyone could look up.
        return str(error).replace(str(video.path), video.name)
    # A fault of ours in one video must not take the others' results with it.
    traceback.print_exception(error)
    return f"{video.name}: internal error ({error}); please report it"
