"""What is asked for of videos, and what became of each."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from emotemporal.checkpoint import default_checkpoint, file_sha256
from emotemporal.faces.choice import DetectorChoice
from emotemporal.text import media_name
from emotemporal.versions import versions

Stamp = tuple[int, int]
"""A file's size in bytes, and when it was last written in nanoseconds."""


@dataclass(frozen=True)
class Job:
    """One video of a batch."""

    video: Path | str
    """A file, or an address."""
    stem: str
    """Of the names of its results, unlike that of any other video in the batch."""

    @property
    def name(self) -> str:
        """What it is called where its folder does not matter."""
        return media_name(self.video)


@dataclass(frozen=True)
class Request:
    """All that results depend on, but for the video."""

    checkpoint: str | None = None
    """Its file; None for the shipped one."""
    device: str = "auto"
    backend: Literal["auto", "torch", "openvino"] = "auto"
    detector: str = "mtcnn"
    """As `faces.choice.DetectorChoice.parse` reads it."""
    labels: str | None = None
    aggregate: str | None = None
    """The clip label shown first; None for the head's where there is one."""
    smooth: str = "hmm"
    frame_labels: str = "network"
    min_confidence: float = 0.0
    """Labels of lower confidence are told as uncertain."""
    per_frame: bool = False
    overlay: bool = False
    formats: tuple[str, ...] = ()
    """Names of `report.formats.FORMATS`."""
    plot: bool = False
    report: bool = False
    geometry: str | None = None
    """File of a geometry checkpoint."""
    baseline: tuple[str, ...] = ()
    """Other videos of the person, for `geometry`."""

    def fingerprint(self) -> str:
        """Return a digest of the request, of the contents of the files it names, and of the software.

        Raises:
            UsageError: there is no such detector.
        """
        contents = {
            **asdict(self),
            "detector": DetectorChoice.parse(self.detector).identity(),
            "checkpoint": _digest(self.checkpoint or default_checkpoint()),
            "geometry": self.geometry and _digest(self.geometry),
            "baseline": [(path, file_stamp(Path(path))) for path in self.baseline],
            "versions": versions(),
        }
        return hashlib.sha256(json.dumps(contents, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True, eq=False)
class Outcome:
    """What became of a job."""

    job: Job
    document: Mapping[str, Any] | None = None
    """What its JSON file holds; None where it failed."""
    failure: str = ""
    """Why, in one line."""
    source: Stamp | None = None
    """Of the video, before it was read."""
    outputs: Mapping[str, Stamp | None] = field(default_factory=dict)
    """Of the files that were written, by name."""
    licences: tuple[str, ...] = ()
    """What the user must be told of the weights, one line each."""
    was_there: bool = False
    """An earlier run had done it."""


def file_stamp(path: Path | str) -> Stamp | None:
    """Return by what a changed file is told without reading it, None where there is none.

    A hash would be surer; of a folder of films it takes as long as reading them all from the disk.
    """
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_size, found.st_mtime_ns


def _digest(path: str | Path) -> str:
    # That it is missing is said where it is loaded.
    return file_sha256(path) if os.path.isfile(path) else ""
