"""What is written of a labelled video, and what of it can be downloaded."""

from __future__ import annotations

import errno
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

from emotemporal.app.videos import Task, Video
from emotemporal.report.archive import load_analysis, save_analysis
from emotemporal.report.formats import FORMATS
from emotemporal.report.overlay_video import write_overlay
from emotemporal.report.page import render_report_page, write_report_page
from emotemporal.report.page_tables import aggregations
from emotemporal.report.palette import emotion_hex
from emotemporal.report.tables import write_frames_csv, write_json
from emotemporal.structures import VideoAnalysis

PAGE = "video.report.html"
_FORMATS = ("segments", "eaf", "textgrid", "vtt", "srt")
_ANALYSIS = "analysis.npz"


@dataclass(frozen=True)
class Download:
    """A result that can be downloaded."""

    title: str
    suffix: str


DOWNLOADS = {
    "csv": Download("Every frame (CSV)", ".frames.csv"),
    "json": Download("Clip labels and settings (JSON)", ".json"),
    "segments": Download("Segments (CSV)", FORMATS["segments"].suffix),
    "eaf": Download("ELAN (EAF)", FORMATS["eaf"].suffix),
    "textgrid": Download("Praat (TextGrid)", FORMATS["textgrid"].suffix),
    "vtt": Download("Captions (WebVTT)", FORMATS["vtt"].suffix),
    "srt": Download("Captions (SRT)", FORMATS["srt"].suffix),
}


def write_results(analysis: VideoAnalysis, video: Video) -> None:
    """Write the page and all tables of a video, and what the list shows of it.

    Raises:
        OutputError: a file cannot be written.
    """
    analysis = replace(analysis, warnings=_of_name(analysis.warnings, video))
    save_analysis(analysis, video.folder / _ANALYSIS)
    base = video.results / "video"
    # Whoever downloads these knows the video by its own name alone.
    named = _with_path(analysis, video.name)
    write_json(named, f"{base}.json")
    write_frames_csv(named, f"{base}.frames.csv")
    for name in _FORMATS:
        found = FORMATS[name]
        if not (found.timed and analysis.info.is_still):
            # ELAN looks for the video where the file lies; it is only told of, not opened.
            beside = _with_path(analysis, str(video.results / video.name))
            found.write(beside if name == "eaf" else named, f"{base}{found.suffix}")
    write_report_page(analysis, video.results / PAGE, title=video.name)
    video.summary = _summarise(analysis, video)


def overlay_path(video: Video, *, is_still: bool) -> Path:
    return video.results / f"video.overlay{'.png' if is_still else '.mp4'}"


def write_video_overlay(task: Task) -> None:
    """Write the overlay of a labelled video, and let its page play that where it cannot play the video.

    Raises:
        EmotemporalError: it cannot be written, or the video no longer read.
        Cancelled: the task was.
    """
    video = task.video
    analysis = found_in(video)
    path = overlay_path(video, is_still=analysis.info.is_still)
    found = write_overlay(analysis, path, on_progress=task.on_progress)
    analysis = replace(analysis, warnings=(*analysis.warnings, *_of_name(found, video)))
    write_report_page(analysis, video.results / PAGE, title=video.name)


def found_in(video: Video) -> VideoAnalysis:
    """Return what was found in a video that is labelled."""
    return _with_path(load_analysis(video.folder / _ANALYSIS), str(video.path))


def files_to_download(video: Video) -> dict[str, Path]:
    """Return the results that are there, by the names under which they are downloaded."""
    names = {found.suffix for found in DOWNLOADS.values()} | {".overlay.mp4", ".overlay.png"}
    paths = {suffix: video.results / f"video{suffix}" for suffix in sorted(names)}
    return {f"{video.stem}{suffix}": path for suffix, path in paths.items() if path.is_file()}


def render_page_to_keep(video: Video) -> tuple[str, str]:
    """Return name and text of a page that plays the video lying beside it under its own name."""
    name = f"{video.stem}.report.html"
    text = render_report_page(
        found_in(video), Path(name), video_url=f"./{quote(video.name)}", title=video.name
    )
    return name, text


def write_archive(video: Video, path: Path) -> None:
    """Write all results of a video, but not the video, as one zip file."""
    page, text = render_page_to_keep(video)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(f"{video.stem}/{page}", text)
        for name, file in files_to_download(video).items():
            stored = zipfile.ZIP_STORED if file.suffix in (".mp4", ".png") else zipfile.ZIP_DEFLATED
            archive.write(file, f"{video.stem}/{name}", compress_type=stored)


def is_disk_full(error: BaseException | None) -> bool:
    """Tell whether what went wrong to begin with is that nothing more fits on the disk."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            return True
        error = error.__cause__ or error.__context__
    return False


def _with_path(analysis: VideoAnalysis, path: str) -> VideoAnalysis:
    return replace(analysis, info=replace(analysis.info, path=path))


def _of_name(lines: Iterable[str], video: Video) -> tuple[str, ...]:
    """Return what is said of a file as said of its name: where it lies is nothing anyone could look up."""
    return tuple(line.replace(str(video.path), video.name) for line in lines)


def _summarise(analysis: VideoAnalysis, video: Video) -> dict[str, Any]:
    name = next(iter(aggregations(analysis)), "")
    people = []
    for timeline in analysis.timelines:
        result = timeline.clip[name]
        told = result.label(analysis.min_confidence)
        people.append(
            {
                "id": int(timeline.track_id),
                "emotion": told,
                "colour": emotion_hex(told),
                "confidence": float(result.confidence),
            }
        )
    there = [key for key, found in DOWNLOADS.items() if (video.results / f"video{found.suffix}").is_file()]
    return {
        "people": people,
        "seconds": 0.0 if analysis.info.is_still else analysis.info.duration_seconds,
        "is_still": analysis.info.is_still,
        "warnings": list(analysis.warnings),
        "downloads": [{"key": key, "title": DOWNLOADS[key].title} for key in there],
    }
