"""One table of everybody in many videos."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from emotemporal.files import replacing
from emotemporal.text import cell_text, redacted

COLUMNS: tuple[str, ...] = (
    "video",
    "person",
    "label",
    "confidence",
    "aggregations_agree",
    "share_seen",
    "first_seconds",
    "last_seconds",
    "warnings",
    "error",
)


def write_summary_csv(path: str | Path, results: Sequence[tuple[str, Mapping[str, Any] | None, str]]) -> None:
    """Write a row for every person, for every video without one, and for every failure.

    Labels are by the aggregation that was asked for. A name or message that a spreadsheet would take for a
    formula begins with an apostrophe. The file appears complete or not at all.

    Args:
        path: of the table.
        results: of each video its path, what its JSON file holds or None, and why it failed.
    Raises:
        OutputError: the file cannot be written.
    """
    with (
        replacing(path) as temporary,
        # A file name that is no valid text gives its own bytes back.
        temporary.open("x", newline="", encoding="utf-8", errors="surrogateescape") as file,
    ):
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        for video, document, error in results:
            for cells in [[""] * 8] if document is None else _rows(document):
                texts = [cell_text(redacted(text)) for text in (video, cells[-1], error)]
                writer.writerow([texts[0], *cells[:-1], *texts[1:]])


def _rows(document: Mapping[str, Any]) -> list[list[str]]:
    """Return the cells between the video and the error of each of its people."""
    warnings = "; ".join(document["warnings"])
    num_frames, aggregate = document["video"]["num_frames"], document["settings"]["aggregate"]
    rows = []
    for person in document["people"]:
        result = person["clip"][aggregate]
        row = [str(person["track_id"]), result["emotion"], f"{result['confidence']:.6f}"]
        row += ["yes" if person["aggregations_agree"] else "no"]
        row += [f"{person['num_frames_seen'] / num_frames:.4f}"]
        row += [f"{person[name]:.6f}" for name in ("first_seconds", "last_seconds")]
        rows.append([*row, warnings])
    return rows or [[""] * 7 + [warnings]]
