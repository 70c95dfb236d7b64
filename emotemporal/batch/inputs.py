"""What a user names to be labelled -> the videos of a batch."""

from __future__ import annotations

import csv
import os
from collections.abc import Sequence
from pathlib import Path

from emotemporal.batch.jobs import Job
from emotemporal.datasets.clips import VIDEO_SUFFIXES
from emotemporal.datasets.manifest import PATH_COLUMNS
from emotemporal.errors import DataError
from emotemporal.text import is_address, media_name
from emotemporal.video.opening import is_sequence
from emotemporal.video.pictures import PICTURE_SUFFIXES


def holds_videos(name: str) -> bool:
    """Tell whether a name stands for many videos: a folder, or a table that lists them."""
    return not is_address(name) and (os.path.isdir(name) or _is_list(name))


def list_jobs(names: Sequence[str]) -> tuple[list[Job], dict[str, str]]:
    """Return what is to be done, each video once.

    Args:
        names: videos, pictures, folders of them, numbered pictures, http(s) addresses, and csv tables with
            a column `path` (or `file`, `video`), relative to the table's folder; other columns are ignored.
    Returns: the jobs; and which names cannot be used, and why, in one line.
    """
    videos: list[Path | str] = []
    failures: dict[str, str] = {}
    for name in names:
        if is_address(name):  # no Path: it makes one slash of two
            videos.append(name)
        # Unlike Path.is_dir this has no quarrel with a name that is too long for the system.
        elif os.path.isdir(name):
            found = sorted(child for child in Path(name).iterdir() if _is_input(child))
            if not found:
                failures[name] = f"{Path(name)}: no videos or pictures in this folder"
            videos += found
        elif _is_list(name):
            try:
                videos += _read_list(Path(name))
            except DataError as error:
                failures[name] = str(error)
        else:
            videos.append(Path(name))
    jobs: list[Job] = []
    taken: set[str] = set()
    for video in dict.fromkeys(videos):
        # a.mp4 and a.mov, or two folders' a.mp4, must not write over each other's results.
        path = Path(video)
        own = path.absolute().parent.name if is_sequence(video) else Path(media_name(video)).stem
        stem, number = own, 2
        while stem in taken:
            stem, number = f"{own}-{number}", number + 1
        taken.add(stem)
        jobs.append(Job(video, stem))
    return jobs, failures


def _is_input(path: Path) -> bool:
    # Overlays and timelines are results, also when they lie beside their videos.
    is_taken = path.suffix.lower() in VIDEO_SUFFIXES | PICTURE_SUFFIXES
    return path.is_file() and is_taken and not path.stem.endswith((".overlay", ".timeline"))


def _is_list(name: str) -> bool:
    return name.lower().endswith(".csv") and os.path.isfile(name)


def _read_list(path: Path) -> list[Path]:
    """Return the videos that a table lists.

    Raises:
        DataError: it is no table, has no such column, or lists nothing.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            rows = [row for row in csv.reader(stream) if row]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path}: not a csv table ({error})") from error
    header = [name.strip().lower() for name in rows[0]] if rows else []
    column = next((header.index(name) for name in PATH_COLUMNS if name in header), None)
    if column is None:
        raise DataError(f"{path}: no column named {' or '.join(PATH_COLUMNS)}, found {', '.join(header)}")
    listed = [row[column].strip() for row in rows[1:] if len(row) > column]
    videos = [path.parent / name for name in listed if name]
    if not videos:
        raise DataError(f"{path}: lists no videos")
    return videos
