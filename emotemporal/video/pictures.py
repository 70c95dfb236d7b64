"""Still pictures: a clip of one frame."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from emotemporal.errors import VideoError

PICTURE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff"})


def is_picture(path: str | Path) -> bool:
    """Tell by its name whether a file is a still picture."""
    return Path(path).suffix.lower() in PICTURE_SUFFIXES


def read_picture(path: str | Path) -> np.ndarray:
    """Read a still picture, turned upright as its EXIF orientation says.

    Returns:
        uint8 (H, W, 3), RGB.

    Raises:
        VideoError: the file is not a picture that can be decoded.
    """
    import cv2  # here, so that reading videos does not load it

    stored = np.fromfile(path, dtype=np.uint8)
    try:
        picture = cv2.imdecode(stored, cv2.IMREAD_COLOR)
    except cv2.error:
        picture = None
    if picture is None:
        raise VideoError(f"{path}: not a readable picture; convert it to JPEG or PNG")
    return cv2.cvtColor(picture, cv2.COLOR_BGR2RGB)
