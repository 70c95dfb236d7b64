"""Measured numbers on the pages are those of benchmarks/results.

A number is followed by where it stands: `35.4 %<!-- java_sed_sum:value -->`; parts of a place are parted by
slashes, and positions in lists are numbers, or `median`.
"""

import json
import re
from pathlib import Path
from statistics import median
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = [p for p in sorted((ROOT / "docs").glob("*.md")) if p.stem != "responsible_use"]
_MARKED = re.compile(
    r"(?P<number>-?\d[\d,]*(?:\.\d+)?)(?P<percent> ?%)?[*)]*<!-- (?P<name>\w+):(?P<place>[^\n]*?) -->"
)
_FENCES = re.compile(r"^ *```.*?^ *```$", re.MULTILINE | re.DOTALL)


def look_up(name: str, place: str) -> float:
    found: Any = json.loads((ROOT / "benchmarks" / "results" / f"{name}.json").read_text())
    for key in place.split("/"):
        if isinstance(found, list):
            found = median(found) if key == "median" else found[int(key)]
        else:
            found = found[key]
    return float(found)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_numbers_are_the_measured_ones(page: Path) -> None:
    for mark in _MARKED.finditer(page.read_text(encoding="utf-8")):
        digits = mark["number"].replace(",", "")
        expected = look_up(mark["name"], mark["place"]) * (100 if mark["percent"] else 1)
        decimals = len(digits.partition(".")[2])
        # As far as it is told: half a unit of the last digit, and what rounding twice adds.
        assert float(digits) == pytest.approx(expected, abs=0.501 * 10**-decimals), mark[0]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_share_says_where_it_is_from(page: Path) -> None:
    text = _FENCES.sub("", page.read_text(encoding="utf-8"))
    shares = re.findall(r"\d ?%", text)
    marked = [mark for mark in _MARKED.finditer(text) if mark["percent"]]
    assert len(shares) == len(marked), f"{shares} in {page.name}, {len(marked)} of them marked"
    assert text.count("%<!--") + text.count("%**<!--") + text.count("%)<!--") == len(marked)
