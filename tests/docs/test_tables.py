"""What the pages list is what there is."""

import re
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest

from emotemporal.cli import COMMANDS
from emotemporal.datasets.registry import DATASETS
from emotemporal.labelling.statistics import pairs_table, segments_table
from emotemporal.labels import FER7, LABEL_SETS
from emotemporal.report.formats import FORMATS
from emotemporal.report.summary import COLUMNS
from emotemporal.structures import VideoAnalysis, VideoInfo

PAGES = Path(__file__).resolve().parents[2] / "docs"


@pytest.fixture
def nobody() -> VideoAnalysis:
    """An analysis whose tables have columns and no rows."""
    info = VideoInfo("clip.mp4", 640, 360, 1, 25.0, 0.0, 0.04, False, False)
    times = np.zeros(1)
    return VideoAnalysis(info, FER7, np.zeros(1, np.int64), times, (), (), {}, {})


def _section(page: str, heading: str) -> str:
    text = (PAGES / page).read_text(encoding="utf-8")
    return re.split(r"^## ", text.split(f"\n## {heading}\n")[1], flags=re.MULTILINE)[0]


def _first_cells(section: str) -> set[str]:
    """Return what is told in the first column of a section's first table, as code."""
    table = section[section.index("|---") :].split("\n\n")[0]
    return {name for row in table.splitlines() for name in re.findall("`([^`]+)`", row.split("|")[1])}


def test_columns_of_frames(nobody: VideoAnalysis) -> None:
    names = _first_cells(_section("outputs.md", "The per-frame table"))
    told = {name.replace("<emotion>", emotion) for name in names for emotion in FER7}
    assert told == set(nobody.to_dataframe().columns)


def test_columns_of_segments(nobody: VideoAnalysis) -> None:
    assert _first_cells(_section("outputs.md", "Segments")) == {"file", *segments_table(nobody).columns}


def test_columns_of_pairs(nobody: VideoAnalysis) -> None:
    assert _first_cells(_section("outputs.md", "Statistics")) <= set(pairs_table(nobody).columns)


def test_columns_of_the_summary() -> None:
    told = re.findall("`([a-z_]+)`", _section("outputs.md", "Several videos"))
    assert set(COLUMNS) <= set(told)


def test_keys_of_the_document(nobody: VideoAnalysis) -> None:
    told = {name.split("[")[0] for name in _first_cells(_section("outputs.md", "Clip labels: JSON"))}
    assert told >= set(nobody.to_json()) - {"schema_version"}


def test_every_format_set_and_data_set_is_told() -> None:
    for page, names in ("outputs.md", FORMATS), ("aggregation.md", LABEL_SETS):
        text = (PAGES / page).read_text(encoding="utf-8")
        assert all(f"`{name}`" in text or f"formats {name}`" in text for name in names)
    text = (PAGES / "datasets.md").read_text(encoding="utf-8").lower().replace("-", "_")
    assert all(name in text for name in DATASETS)


def test_every_command_is_told() -> None:
    text = "".join(page.read_text(encoding="utf-8") for page in PAGES.glob("*.md"))
    for name in COMMANDS:
        assert f"emotemporal {name}" in text or f"{name.replace('-', '_')}.py" in text, name


@pytest.mark.parametrize("name", ["predict-clip", "live", "app", "doctor", "evaluate", "extract-faces"])
def test_every_flag_is_told(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    text = "".join(page.read_text(encoding="utf-8") for page in PAGES.glob("*.md"))
    with pytest.raises(SystemExit):
        import_module(f"emotemporal.cli.{name.replace('-', '_')}").main(["--help"])
    flags = set(re.findall(r"(?<![\w-])--[a-z][\w-]*", capsys.readouterr().out))
    assert not {flag for flag in flags - {"--help"} if not re.search(rf"{flag}\b(?!-)", text)}
