"""An analysis kept as a file, from which every output can be written again."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import numpy as np

from emotemporal.files import replacing
from emotemporal.structures import (
    ClipResult,
    EmotionTimeline,
    GeometryResult,
    Track,
    VideoAnalysis,
    VideoInfo,
)


def save_analysis(analysis: VideoAnalysis, path: str | Path) -> None:
    """Write an analysis as NumPy's `.npz`: its arrays, and the rest as JSON; nothing in it can be run.

    Raises:
        OutputError: the file cannot be written.
    """
    arrays = {"frame_index": analysis.frame_index, "pts_seconds": analysis.pts_seconds}
    people = []
    for place, (track, timeline) in enumerate(zip(analysis.tracks, analysis.timelines, strict=True)):
        person = {"track": _split(track, f"{place}.track.", arrays)}
        person["timeline"] = _split(timeline, f"{place}.timeline.", arrays)
        person["clip"] = {
            name: _split(result, f"{place}.clip.{name}.", arrays) for name, result in timeline.clip.items()
        }
        if timeline.geometry is not None:
            person["geometry"] = _split(timeline.geometry, f"{place}.geometry.", arrays)
        people.append(person)
    document = {
        "info": asdict(analysis.info),
        "labels": analysis.labels,
        "people": people,
        "checkpoint": dict(analysis.checkpoint),
        "settings": dict(analysis.settings),
        "warnings": analysis.warnings,
    }
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.savez(file, allow_pickle=False, document=np.array(json.dumps(document)), **arrays)


def load_analysis(path: str | Path) -> VideoAnalysis:
    """Read what `save_analysis` wrote.

    Raises:
        OSError, ValueError, KeyError: there is no such file, or it is none of these.
    """
    with np.load(path, allow_pickle=False) as file:
        arrays = {name: file[name] for name in file.files}
    document = json.loads(str(arrays["document"]))
    tracks, timelines = [], []
    for place, person in enumerate(document["people"]):
        clip = {
            name: ClipResult(**_joined(values, f"{place}.clip.{name}.", arrays))
            for name, values in person["clip"].items()
        }
        geometry = None
        if "geometry" in person:
            values = _joined(person["geometry"], f"{place}.geometry.", arrays)
            geometry = GeometryResult(**{**values, "labels": tuple(values["labels"])})
        tracks.append(Track(**_joined(person["track"], f"{place}.track.", arrays)))
        values = _joined(person["timeline"], f"{place}.timeline.", arrays)
        timelines.append(EmotionTimeline(**values, clip=clip, geometry=geometry))
    return VideoAnalysis(
        info=VideoInfo(**document["info"]),
        labels=tuple(document["labels"]),
        frame_index=arrays["frame_index"],
        pts_seconds=arrays["pts_seconds"],
        tracks=tuple(tracks),
        timelines=tuple(timelines),
        checkpoint=document["checkpoint"],
        settings=document["settings"],
        warnings=tuple(document["warnings"]),
    )


def _split(
    values: Track | EmotionTimeline | ClipResult | GeometryResult, prefix: str, arrays: dict[str, np.ndarray]
) -> dict[str, Any]:
    """Put a dataclass's arrays among the others, and return its plain values."""
    plain = {}
    for field in fields(values):
        value = getattr(values, field.name)
        if isinstance(value, np.ndarray):
            arrays[prefix + field.name] = value
        elif field.name not in ("clip", "geometry"):  # which are dataclasses of their own
            plain[field.name] = value
    return plain


def _joined(plain: Mapping[str, Any], prefix: str, arrays: Mapping[str, np.ndarray]) -> dict[str, Any]:
    own = {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}
    return {**plain, **own}
