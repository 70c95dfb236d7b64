"""Which detector finds the faces, as a user names it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from emotemporal.errors import UsageError

if TYPE_CHECKING:
    from emotemporal.faces.detector import FaceDetector

_GRAPH_SUFFIXES = (".pbtxt", ".prototxt")
DETECTOR_HELP = (
    "what finds faces: mtcnn, or OpenCV's networks YuNet or SSD, of files that you have: yunet:FILE.onnx, or "
    "ssd:FILE.pb,FILE.pbtxt"
)


@dataclass(frozen=True)
class DetectorChoice:
    """A detector and its files; other processes can be told of it, unlike of the detector."""

    name: str = "mtcnn"
    """`mtcnn`, `yunet` or `ssd`."""
    files: tuple[str, ...] = ()
    """Of the network; of one in two files the weights first."""

    @classmethod
    def parse(cls, text: str) -> DetectorChoice:
        """Read `mtcnn`, `yunet:FILE`, `ssd:FILE` or `ssd:FILE,FILE`.

        Raises:
            UsageError: it is none of these, or there is no such file.
        """
        name, colon, rest = text.partition(":")
        if name == "mtcnn":
            if colon:
                raise UsageError(f"--detector {text}: mtcnn comes with its own networks, leave the file out")
            return cls()
        if name not in ("yunet", "ssd"):
            raise UsageError(f"--detector {text}: unknown, expected mtcnn, yunet:FILE or ssd:FILE")
        if not rest:
            raise UsageError(f"--detector {text}: a file of the network is missing, as in {name}:FILE")
        files = [rest]
        # A comma may also be part of a name, and Caffe's text is usually named first.
        if name == "ssd" and "," in rest and not os.path.isfile(rest):
            files = sorted(rest.rpartition(",")[::2], key=lambda file: file.lower().endswith(_GRAPH_SUFFIXES))
        paths = tuple(str(Path(file).expanduser()) for file in files)
        for path in paths:
            if not os.path.isfile(path):
                raise UsageError(f"--detector {text}: no file {path}")
        return cls(name, paths)

    def identity(self) -> str:
        """Return what results call the detector, see `detector.detector_identity`, without loading it.

        Raises:
            UsageError: a file cannot be read.
        """
        if self.name == "mtcnn":
            return "mtcnn"
        from emotemporal.faces.opencv_detectors import network_identity, read_network_file

        return network_identity(self.name, *map(read_network_file, self.files))

    def make(self, device: str = "cpu", backend: Literal["torch", "openvino"] = "torch") -> FaceDetector:
        """Load the detector.

        Args:
            device: where MTCNN's networks run; OpenCV's run on the CPU.
            backend: what runs MTCNN's networks.
        Raises:
            UsageError: a file is missing, is no such network, or this OpenCV does not run it.
            EmotemporalError: MTCNN's weights are missing or damaged.
        """
        from emotemporal.faces.detector import MtcnnDetector, RefinedDetector

        if self.name == "mtcnn":
            return MtcnnDetector(device, backend=backend)
        from emotemporal.faces.opencv_detectors import SsdFinder, YunetFinder

        # Before MTCNN's networks, so that a wrong file is told of at once.
        finder = YunetFinder(*self.files) if self.name == "yunet" else SsdFinder(*self.files)
        return RefinedDetector(finder, MtcnnDetector(device, backend=backend))
