"""Measured numbers on the pages are those of benchmarks/results, as benchmarks/page_numbers.py puts them."""

import re
from pathlib import Path

import page_numbers
import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
# What others measured or laid down, and tables too long to be marked number by number.
_NOT_MARKED = {"README", "measured", "responsible_use"}
_FENCES = re.compile(r"^ *```.*?^ *```$", re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_numbers_are_the_measured_ones(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    # Line by line, so that a failure shows what to change; benchmarks/page_numbers.py does it.
    assert text.splitlines() == page_numbers.renewed(text).splitlines()


@pytest.mark.parametrize(
    "page", [page for page in PAGES if page.stem not in _NOT_MARKED], ids=lambda page: page.stem
)
def test_every_share_says_where_it_is_from(page: Path) -> None:
    text = _FENCES.sub("", page.read_text(encoding="utf-8"))
    shares = re.findall(r"\d ?%", text)
    marked = [mark for mark in page_numbers.MARKED.finditer(text) if mark["percent"]]
    assert len(shares) == len(marked), f"{shares} in {page.name}, {len(marked)} of them marked"


def test_a_number_is_renewed_as_it_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    results = tmp_path / "benchmarks" / "results"
    results.mkdir(parents=True)
    (results / "toy.json").write_text('{"value": 0.4567, "details": {"a b": [1640.6, 3, 2]}}')
    monkeypatch.setattr(page_numbers, "ROOT", tmp_path)
    text = "**1.0 %**<!-- toy:value -->, 2<!-- toy:details/a b/0 -->, 9.99<!-- toy:details/a b/median --> 5"
    renewed = text.replace("1.0", "45.7").replace("2<", "1,641<").replace("9.99", "3.00")
    assert page_numbers.renewed(text) == renewed
    with pytest.raises(KeyError):
        page_numbers.renewed("1<!-- toy:other -->")
