"""Still pictures: a clip of one frame."""

from __future__ import annotations

import os
import warnings
from pathlib import Path

import numpy as np

from emotemporal.errors import VideoError
from emotemporal.text import is_address
from emotemporal.video.opening import MAX_PIXELS, is_sequence

PICTURE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff"})
_START_BYTES = 1 << 16
"""What an animation says of itself stands within so much of its beginning."""
_MAX_BYTES = 8 * MAX_PIXELS
"""Four channels of 16 bits, not compressed."""


def is_picture(path: str | Path) -> bool:
    """Tell whether a file is a still picture: by its name, unless that of a PNG hides an animation."""
    if Path(path).suffix.lower() not in PICTURE_SUFFIXES or is_address(path) or is_sequence(path):
        return False
    try:
        with open(path, "rb") as file:
            start = file.read(_START_BYTES)
    except OSError:
        return True  # whoever reads it says what is wrong
    return not (start.startswith(b"\x89PNG") and b"acTL" in start.partition(b"IDAT")[0])


def require_bounded(path: str | Path) -> None:
    """Make sure, before anything is decoded, that a picture is none that would fill the memory.

    Raises:
        VideoError: the file is too large, its header claims too many pixels, or is none.
    """
    from PIL import Image  # here, so that reading videos does not load it

    num_bytes = os.stat(path).st_size
    if num_bytes > _MAX_BYTES:
        raise VideoError(f"{path}: a picture of {num_bytes} bytes, more than {_MAX_BYTES}; scale it down")
    try:
        # Pillow reads no more than the header here; what its own limit says is the same as ours.
        with warnings.catch_warnings(action="ignore"), Image.open(path) as picture:
            width, height = picture.size
    except Image.DecompressionBombError as error:
        raise VideoError(f"{path}: a picture of more than {MAX_PIXELS} pixels; scale it down") from error
    except (OSError, ValueError, SyntaxError, EOFError) as error:
        raise VideoError(f"{path}: not a readable picture; convert it to JPEG or PNG") from error
    if width * height > MAX_PIXELS:
        raise VideoError(f"{path}: {width}x{height}, more than {MAX_PIXELS} pixels; scale it down")


def read_picture(path: str | Path) -> np.ndarray:
    """Read a still picture, turned upright as its EXIF orientation says.

    Returns:
        uint8 (H, W, 3), RGB.

    Raises:
        VideoError: the file is not a picture that can be decoded, too large, or an animation.
    """
    import cv2  # here, so that reading videos does not load it

    require_bounded(path)
    stored = np.fromfile(path, dtype=np.uint8)
    start = stored[:_START_BYTES].tobytes()
    if start[8:12] == b"WEBP" and b"ANIM" in start:
        raise VideoError(f"{path}: an animated WebP, of which FFmpeg knows no frames; convert it to MP4")
    try:
        picture = cv2.imdecode(stored, cv2.IMREAD_COLOR)
    except cv2.error:
        picture = None
    if picture is None:
        raise VideoError(f"{path}: not a readable picture; convert it to JPEG or PNG")
    return cv2.cvtColor(picture, cv2.COLOR_BGR2RGB)
