"""Bring the measured numbers of README.md and the documentation's pages up to date with benchmarks/results.

python benchmarks/page_numbers.py

A number is followed by where it stands: `35.4 %<!-- java_sed_sum:value -->`; parts of a place are parted by
slashes, and positions in lists are numbers, or `median`. It keeps as many decimals as it has.
"""

import json
import re
from pathlib import Path
from statistics import median
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
MARKED = re.compile(
    r"(?P<number>-?\d[\d,]*(?:\.(?P<decimals>\d+))?)(?P<percent> ?%)?(?P<rest>[*)]*"
    r"<!-- (?P<name>\w+):(?P<place>[^\n]*?) -->)"
)


def look_up(name: str, place: str) -> float:
    """Return what stands at a place of a result."""
    found: Any = json.loads((ROOT / "benchmarks" / "results" / f"{name}.json").read_text(encoding="utf-8"))
    for key in place.split("/"):
        if isinstance(found, list):
            found = median(found) if key == "median" else found[int(key)]
        else:
            found = found[key]
    return float(found)


def renewed(text: str) -> str:
    """Return a page's text with every marked number as it was measured last."""

    def renew(mark: re.Match[str]) -> str:
        value = look_up(mark["name"], mark["place"]) * (100 if mark["percent"] else 1)
        return f"{value:,.{len(mark['decimals'] or '')}f}{mark['percent'] or ''}{mark['rest']}"

    return MARKED.sub(renew, text)


def main() -> None:
    for page in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]:
        before = page.read_text(encoding="utf-8")
        after = renewed(before)
        if after != before:
            page.write_text(after, encoding="utf-8")
            print(page.relative_to(ROOT))


if __name__ == "__main__":
    main()
