"""Video in and out: what a file is, its frames with their true times, a video written with its sound."""

from emotemporal.video.probe import probe_video
from emotemporal.video.reader import VideoReader
from emotemporal.video.writer import VideoWriter, write_picture

__all__ = ["VideoReader", "VideoWriter", "probe_video", "write_picture"]
