"""Open what is given for a video: a file, numbered pictures, or an address."""

from __future__ import annotations

import itertools
import os
import re
from functools import cache
from pathlib import Path

import av

from emotemporal.errors import VideoError
from emotemporal.text import is_address

_NUMBER = re.compile(r"%(0\d+)?d")
_ADDRESS_TIMEOUT_SECONDS = 20.0
# What FFmpeg reads in these ways it opens by itself: playlists and scripts that name other files and
# addresses. Text it would render as pictures.
_OPENING_OTHERS = frozenset({"hls", "concat", "dash", "imf", "sdp", "rtsp", "vobsub", "lavfi", "tty"})
_NET_PROTOCOLS = "http,https,httpproxy,tcp,tls,crypto,data"
_LIVE_PROTOCOLS = f"{_NET_PROTOCOLS},rtsp,rtmp,rtmps,rtp,srtp,srt,udp"
_LIVE_SCHEMES = frozenset({"http", "https", "rtsp", "rtsps", "rtmp", "rtmps", "rtp", "srt", "udp", "tcp"})
MAX_PIXELS = 8192 * 4320
"""Of one frame. A header that lies must not cost all memory: FFmpeg itself stops at some 2 GB a frame."""


def is_sequence(path: str | Path) -> bool:
    """Tell whether a path stands for numbered pictures, as `frames/%05d.png` does."""
    return len(_NUMBER.findall(os.path.basename(path))) == 1 and not os.path.lexists(path)


def absolute(path: str | Path) -> str:
    """Return what means the same in another process, too."""
    return str(path) if is_address(path) else os.path.abspath(path)


def open_video(path: str | Path) -> av.container.InputContainer:
    """Open a file, the pictures of a sequence (as 25 frames a second), or an http(s) address.

    Raises:
        VideoError: it is not there, cannot be read, or has no end.
        av.FFmpegError: it is not a video.
    """
    if is_address(path):
        container = _open_address(str(path))
    elif is_sequence(path):
        container = _open_sequence(Path(absolute(path)))
    else:
        return open_file(path)
    return _bounded(container)


def open_file(path: str | Path) -> av.container.InputContainer:
    """Open a file of this machine, and nothing that it names.

    Raises:
        VideoError: it is not there, cannot be read, or is text, such as a list of other files.
        av.FFmpegError: it is not a video.
    """
    file = require_file(path)
    options = {"protocol_whitelist": "file", "format_whitelist": _self_contained_formats()}
    try:  # titles may be in any encoding
        return _bounded(av.open(str(file), options=options, metadata_errors="replace"))
    except av.ArgumentError as error:
        raise VideoError(
            f"{path}: not a video, but text, a list of other files, or damaged; give the videos themselves"
        ) from error


def open_stream(address: str, *, timeout_seconds: float) -> av.container.InputContainer:
    """Open a stream to be watched as it comes, and no file of this machine, whatever it names.

    Raises:
        VideoError: it is not of a kind that comes from the net.
        av.FFmpegError, OSError, ValueError: it cannot be opened.
    """
    if address.partition("://")[0].lower() not in _LIVE_SCHEMES:
        raise VideoError(f"{address}: expected an address of {', '.join(sorted(_LIVE_SCHEMES))}")
    options = {"fflags": "nobuffer", "flags": "low_delay", "rtsp_transport": "tcp"}
    options["protocol_whitelist"] = _LIVE_PROTOCOLS
    return _bounded(av.open(address, options=options, timeout=timeout_seconds, metadata_errors="replace"))


def _bounded(container: av.container.InputContainer) -> av.container.InputContainer:
    for stream in container.streams.video:
        if stream.codec_context is not None:
            stream.codec_context.options = {"max_pixels": str(MAX_PIXELS)}
    return container


@cache
def _self_contained_formats() -> str:
    """Return the names of the formats that a file may be of."""
    return ",".join(sorted(av.formats_available - _OPENING_OTHERS))


def require_file(path: str | Path) -> Path:
    """Return the absolute path of a file with something in it.

    Absolute, since FFmpeg takes `12:30.mp4` for an address.

    Raises:
        VideoError: it is missing, a folder, unreadable or empty.
    """
    file = Path(os.path.abspath(path))
    # Unlike Path.is_dir these have no quarrel with a name that is too long for the system.
    if os.path.isdir(file):
        raise VideoError(f"{path}: a folder, not a video; give a file")
    if not os.path.exists(file):
        raise VideoError(f"{path}: no such file; check the path")
    try:
        with file.open("rb") as stream:
            empty = not stream.read(1)
    except OSError as error:
        raise VideoError(f"{path}: cannot be read ({error.strerror}); check its permissions") from error
    if empty:
        raise VideoError(f"{path}: an empty file; copy or download it again")
    return file


def _open_address(address: str) -> av.container.InputContainer:
    endless = f"{address}: has no known length; save it as a file first, or watch it with emotemporal live"
    if not address.lower().startswith(("http://", "https://")):
        raise VideoError(endless)
    try:
        container = av.open(
            address,
            options={"protocol_whitelist": _NET_PROTOCOLS},
            timeout=_ADDRESS_TIMEOUT_SECONDS,
            metadata_errors="replace",
        )
    except (av.FFmpegError, OSError) as error:
        reason = getattr(error, "strerror", None) or type(error).__name__
        raise VideoError(f"{address}: cannot be opened ({reason}); check the address") from error
    if container.duration is None:
        container.close()
        raise VideoError(endless)
    return container


def _open_sequence(pattern: Path) -> av.container.InputContainer:
    before, width, after = _NUMBER.split(pattern.name)
    digits = f"[0-9]{{{int(width)},}}" if width else "0|[1-9][0-9]*"
    name = re.compile(f"{re.escape(before)}({digits}){re.escape(after)}")
    # FFmpeg looks for the first number among 0 to 4 only, and takes a gap for the end.
    found = os.listdir(pattern.parent) if pattern.parent.is_dir() else []
    numbers = sorted(int(match[1]) for match in map(name.fullmatch, found) if match)
    if not numbers:
        raise VideoError(f"{pattern}: no such file, and no pictures of such names; check the path")
    gap = next((low for low, high in itertools.pairwise(numbers) if high > low + 1), None)
    if gap is not None:
        missing = pattern.name.replace(f"%{width or ''}d", f"{gap + 1:{width or ''}d}")
        raise VideoError(f"{pattern}: {missing} is missing; number the pictures without gaps")
    folder = str(pattern.parent).replace("%", "%%")
    options = {"start_number": str(numbers[0]), "start_number_range": "1", "framerate": "25"}
    options["protocol_whitelist"] = "file"
    return av.open(os.path.join(folder, pattern.name), format="image2", options=options)
