"""Write an analysis in the formats of other tools: annotation, captions, tables, boxes.

Everything comes from the one table of an analysis (`VideoAnalysis.to_dataframe`) or from its segments
(`segments_table`). Times are those of the container's clock, as players show them; annotation tools cannot
tell times before 0, so what lies there is cut off. Every file appears complete or not at all.
"""

from __future__ import annotations

import json
import mimetypes
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from importlib.util import find_spec
from itertools import chain, groupby
from pathlib import Path, PurePath
from types import MappingProxyType
from typing import Any, NamedTuple, TextIO
from urllib.parse import quote
from xml.etree import ElementTree

import numpy as np

from emotemporal.errors import UsageError
from emotemporal.files import replacing
from emotemporal.labelling.statistics import (
    MAX_LAG_SECONDS,
    frame_ends,
    pairs_table,
    segments_table,
    shares_table,
    transitions_table,
)
from emotemporal.report.tables import open_to_replace
from emotemporal.structures import VideoAnalysis
from emotemporal.text import cell_text, is_address, media_name, printable, redacted

_XSI = "http://www.w3.org/2001/XMLSchema-instance"
_EAF_SCHEMA = "http://www.mpi.nl/tools/elan/EAFv3.0.xsd"


def write_parquet(analysis: VideoAnalysis, path: str | Path) -> None:
    """Write `VideoAnalysis.to_dataframe` as it is, with its types, and in its metadata what made it.

    Raises:
        OutputError: the file cannot be written.
        UsageError: pyarrow is not installed.
    """
    require_packages("parquet")
    from pyarrow import Table, parquet

    table = Table.from_pandas(analysis.to_dataframe(), preserve_index=False)
    made_by = {**table.schema.metadata, "emotemporal": analysis.provenance_line()}
    with replacing(path) as temporary:
        parquet.write_table(table.replace_schema_metadata(made_by), temporary)


def write_segments_csv(analysis: VideoAnalysis, path: str | Path) -> None:
    """Write `segments_table` with the video's name before each row, so that tables of videos can be joined.

    Like NIST's Rich Transcription Time Marked format (RTTM), a line is a file, a person, a label and a time.

    Raises:
        OutputError: the file cannot be written.
    """
    table = segments_table(analysis)
    table.insert(0, "file", cell_text(media_name(analysis.info.path)))
    with open_to_replace(path) as file:
        table.to_csv(file, index=False, float_format="%.6f", lineterminator="\n")


def write_statistics_json(
    analysis: VideoAnalysis, path: str | Path, *, max_lag_seconds: float = MAX_LAG_SECONDS
) -> None:
    """Write counts, shares of time and transitions of each person, and overlap and lag of each pair.

    Numbers that do not exist are null.

    Args:
        max_lag_seconds: see `find_lag`.
    Raises:
        OutputError: the file cannot be written.
    """
    shares, transitions = shares_table(analysis), transitions_table(analysis)
    pairs = pairs_table(analysis, max_lag_seconds=max_lag_seconds)
    people = []
    for track in analysis.tracks:
        own = shares[shares["track_id"] == track.track_id].drop(columns="track_id").set_index("emotion")
        left = transitions[transitions["track_id"] == track.track_id].drop(columns="track_id")
        people.append(
            {
                "track_id": int(track.track_id),
                "num_segments": int(own["num_segments"].sum()),
                "seconds": float(own["seconds"].sum()),
                "emotions": own.to_dict("index"),
                "transitions": left.set_index("from").to_dict("index"),
            }
        )
    document = {
        "video": redacted(analysis.info.path),
        "labels": list(analysis.told_labels),
        "max_lag_seconds": max_lag_seconds,
        "people": people,
        "pairs": pairs.to_dict("records"),
        **json.loads(analysis.provenance_line()),
    }
    with open_to_replace(path) as file:
        json.dump(_without_nan(document), file, indent=2, ensure_ascii=False, allow_nan=False)
        file.write("\n")


def write_elan(analysis: VideoAnalysis, path: str | Path) -> None:
    """Write an ELAN annotation file (EAF 3.0): a tier for each person, an annotation for each segment.

    The video is linked by its full path and by its path from where the file lies.

    Raises:
        OutputError: the file cannot be written.
        UsageError: the analysis is of a picture.
    """
    cues = _cues(analysis, write_elan)
    root = ElementTree.Element(
        "ANNOTATION_DOCUMENT",
        {
            "AUTHOR": f"emotemporal {version('emotemporal')}",
            "DATE": datetime.now(UTC).isoformat(timespec="seconds"),
            "FORMAT": "3.0",
            "VERSION": "3.0",
            "xmlns:xsi": _XSI,
            "xsi:noNamespaceSchemaLocation": _EAF_SCHEMA,
        },
    )
    header = ElementTree.SubElement(root, "HEADER", {"MEDIA_FILE": "", "TIME_UNITS": "milliseconds"})
    ElementTree.SubElement(header, "MEDIA_DESCRIPTOR", _elan_media(analysis.info.path, Path(path)))
    ElementTree.SubElement(header, "PROPERTY", {"NAME": "emotemporal"}).text = analysis.provenance_line()
    order = ElementTree.SubElement(root, "TIME_ORDER")
    times = sorted({ms for cue in cues for ms in (cue.onset_ms, cue.offset_ms)})
    slots = {ms: f"ts{number}" for number, ms in enumerate(times, 1)}
    for ms, slot in slots.items():
        ElementTree.SubElement(order, "TIME_SLOT", {"TIME_SLOT_ID": slot, "TIME_VALUE": str(ms)})
    tiers = {}
    for track in analysis.tracks:
        name = _person(track.track_id)
        attributes = {"LINGUISTIC_TYPE_REF": "emotion", "PARTICIPANT": name, "TIER_ID": name}
        tiers[track.track_id] = ElementTree.SubElement(root, "TIER", attributes)
    for number, cue in enumerate(cues, 1):
        annotation = ElementTree.SubElement(tiers[cue.track_id], "ANNOTATION")
        attributes = {"ANNOTATION_ID": f"a{number}"}
        attributes |= {"TIME_SLOT_REF1": slots[cue.onset_ms], "TIME_SLOT_REF2": slots[cue.offset_ms]}
        alignable = ElementTree.SubElement(annotation, "ALIGNABLE_ANNOTATION", attributes)
        ElementTree.SubElement(alignable, "ANNOTATION_VALUE").text = cue.emotion
    kind = {"GRAPHIC_REFERENCES": "false", "LINGUISTIC_TYPE_ID": "emotion", "TIME_ALIGNABLE": "true"}
    ElementTree.SubElement(root, "LINGUISTIC_TYPE", kind)
    ElementTree.indent(root)
    with open_to_replace(path) as file:
        file.write('<?xml version="1.0" encoding="UTF-8"?>\n')
        file.write(ElementTree.tostring(root, encoding="unicode") + "\n")


def write_textgrid(analysis: VideoAnalysis, path: str | Path) -> None:
    """Write a Praat TextGrid: an interval tier for each person, empty where they are not in view.

    A TextGrid needs a tier: where there is nobody, one tier `no face` is empty throughout.

    Raises:
        OutputError: the file cannot be written.
        UsageError: the analysis is of a picture.
    """
    cues = sorted(_cues(analysis, write_textgrid), key=lambda cue: cue.track_id)
    by_person = {person: list(own) for person, own in groupby(cues, key=lambda cue: cue.track_id)}
    end_ms = max([round(1000 * float(frame_ends(analysis)[-1])), 1, *(cue.offset_ms for cue in cues)])
    tiers = {_person(track.track_id): by_person.get(track.track_id, []) for track in analysis.tracks}
    tiers = tiers or {"no face": []}
    with open_to_replace(path) as file:
        file.write('File type = "ooTextFile"\nObject class = "TextGrid"\n\n')
        file.write(f"xmin = 0 \nxmax = {end_ms / 1000} \ntiers? <exists> \nsize = {len(tiers)} \nitem []: \n")
        for number, (name, own) in enumerate(tiers.items(), 1):
            intervals = list(_filled(own, end_ms))
            file.write(f'    item [{number}]:\n        class = "IntervalTier" \n        name = "{name}" \n')
            file.write(f"        xmin = 0 \n        xmax = {end_ms / 1000} \n")
            file.write(f"        intervals: size = {len(intervals)} \n")
            for place, (onset_ms, offset_ms, emotion) in enumerate(intervals, 1):
                text = emotion.replace('"', '""')
                file.write(f"        intervals [{place}]:\n            xmin = {onset_ms / 1000} \n")
                file.write(f'            xmax = {offset_ms / 1000} \n            text = "{text}" \n')


def write_webvtt(analysis: VideoAnalysis, path: str | Path) -> None:
    """Write WebVTT captions: the segments of everyone by their beginning, each with its mean intensity.

    Raises:
        OutputError: the file cannot be written.
        UsageError: the analysis is of a picture.
    """
    cues = _cues(analysis, write_webvtt)
    with open_to_replace(path) as file:
        file.write(f"WEBVTT\n\nNOTE {analysis.provenance_line().replace('-->', '->')}\n")
        for cue in cues:
            emotion = cue.emotion.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
            file.write(f"\n{_clock(cue.onset_ms, '.')} --> {_clock(cue.offset_ms, '.')}\n")
            file.write(f"<v {_person(cue.track_id)}>{emotion} {cue.percent}%</v>\n")


def write_srt(analysis: VideoAnalysis, path: str | Path) -> None:
    """Write SubRip captions: the segments of everyone by their beginning, each with its mean intensity.

    Raises:
        OutputError: the file cannot be written.
        UsageError: the analysis is of a picture.
    """
    cues = _cues(analysis, write_srt)
    with open_to_replace(path) as file:
        for number, cue in enumerate(cues, 1):
            file.write(f"{number}\n{_clock(cue.onset_ms, ',')} --> {_clock(cue.offset_ms, ',')}\n")
            # There is no way to escape what looks like the time of another cue.
            emotion = cue.emotion.replace("-->", "->")
            file.write(f"{_person(cue.track_id)}: {emotion} {cue.percent}%\n\n")


def write_coco(analysis: VideoAnalysis, path: str | Path) -> None:
    """Write every face's box in COCO's detection format, its category the smoothed emotion.

    Every decoded frame is an image, those without a face too; its name is what
    `ffmpeg -i VIDEO -fps_mode passthrough -start_number 0 STEM/%06d.png` writes. Boxes are cut off at the
    picture's border. Beyond COCO's own keys a box has `track_id`, `status`, `score` (of the detector) and
    `confidence` (of the emotion), and an image `video_id`, `frame_id` and `pts_seconds`.

    Raises:
        OutputError: the file cannot be written.
    """
    info, name = analysis.info, PurePath(media_name(analysis.info.path))
    about = {"description": printable(name.name), "version": version("emotemporal")}
    about |= json.loads(analysis.provenance_line())
    videos = [{"id": 1, "file_name": name.name, "width": info.width, "height": info.height}]
    kinds = enumerate(analysis.told_labels, 1)
    categories = [{"id": i, "name": x, "supercategory": "emotion"} for i, x in kinds]
    images = (
        {
            "id": int(index) + 1,
            "file_name": name.name if info.is_still else f"{name.stem}/{index:06d}.png",
            "width": info.width,
            "height": info.height,
            "video_id": 1,
            "frame_id": int(index),
            "pts_seconds": round(float(seconds), 6),
        }
        for index, seconds in zip(analysis.frame_index, analysis.pts_seconds, strict=True)
    )
    with open_to_replace(path) as file:
        file.write("{\n")
        for key, value in {"info": about, "licenses": [], "videos": videos, "categories": categories}.items():
            file.write(f'"{key}": {json.dumps(value)},\n')
        # Row by row: as one document, the boxes of an hour would take a gigabyte.
        _write_list(file, "images", images)
        file.write(",\n")
        _write_list(file, "annotations", _coco_boxes(analysis))
        file.write("\n}\n")


@dataclass(frozen=True)
class Format:
    """A file that can be asked for."""

    suffix: str
    """What follows the video's stem."""
    write: Callable[[VideoAnalysis, str | Path], None]
    timed: bool = False
    """Whether it tells stretches of time, of which a picture has none."""
    package: str | None = None
    """What it needs and is not always installed."""


FORMATS: Mapping[str, Format] = MappingProxyType(
    {
        "segments": Format(".segments.csv", write_segments_csv),
        "statistics": Format(".statistics.json", write_statistics_json),
        "parquet": Format(".frames.parquet", write_parquet, package="pyarrow"),
        "coco": Format(".coco.json", write_coco),
        "eaf": Format(".eaf", write_elan, timed=True),
        "textgrid": Format(".TextGrid", write_textgrid, timed=True),
        "vtt": Format(".vtt", write_webvtt, timed=True),
        "srt": Format(".srt", write_srt, timed=True),
    }
)


def require_packages(name: str) -> None:
    """Check that what a format needs is installed.

    Args:
        name: one of `FORMATS`.
    Raises:
        UsageError: it is not.
    """
    package = FORMATS[name].package
    if package is not None and find_spec(package) is None:
        raise UsageError(f"{name} needs {package}: pip install 'emotemporal[{name}]'")


class _Cue(NamedTuple):
    """A segment as captions and annotations tell it."""

    onset_ms: int
    offset_ms: int
    track_id: int
    emotion: str
    percent: int


def _cues(analysis: VideoAnalysis, asked_by: Callable[..., None]) -> list[_Cue]:
    """Return the segments in whole milliseconds, by their beginning; what is shorter is left out."""
    if analysis.info.is_still:
        raise UsageError(f"{analysis.info.path}: {asked_by.__name__} is for videos, a picture has no time")
    cues = []
    for row in segments_table(analysis).itertuples():
        onset, offset = (max(0, round(1000 * x)) for x in (row.onset_seconds, row.offset_seconds))
        if onset < offset:
            told = printable(row.emotion), round(100 * row.mean_intensity)
            cues.append(_Cue(onset, offset, row.track_id, *told))
    return sorted(cues)


def _person(track_id: int) -> str:
    return f"person {track_id}"


def _clock(ms: int, point: str) -> str:
    seconds, ms = divmod(ms, 1000)
    return f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}{point}{ms:03d}"


def _filled(cues: list[_Cue], end_ms: int) -> Iterator[tuple[int, int, str]]:
    """Yield onset, offset and emotion from 0 to the end, the stretches between cues without one."""
    done_ms = 0
    for cue in cues:
        if cue.onset_ms > done_ms:
            yield done_ms, cue.onset_ms, ""
        yield cue.onset_ms, cue.offset_ms, cue.emotion
        done_ms = cue.offset_ms
    if done_ms < end_ms:
        yield done_ms, end_ms, ""


def _elan_media(source: str, file: Path) -> dict[str, str]:
    kind = mimetypes.guess_type(media_name(source))[0] or "unknown"
    if is_address(source):
        return {"MEDIA_URL": redacted(source), "MIME_TYPE": kind}
    video = Path(source).resolve()
    relative = Path(os.path.relpath(video, file.resolve().parent)).as_posix()
    return {
        "MEDIA_URL": video.as_uri(),
        "MIME_TYPE": kind,
        "RELATIVE_MEDIA_URL": quote(
            relative if relative.startswith("../") else f"./{relative}", errors="surrogateescape"
        ),
    }


def _coco_boxes(analysis: VideoAnalysis) -> Iterator[dict[str, Any]]:
    category = {name: place for place, name in enumerate(analysis.told_labels, 1)}
    table = analysis.to_dataframe().dropna(subset="track_id")
    corners = table[["x1", "y1", "x2", "y2"]].to_numpy(np.float64)
    corners = corners.clip(0, [analysis.info.width, analysis.info.height] * 2).round(2)
    sizes = corners[:, 2:] - corners[:, :2]
    number = 0
    for row, corner, (width, height) in zip(table.itertuples(), corners, sizes, strict=True):
        if width <= 0 or height <= 0:
            continue  # all of it lies beyond the picture
        number += 1
        yield {
            "id": number,
            "image_id": int(row.frame_index) + 1,
            "category_id": category[row.smoothed_emotion],
            "bbox": [float(x) for x in np.round([*corner[:2], width, height], 2)],
            "area": round(float(width * height), 2),
            "iscrowd": 0,
            "track_id": int(row.track_id),
            "status": row.status,
            "score": round(float(row.score), 6),
            "confidence": round(float(row.confidence), 6),
        }


def _write_list(file: TextIO, key: str, items: Iterator[dict[str, Any]]) -> None:
    file.write(f'"{key}": [')
    for separator, item in zip(chain(["\n"], iter(lambda: ",\n", None)), items, strict=False):
        file.write(separator + json.dumps(item, allow_nan=False))
    file.write("\n]")


def _without_nan(value: Any) -> Any:
    """Return a document with None for every number that is none."""
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, list):
        return list(map(_without_nan, value))
    return None if isinstance(value, float) and np.isnan(value) else value
