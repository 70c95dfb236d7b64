"""Facial expressions of every person in a video: one label per clip, smoothed labels per frame.

from emotemporal import EmotionPipeline
analysis = EmotionPipeline.load().analyze("video.mp4")
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from emotemporal.estimator import ClipClassifier
    from emotemporal.pipeline import EmotionPipeline
    from emotemporal.structures import VideoAnalysis

__version__ = "0.1.0"
__all__ = ["ClipClassifier", "EmotionPipeline", "VideoAnalysis", "__version__"]

# Loaded on first use: `import emotemporal` must not wait for torch.
_LAZY = {
    "ClipClassifier": "emotemporal.estimator",
    "EmotionPipeline": "emotemporal.pipeline",
    "VideoAnalysis": "emotemporal.structures",
}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
