"""The data types that pass between the rooms of the package.

All are frozen dataclasses, checked when made, NumPy throughout; tensors begin at collation.
Times are seconds in float64, boxes are xyxy in source pixels, images are RGB.
"""

from emotemporal.structures.clips import ClipBatch, PaddedClips
from emotemporal.structures.faces import (
    CropGeometry,
    CropSequence,
    Detections,
    FaceRows,
    Track,
    TrackStatus,
)
from emotemporal.structures.media import FrameBatch, VideoInfo
from emotemporal.structures.results import (
    SCHEMA_VERSION,
    ClipResult,
    EmotionTimeline,
    GeometryResult,
    VideoAnalysis,
)

__all__ = [
    "SCHEMA_VERSION",
    "ClipBatch",
    "ClipResult",
    "CropGeometry",
    "CropSequence",
    "Detections",
    "EmotionTimeline",
    "FaceRows",
    "FrameBatch",
    "GeometryResult",
    "PaddedClips",
    "Track",
    "TrackStatus",
    "VideoAnalysis",
    "VideoInfo",
]
