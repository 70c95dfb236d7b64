"""One video after the other, from the file to its written results."""

from __future__ import annotations

import errno
import sys
import traceback
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from emotemporal.batch.jobs import Job, Outcome, Request, file_stamp
from emotemporal.errors import (
    OUT_OF_MEMORY,
    CheckpointError,
    EmotemporalError,
    OutputError,
    UsageError,
    is_out_of_memory,
)
from emotemporal.pipeline import EmotionPipeline
from emotemporal.progress import Progress
from emotemporal.report.formats import FORMATS
from emotemporal.report.overlay_video import decode_again, write_overlay
from emotemporal.report.page import write_report_page
from emotemporal.report.tables import write_frames_csv, write_json
from emotemporal.structures import VideoAnalysis
from emotemporal.text import one_line, redacted

if TYPE_CHECKING:
    from emotemporal.geometry import GeometryReader

# No other video's results can be written either.
_FOR_ALL = {errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS, errno.EACCES, errno.EPERM}


class Labeller:
    """The networks, and what is asked of them.

    Args:
        request: what is asked for.
        output_dir: an existing folder.
        one_thread: let each network run in one thread; see `EmotionPipeline`.
        on_licence: told of licences that bind the user; where there is none, every outcome bears them.
    Raises:
        UsageError: a checkpoint is missing or none, or cannot do what is asked for.
    """

    def __init__(
        self,
        request: Request,
        output_dir: Path,
        *,
        one_thread: bool,
        on_licence: Callable[[str], None] | None = None,
    ) -> None:
        self._licences: list[str] = []
        tell = on_licence or self._licences.append
        self._request = request
        self._output_dir = output_dir
        try:
            pipeline = EmotionPipeline.load(
                request.checkpoint,
                request.device,
                detector=request.detector,
                labels=request.labels,
                backend=request.backend,
                one_thread=one_thread,
            )
        except CheckpointError as error:
            raise UsageError(f"--checkpoint: {error}" if request.checkpoint else str(error)) from error
        head = pipeline.classifier.head
        self._aggregate = request.aggregate or ("head" if head is not None else "sum")
        if head is None and "head" in (self._aggregate, request.frame_labels):
            raise UsageError(_describe_missing_head(pipeline, self._aggregate, request))
        if head is not None and head.spec.sees_geometry:
            # Landmarks are not free for every use.
            tell(f"licence of --checkpoint: {pipeline.checkpoint.header.licence}")
        self._analyze: Callable[..., VideoAnalysis] = pipeline.analyze
        if request.geometry:
            geometry = _load_geometry(request.geometry)
            tell(f"licence of --geometry: {geometry.checkpoint.header.licence}")
            baseline = None
            if request.baseline:
                baseline = geometry.read_baseline(request.baseline, pipeline.detector)
            self._analyze = partial(geometry.analyze, pipeline, baseline=baseline)

    def label(self, job: Job, on_progress: Progress) -> Outcome:
        """Analyse one video and write what was asked for.

        Raises:
            OutputError: nor could the results of any other video be written.
        """
        try:
            return self._label(job, on_progress)
        except EmotemporalError as error:
            if isinstance(error, OutputError) and _is_for_all(error):
                raise
            failure = str(error)
        except Exception as error:
            # A fault of ours in one video must not take the others' results with it.
            if is_out_of_memory(error):
                failure = f"{job.video}: {OUT_OF_MEMORY}"
            else:
                print(redacted(traceback.format_exc()), file=sys.stderr)
                failure = one_line(f"{job.video}: internal error ({error}); please report it")
        return Outcome(job, failure=failure, licences=tuple(self._licences))

    def _label(self, job: Job, on_progress: Progress) -> Outcome:
        request, base = self._request, self._output_dir / job.stem
        # Before it is read: whatever changes from here on is not what was labelled.
        source = file_stamp(job.video)
        analysis = self._analyze(
            job.video,
            smooth=request.smooth,
            frame_labels=request.frame_labels,
            min_confidence=request.min_confidence,
            on_progress=on_progress,
        )
        analysis = replace(analysis, settings={**analysis.settings, "aggregate": self._aggregate})
        is_drawn_on = request.overlay and not analysis.info.is_still
        with decode_again(analysis) if is_drawn_on else nullcontext() as decoded:
            # The cheap results first, so that they are kept.
            names = [f"{base.name}.json"]
            write_json(analysis, f"{base}.json")
            if request.per_frame:
                names.append(f"{base.name}.frames.csv")
                write_frames_csv(analysis, f"{base}.frames.csv")
            names += self._write_formats(analysis, base, on_progress)
            if request.overlay:
                names.append(f"{base.name}.overlay{'.png' if analysis.info.is_still else '.mp4'}")
                path = self._output_dir / names[-1]
                found = write_overlay(analysis, path, decoded=decoded, on_progress=on_progress)
                if found:
                    analysis = replace(analysis, warnings=(*analysis.warnings, *found))
                    write_json(analysis, f"{base}.json")
        left_out = _timed_of_picture(request) if analysis.info.is_still else []
        if left_out:
            warning = f"a picture has no time: {', '.join(left_out)} not written"
            analysis = replace(analysis, warnings=(*analysis.warnings, warning))
            write_json(analysis, f"{base}.json")
        if request.report:
            # It tells of all warnings, and plays the overlay where the browser cannot play the video.
            names.append(f"{base.name}.report.html")
            write_report_page(analysis, self._output_dir / names[-1])
        outputs = {name: file_stamp(self._output_dir / name) for name in names}
        return Outcome(
            job, analysis.to_json(), source=source, outputs=outputs, licences=tuple(self._licences)
        )

    def _write_formats(self, analysis: VideoAnalysis, base: Path, on_progress: Progress) -> list[str]:
        """Write what `formats` and `plot` ask for; return the names of the files."""
        request, is_still = self._request, analysis.info.is_still
        names = []
        for name in request.formats:
            found = FORMATS[name]
            if not (found.timed and is_still):
                names.append(f"{base.name}{found.suffix}")
                found.write(analysis, self._output_dir / names[-1])
        if request.plot and not is_still:
            # It draws with matplotlib, which takes a second to load.
            from emotemporal.report.timeline import write_timeline

            names.append(f"{base.name}.timeline.png")
            path = self._output_dir / names[-1]
            write_timeline(analysis, path, aggregate=self._aggregate, on_progress=on_progress)
        return names


def _timed_of_picture(request: Request) -> list[str]:
    """Return what was asked for that tells of stretches of time, which a picture has none of."""
    timed = [name for name in request.formats if FORMATS[name].timed]
    return [*timed, "plot"] if request.plot else timed


def _load_geometry(path: str) -> GeometryReader:
    # Most runs do without.
    from emotemporal.geometry import GeometryReader

    try:
        return GeometryReader.load(path)
    except CheckpointError as error:
        raise UsageError(f"--geometry: {error}") from error


def _describe_missing_head(pipeline: EmotionPipeline, aggregate: str, request: Request) -> str:
    flag, others = ("--aggregate", "sum or vote") if aggregate == "head" else ("--frame-labels", "network")
    if pipeline.checkpoint.header.head is not None:
        return f"{flag} head: the head does not work on --labels {request.labels}, use {others}"
    return f"{flag} head: {pipeline.checkpoint.path} is a frame network, use {others}"


def _is_for_all(error: BaseException | None) -> bool:
    """Return whether what the operating system said to begin with holds for the whole folder."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in _FOR_ALL:
            return True
        error = error.__cause__
    return False
