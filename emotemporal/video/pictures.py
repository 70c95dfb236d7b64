"""Still pictures: a clip of one frame."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from emotemporal.errors import VideoError
from emotemporal.video.opening import is_address, is_sequence

PICTURE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff"})
_START_BYTES = 1 << 16
"""What an animation says of itself stands within so much of its beginning."""


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


def read_picture(path: str | Path) -> np.ndarray:
    """Read a still picture, turned upright as its EXIF orientation says.

    Returns:
        uint8 (H, W, 3), RGB.

    Raises:
        VideoError: the file is not a picture that can be decoded, or an animation.
    """
    import cv2  # here, so that reading videos does not load it

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
