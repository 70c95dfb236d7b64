"""Write an analysis as CSV and JSON files, and lay it out for the terminal."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import numpy as np
from rich.table import Table
from rich.text import Text

from emotemporal.errors import UsageError
from emotemporal.files import replacing
from emotemporal.labels import UNCERTAIN
from emotemporal.report.palette import emotion_hex
from emotemporal.structures import VideoAnalysis
from emotemporal.text import media_name, printable

if TYPE_CHECKING:
    import pandas as pd

_DIGITS = {"x1": 2, "y1": 2, "x2": 2, "y2": 2}  # all others: six, the microseconds of a time
# Frames turned into text at a time: text takes some ten times the room of the numbers.
_FRAMES_AT_ONCE = 2000


def write_frames_csv(analysis: VideoAnalysis, path: str | Path) -> None:
    """Write one row for every decoded frame and person.

    Columns are those of `VideoAnalysis.to_dataframe`, each with a fixed number of digits. Cells that do
    not apply to a frame without a face are empty. The file appears complete or not at all.

    Raises:
        OutputError: the file cannot be written.
    """
    with open_to_replace(path) as file:
        for first in range(0, max(1, len(analysis.frame_index)), _FRAMES_AT_ONCE):
            table = analysis.to_dataframe(slice(first, first + _FRAMES_AT_ONCE))
            rows = _as_text(table, labels=analysis.labels)
            rows.to_csv(file, header=first == 0, index=False, lineterminator="\n")


def write_json(analysis: VideoAnalysis, path: str | Path) -> None:
    """Write the analysis without its per-frame rows; the file appears complete or not at all.

    Raises:
        OutputError: the file cannot be written.
    """
    with open_to_replace(path) as file:
        json.dump(analysis.to_json(), file, indent=2, ensure_ascii=False, allow_nan=False)
        file.write("\n")


def summary_heading(document: Mapping[str, Any]) -> Text:
    """Return the line above a video's table: its name, size, duration and number of frames.

    Args:
        document: from `VideoAnalysis.to_json`, or from the file it was written to.
    """
    video = document["video"]
    num_frames = video["num_frames"]
    facts = [f"{video['width']}x{video['height']}"]
    # A still picture has no rate.
    if video["average_fps"]:
        facts.append(duration(video["duration_seconds"]))
    facts.append(f"{num_frames} frame" if num_frames == 1 else f"{num_frames} frames")
    return Text.assemble((printable(media_name(video["path"])), "bold"), "  ", (" · ".join(facts), "dim"))


def summary_table(document: Mapping[str, Any], *, aggregate: str) -> Table:
    """Return the people of a video as a table for the terminal.

    Each person's label by `aggregate` comes first, then what the other aggregations say; those that find
    another emotion most probable are marked with `≠`. What landmarks say, where asked for, comes last and
    without a mark: its emotions are others. A video without faces gives a single line that says so.

    Args:
        document: from `VideoAnalysis.to_json`, or from the file it was written to.
        aggregate: name of the aggregation that counts: `head`, `sum` or `vote`.

    Raises:
        UsageError: the analysis holds no such aggregation.
    """
    people = document["people"]
    if not people:
        table = Table.grid()
        table.add_row(f"no face found on {document['video']['num_frames']} frames")
        return table
    names = list(dict.fromkeys(name for person in people for name in person["clip"]))
    if aggregate not in names:
        raise UsageError(f"no '{aggregate}' in this analysis, choose one of {', '.join(names)}")
    names.remove(aggregate)
    # Three aggregations fit on 80 columns; on fewer the cells fold, they are never cut off.
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="dim")
    for name in ("person", "seen", "for"):
        table.add_column(name, justify="right", overflow="fold")
    for name in (aggregate, *names):
        table.add_column(name, overflow="fold", header_style="bold" if name == aggregate else "dim")
    by_geometry = any("geometry" in person for person in people)
    if by_geometry:
        table.add_column("geometry", overflow="fold")
    for person in people:
        cells = _person_cells(person, aggregate=aggregate, others=names)
        table.add_row(*cells, *([_geometry_cell(person.get("geometry"))] if by_geometry else []))
    return table


def _person_cells(person: Mapping[str, Any], *, aggregate: str, others: list[str]) -> list[Text | str]:
    first, last = person["first_seconds"], person["last_seconds"]
    chosen = person["clip"].get(aggregate)
    cells: list[Text | str] = [
        str(person["track_id"]),
        f"{clock(first)}–{clock(last)}",
        duration(last - first),
        _result_cell(chosen, chosen),
    ]
    return cells + [_result_cell(person["clip"].get(name), chosen) for name in others]


def _result_cell(result: Mapping[str, Any] | None, chosen: Mapping[str, Any] | None) -> Text:
    """Return `● emotion 87%`, with a mark before it where it differs from the chosen aggregation."""
    if result is None:
        return Text("–")
    mark = "≠ " if chosen is not None and _best(result) != _best(chosen) else ""
    # The share of the votes that an uncertain emotion got is not what made it uncertain.
    certainty = result.get("mean_probability") if result["emotion"] == UNCERTAIN else None
    share = result["confidence"] if certainty is None else certainty
    # Only the dot is coloured: of eight colours some would be unreadable as text on a light terminal,
    # others on a dark one.
    return Text.assemble(
        (mark, "bold"),
        ("● ", emotion_hex(result["emotion"])),
        f"{result['emotion']} {100 * share:.0f}%",
    )


def _best(result: Mapping[str, Any]) -> str:
    """Return the most probable emotion, also of an uncertain result."""
    return result.get("best_emotion", result["emotion"])


def _geometry_cell(result: Mapping[str, Any] | None) -> Text:
    if result is None:
        return Text("–")
    told = f"{result['emotion']} {100 * max(result['probs'].values()):.0f}%"
    return Text.assemble(
        ("● ", emotion_hex(result["emotion"])), told, " (baseline)" if result["baseline"] else ""
    )


def clock(seconds: float) -> str:
    """Return `12.3` below a minute, else `m:ss.s` or `h:mm:ss.s`."""
    tenths = round(10 * seconds)
    if tenths < 600:
        return f"{tenths / 10:.1f}"
    minutes, rest = divmod(tenths, 600)
    hours, minutes = divmod(minutes, 60)
    told = f"{minutes:02d}:{rest / 10:04.1f}" if hours else f"{minutes}:{rest / 10:04.1f}"
    return f"{hours}:{told}" if hours else told


def duration(seconds: float) -> str:
    """Return `12.3 s` below a minute, else `m:ss.s` or `h:mm:ss.s`."""
    told = clock(seconds)
    return told if ":" in told else f"{told} s"


def _as_text(rows: pd.DataFrame, *, labels: tuple[str, ...]) -> pd.DataFrame:
    """Return rows of the per-frame table with every float as text of fixed digits, NaN left missing."""
    rows = rows.copy()
    for kind in "ps":
        names = [f"{kind}_{label}" for label in labels]
        rows[names] = _rounded_probs(rows[names].to_numpy(np.float64))
    rows["confidence"] = rows[[f"s_{label}" for label in labels]].max(axis=1)
    for name in rows.select_dtypes("floating").columns:
        rows[name] = rows[name].map(f"{{:.{_DIGITS.get(name, 6)}f}}".format, na_action="ignore")
    return rows


def _rounded_probs(probs: np.ndarray) -> np.ndarray:
    """Round (N, C) probabilities so that the largest of each row stays the first largest.

    Two that differ by less than the last digit become equal when rounded, and whoever reads the file
    would then find another emotion on top than the one named: the true winner keeps one unit more.
    """
    rounded = np.round(probs, 6)
    known = np.flatnonzero(~np.isnan(probs).any(axis=1))
    winner = probs[known].argmax(axis=1)
    tied = rounded[known].argmax(axis=1) != winner
    rounded[known[tied], winner[tied]] += 1e-6
    return rounded


@contextmanager
def open_to_replace(path: str | Path) -> Iterator[TextIO]:
    """Open a text file that takes the place of `path` when all was written."""
    # A file name that is no valid text comes as lone surrogates. Backslashes spell them the way JSON
    # does, so that reading the document gives the same name back.
    with (
        replacing(path) as temporary,
        temporary.open("x", encoding="utf-8", errors="backslashreplace", newline="") as file,
    ):
        yield file
