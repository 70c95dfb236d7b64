"""What a video is and what it decodes to."""

from dataclasses import dataclass

import numpy as np

from emotemporal.structures.checks import require, require_array, require_increasing


@dataclass(frozen=True, eq=False)
class VideoInfo:
    """What a video file is, as found in the file and not as its header claims."""

    path: str
    width: int
    """Width in pixels of the upright picture, after rotation."""
    height: int
    num_frames: int | None
    """Number of frames that are expected to decode; None where only decoding can tell."""
    average_fps: float
    """Frames per second on average; 0.0 for a still picture."""
    start_seconds: float
    """Time of the first frame."""
    duration_seconds: float
    """From the first frame's time to the end of the last frame."""
    has_audio: bool
    variable_frame_rate: bool
    rotation_degrees: int = 0
    """Clockwise turn that makes the stored picture upright: 0, 90, 180 or 270."""
    is_still: bool = False
    """The file is a picture: a clip of one frame."""

    def __post_init__(self) -> None:
        require(self.width > 0 and self.height > 0, self, f"empty picture {self.width}x{self.height}")
        require(self.rotation_degrees in (0, 90, 180, 270), self, f"rotation {self.rotation_degrees}")


@dataclass(frozen=True, eq=False)
class FrameBatch:
    """Consecutive decoded frames with their true times."""

    data: np.ndarray
    """uint8 (N, H, W, 3), RGB, upright."""
    frame_index: np.ndarray
    """int64 (N,), position in display order within the source video, from 0."""
    pts_seconds: np.ndarray
    """float64 (N,), strictly increasing; from the file, never `index / fps`."""

    def __post_init__(self) -> None:
        require_array(self, "data", np.uint8, (None, None, None, 3))
        num_frames = len(self.data)
        require_array(self, "frame_index", np.int64, (num_frames,))
        require_array(self, "pts_seconds", np.float64, (num_frames,))
        require_increasing(self, "frame_index")
        require_increasing(self, "pts_seconds")

    def __len__(self) -> int:
        return len(self.data)
