"""Tables: the columns and keys of the contract, rounding, failures to write, the terminal."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from emotemporal.errors import OutputError, UsageError
from emotemporal.labels import FER7
from emotemporal.report.tables import summary_heading, summary_table, write_frames_csv, write_json

FIXED_COLUMNS = ["frame_index", "pts_seconds", "track_id", "status", "x1", "y1", "x2", "y2", "score"]
FIXED_COLUMNS += ["emotion", "smoothed_emotion", "confidence"]
RAW = [f"p_{name}" for name in FER7]
SMOOTHED = [f"s_{name}" for name in FER7]


def printed(renderable: object, *, width: int = 80) -> str:
    console = Console(width=width, color_system=None)
    with console.capture() as capture:
        console.print(renderable)
    return capture.get()


def random_probs(num_rows: int, *, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).dirichlet(np.full(7, 0.3), num_rows).astype(np.float32)


def test_csv_has_the_columns_of_the_contract_and_a_row_for_every_frame_and_person(
    make_analysis, make_person, tmp_path: Path
) -> None:
    probs = random_probs(3, seed=0)
    people = (
        make_person(1, (10, 20, 50.126, 70), first_frame=1, num_frames=3, probs=probs),
        make_person(2, (90, 20, 130, 70), first_frame=2, num_frames=1, status=2),
    )
    write_frames_csv(make_analysis(*people, num_frames=5), tmp_path / "a.csv")
    table = pd.read_csv(tmp_path / "a.csv")
    assert list(table.columns) == FIXED_COLUMNS + RAW + SMOOTHED
    assert table.frame_index.tolist() == [0, 1, 2, 2, 3, 4]
    assert table.track_id.fillna(0).tolist() == [0, 1, 1, 2, 1, 0]
    assert table.status.tolist() == ["no_face", "detected", "detected", "interpolated", "detected", "no_face"]
    np.testing.assert_allclose(table.pts_seconds, table.frame_index / 25)
    seen = table[table.track_id.notna()]
    for names in (RAW, SMOOTHED):
        np.testing.assert_allclose(seen[names].sum(axis=1), 1, atol=1e-3)
    np.testing.assert_allclose(seen[seen.track_id == 1][RAW], probs, atol=1e-6)
    np.testing.assert_array_equal(seen.confidence, seen[SMOOTHED].max(axis=1))


def test_csv_cells_have_fixed_digits_and_are_empty_without_a_face(
    make_analysis, make_person, tmp_path: Path
) -> None:
    analysis = make_analysis(make_person(7, (10, 20, 50.126, 70.5)), num_frames=2)
    write_frames_csv(analysis, tmp_path / "a.csv")
    rows = (tmp_path / "a.csv").read_bytes().decode().split("\n")
    start = "0,0.000000,7,detected,10.00,20.00,50.13,70.50,0.990000,happy,happy,0.640000,0.060000,"
    assert rows[1].startswith(start)
    assert rows[2] == "1,0.040000,,no_face" + "," * (len(FIXED_COLUMNS) + 14 - 4)
    assert rows[3:] == [""]


def test_csv_of_a_video_without_faces_has_all_columns(make_analysis, tmp_path: Path) -> None:
    write_frames_csv(make_analysis(num_frames=3), tmp_path / "a.csv")
    table = pd.read_csv(tmp_path / "a.csv")
    assert list(table.columns) == FIXED_COLUMNS + RAW + SMOOTHED
    assert table.status.tolist() == ["no_face"] * 3


def test_rounding_keeps_the_named_emotion_on_top(make_analysis, make_person, tmp_path: Path) -> None:
    close = np.full((1, 7), 0.1, np.float32)
    close[0, 1], close[0, 4] = 0.25, np.nextafter(np.float32(0.25), np.float32(1))
    write_frames_csv(make_analysis(make_person(1, (0, 0, 9, 9), probs=close)), tmp_path / "a.csv")
    row = pd.read_csv(tmp_path / "a.csv").iloc[0]
    assert (row.emotion, row.smoothed_emotion) == ("sad", "sad")
    assert FER7[int(np.argmax(row[RAW].to_numpy(float)))] == "sad"
    assert FER7[int(np.argmax(row[SMOOTHED].to_numpy(float)))] == "sad"
    assert abs(row[SMOOTHED].sum() - 1) < 1e-3


def test_rows_beyond_one_piece_are_all_written_once(make_analysis, make_person, tmp_path: Path) -> None:
    people = [make_person(i, (0, 0, 9, 9), num_frames=5200, probs=random_probs(5200, seed=i)) for i in (1, 2)]
    write_frames_csv(make_analysis(*people, num_frames=5200), tmp_path / "a.csv")
    table = pd.read_csv(tmp_path / "a.csv")
    assert len(table) == 10400
    assert not table.duplicated(["frame_index", "track_id"]).any()
    assert (table[SMOOTHED].to_numpy().argmax(1) == table.smoothed_emotion.map(FER7.index)).all()


def test_json_has_the_keys_of_the_contract(make_analysis, make_person, tmp_path: Path) -> None:
    write_json(make_analysis(make_person(1, (0, 0, 9, 9), num_frames=4), num_frames=4), tmp_path / "a.json")
    text = (tmp_path / "a.json").read_text(encoding="utf-8")
    assert text.startswith('{\n  "schema_version": 1,')
    assert text.endswith("}\n")
    document = json.loads(text)
    assert set(document) == {
        *("schema_version", "video", "labels", "people", "checkpoint", "settings", "warnings")
    }
    video_keys = {"path", "width", "height", "num_frames", "duration_seconds", "average_fps"}
    assert video_keys <= set(document["video"])
    (person,) = document["people"]
    person_keys = {"track_id", "first_seconds", "last_seconds", "num_frames", "clip", "aggregations_agree"}
    assert person_keys <= set(person)
    assert set(person["clip"]) == {"head", "sum", "vote"}
    assert sum(person["clip"]["head"]["probs"].values()) == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("name", ["é ü 日本.mp4", "undecodable \udcff.mp4"])
def test_json_gives_every_file_name_back(make_analysis, tmp_path: Path, name: str) -> None:
    write_json(make_analysis(path=name), tmp_path / "a.json")
    assert json.loads((tmp_path / "a.json").read_text(encoding="utf-8"))["video"]["path"] == name


@pytest.mark.parametrize("write", [write_frames_csv, write_json])
def test_what_cannot_be_written_is_one_line_and_leaves_nothing(make_analysis, tmp_path: Path, write) -> None:
    (tmp_path / "taken").mkdir()
    for target in (tmp_path / "missing" / "a", tmp_path / "taken"):
        with pytest.raises(OutputError, match="cannot write") as caught:
            write(make_analysis(), target)
        assert "\n" not in str(caught.value)
        assert str(target) in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["taken"]


def test_a_failure_midway_keeps_the_old_file(make_analysis, tmp_path: Path) -> None:
    target = tmp_path / "a.json"
    target.write_text("old")
    analysis = make_analysis()
    analysis.settings["broken"] = object()
    with pytest.raises(TypeError):
        write_json(analysis, target)
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_summary_shows_every_person_and_marks_who_disagrees(make_analysis, make_person, make_clip) -> None:
    clip = make_clip(head="sad", sum="sad", vote="surprise")
    analysis = make_analysis(
        make_person(1, (0, 0, 9, 9), num_frames=50),
        make_person(2, (20, 0, 29, 9), first_frame=25, num_frames=2001, clip=clip),
        num_frames=2100,
    )
    heading, first, second, *rest = printed(summary_table(analysis.to_json(), aggregate="head")).splitlines()
    assert heading.split() == ["person", "seen", "for", "head", "sum", "vote"]
    assert " ".join(first.split()) == "1 0.0–2.0 2.0 s ● happy 64% ● happy 64% ● happy 64%"
    assert " ".join(second.split()) == "2 1.0–1:21.0 1:20.0 ● sad 64% ● sad 64% ≠ ● surprise 64%"
    assert rest == []
    by_vote = printed(summary_table(analysis.to_json(), aggregate="vote")).splitlines()
    assert by_vote[0].split() == ["person", "seen", "for", "vote", "head", "sum"]
    assert by_vote[2].count("≠") == 2


def test_summary_without_faces_is_a_line_and_not_a_grid(make_analysis) -> None:
    text = printed(summary_table(make_analysis(num_frames=12).to_json(), aggregate="head"))
    assert text.strip() == "no face found on 12 frames"


def test_summary_without_the_asked_aggregation_says_which_there_are(
    make_analysis, make_person, make_clip
) -> None:
    analysis = make_analysis(make_person(1, (0, 0, 9, 9), clip=make_clip(sum="sad", vote="sad")))
    with pytest.raises(UsageError, match="no 'head' in this analysis, choose one of sum, vote"):
        summary_table(analysis.to_json(), aggregate="head")


def test_heading_is_safe_for_markup_and_terminal(make_analysis) -> None:
    analysis = make_analysis(path="/x/[red]a\x1b[2J\udcff.mp4", num_frames=90001)
    heading = printed(summary_heading(analysis.to_json()), width=120)
    assert heading == "[red]a\\x1b[2J\\udcff.mp4  640x360 · 1:00:00.0 · 90001 frames\n"
