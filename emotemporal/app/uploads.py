"""Take an upload in, as a stream, and no more of it than is allowed."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import PurePath

from starlette.requests import Request

from emotemporal.app.folder import SessionFolder
from emotemporal.app.names import shown_name
from emotemporal.app.results import is_disk_full
from emotemporal.app.videos import Refusal, Video, Videos
from emotemporal.datasets.clips import VIDEO_SUFFIXES
from emotemporal.video.pictures import PICTURE_SUFFIXES

SUFFIXES = VIDEO_SUFFIXES | PICTURE_SUFFIXES
NAME_HEADER = "x-file-name"
"""Percent-encoded, since headers know no other letters."""
_SPARE_BYTES = 64_000_000
"""Of the disk, for results and for everyone else."""


@dataclass(frozen=True)
class Limits:
    """What may be uploaded."""

    max_bytes: int = 500_000_000

    @property
    def told(self) -> str:
        return f"{self.max_bytes / 1e6:g} MB"


async def take_upload(request: Request, videos: Videos, session: SessionFolder, limits: Limits) -> Video:
    """Write the body of a request to a file and put it into the queue.

    Raises:
        Refusal: it is too large, of another type, or there is no room for it.
        ClientDisconnect: the browser gave it up.
    """
    name = shown_name(request.headers.get(NAME_HEADER, ""))
    try:
        told = _told_size(request)
        if told is not None and told > limits.max_bytes:
            raise _too_large(name, limits)
        _require_type(name)
        _require_room(name, told or 0, session)
        videos.begin_upload()
    except Refusal as refusal:
        # A browser that is still sending would not read the answer.
        if refusal.status != 413:
            await _drain(request.stream(), limits.max_bytes)
        raise
    video = None
    complete = None
    try:
        video = Video(name, PurePath(name).suffix.lower(), session.new_folder())
        await _write(request.stream(), video, limits)
        complete = video
    except OSError as error:
        if not is_disk_full(error):
            raise
        raise _disk_full(name) from error
    finally:
        if video is not None and complete is None:
            video.remove()
        videos.end_upload(complete)
    return video


async def _write(stream: AsyncIterator[bytes], video: Video, limits: Limits) -> None:
    with video.path.open("xb") as file:
        async for chunk in stream:
            video.size_bytes += len(chunk)
            if video.size_bytes > limits.max_bytes:
                raise _too_large(video.name, limits)
            file.write(chunk)


async def _drain(stream: AsyncIterator[bytes], max_bytes: int) -> None:
    size = 0
    async for chunk in stream:
        size += len(chunk)
        if size > max_bytes:
            return


def _told_size(request: Request) -> int | None:
    told = request.headers.get("content-length", "")
    return int(told) if told.isdecimal() else None


def _require_type(name: str) -> None:
    suffix = PurePath(name).suffix.lower()
    if suffix not in SUFFIXES:
        known = ", ".join(sorted(found.lstrip(".") for found in SUFFIXES))
        found = f"a file of type {suffix}" if suffix else "a name without a type"
        raise Refusal(f"{name}: {found}, neither a video nor a picture that is known; choose {known}", 415)


def _require_room(name: str, size_bytes: int, session: SessionFolder) -> None:
    if shutil.disk_usage(session.path).free < size_bytes + _SPARE_BYTES:
        raise _disk_full(name)


def _too_large(name: str, limits: Limits) -> Refusal:
    return Refusal(f"{name}: larger than {limits.told}; cut it, or start the app with a larger --max-mb", 413)


def _disk_full(name: str) -> Refusal:
    return Refusal(f"{name}: the disk is full; free some space, then add it again", 507)
