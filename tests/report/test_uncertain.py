"""Labels below the confidence that was asked for: the same everywhere, and no probability moved."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from emotemporal.labelling.aggregation import aggregate_vote
from emotemporal.labelling.statistics import pairs_table, segments_table, shares_table, transitions_table
from emotemporal.labels import FER7, UNCERTAIN
from emotemporal.report.formats import FORMATS
from emotemporal.report.overlay import OverlayRenderer
from emotemporal.report.palette import UNCERTAIN_COLOUR
from emotemporal.report.tables import summary_table, write_frames_csv
from emotemporal.report.timeline import plot_timeline
from emotemporal.structures import ClipResult, GeometryResult, VideoAnalysis

HAPPY, SAD = FER7.index("happy"), FER7.index("sad")


def rows(*winners: tuple[int, float]) -> np.ndarray:
    """Return float32 (L, 7): of each row the winner's probability, the others' alike."""
    probs = np.empty((len(winners), 7), np.float32)
    for row, (winner, share) in zip(probs, winners, strict=True):
        row[:] = (1 - share) / 6
        row[winner] = share
    return probs


PROBS = rows((HAPPY, 0.8), (HAPPY, 0.4), (SAD, 0.4), (SAD, 0.7))


@pytest.fixture
def unsure(make_analysis, make_person):
    """Return an analysis of one person on four frames, told at some least confidence."""

    def make(min_confidence: float) -> VideoAnalysis:
        clip = {
            "head": ClipResult("happy", PROBS[1], 0.4),
            "sum": ClipResult("happy", PROBS[0], 0.8),
            "vote": aggregate_vote(PROBS, FER7),
        }
        person = make_person(1, (200, 100, 300, 220), num_frames=4, probs=PROBS, clip=clip)
        analysis = make_analysis(person, num_frames=4)
        return replace(analysis, settings={**analysis.settings, "min_confidence": min_confidence})

    return make


def test_off_nothing_is_uncertain(unsure) -> None:
    analysis = unsure(0.0)
    assert analysis.told_labels == FER7
    assert analysis.frame_labels(analysis.timelines[0]).tolist() == [HAPPY, HAPPY, SAD, SAD]
    clip = analysis.to_json()["people"][0]["clip"]
    assert [result["emotion"] for result in clip.values()] == ["happy"] * 3
    assert all("best_emotion" not in result for result in clip.values())


def test_a_frame_is_uncertain_below_its_smoothed_probability_and_not_at_it(unsure) -> None:
    timeline = unsure(0.0).timelines[0]
    assert timeline.frame_labels(float(PROBS[1, HAPPY])).tolist() == [HAPPY, HAPPY, SAD, SAD]
    assert timeline.frame_labels(0.5).tolist() == [HAPPY, 7, 7, SAD]
    assert timeline.frame_labels(1.0).tolist() == [7] * 4


def test_a_vote_goes_by_mean_probability_and_not_by_its_share() -> None:
    # All five frames vote happy, each barely: the share is 1, the mean probability 0.3.
    result = aggregate_vote(rows(*[(HAPPY, 0.3)] * 5), FER7)
    assert result.confidence == 1.0
    assert result.certainty == pytest.approx(0.3)
    assert (result.label(0.29), result.label(0.31)) == ("happy", UNCERTAIN)


def test_json_names_the_best_emotion_and_keeps_every_probability(unsure) -> None:
    sure, told = (unsure(value).to_json()["people"][0] for value in (0.0, 0.5))
    assert [result["emotion"] for result in told["clip"].values()] == [UNCERTAIN, "happy", UNCERTAIN]
    assert [result["best_emotion"] for result in told["clip"].values()] == ["happy"] * 3
    assert told["clip"]["vote"]["mean_probability"] == pytest.approx((0.8 + 0.4 + 0.1 + 0.05) / 4)
    for name, result in sure["clip"].items():
        assert {key: told["clip"][name][key] for key in ("confidence", "probs")} == {
            key: result[key] for key in ("confidence", "probs")
        }
    assert told["aggregations_agree"] is True
    assert unsure(0.5).to_json()["settings"]["min_confidence"] == 0.5


def test_geometry_is_held_against_it_too() -> None:
    result = GeometryResult("happy", np.array([0.6, 0.4], np.float32), ("happy", "sad"), "none", False)
    assert result.to_json()["emotion"] == "happy"
    told = result.to_json(0.7)
    assert (told["emotion"], told["best_emotion"]) == (UNCERTAIN, "happy")


def test_the_csv_tells_it_of_smoothed_labels_alone(unsure, tmp_path: Path) -> None:
    write_frames_csv(unsure(0.5), tmp_path / "a.csv")
    table = pd.read_csv(tmp_path / "a.csv")
    assert table.smoothed_emotion.tolist() == ["happy", UNCERTAIN, UNCERTAIN, "sad"]
    assert table.emotion.tolist() == ["happy", "happy", "sad", "sad"]
    np.testing.assert_allclose(table.confidence, [0.8, 0.4, 0.4, 0.7], atol=1e-6)


def test_segments_statistics_and_transitions_have_it_as_a_label(unsure) -> None:
    analysis = unsure(0.5)
    segments = segments_table(analysis)
    assert segments.emotion.tolist() == ["happy", UNCERTAIN, "sad"]
    np.testing.assert_allclose(segments.mean_intensity, [0.8, 0.4, 0.7], atol=1e-6)
    shares = shares_table(analysis).set_index("emotion").share
    assert shares[UNCERTAIN] == pytest.approx(0.5)
    assert shares.sum() == pytest.approx(1.0)
    transitions = transitions_table(analysis).set_index("from")
    assert transitions.loc["happy", UNCERTAIN] == 1
    assert transitions.loc[UNCERTAIN, "sad"] == 1


def test_two_who_are_both_uncertain_do_not_agree(make_analysis, make_person) -> None:
    first = make_person(1, (0, 0, 9, 9), num_frames=4, probs=PROBS)
    second = make_person(2, (0, 0, 9, 9), num_frames=4, probs=PROBS[[0, 1, 2, 0]])
    analysis = make_analysis(first, second, num_frames=4)
    pair = pairs_table(analysis).iloc[0]
    assert (pair.common_seconds, pair.same_share) == pytest.approx((0.16, 0.75))
    pair = pairs_table(replace(analysis, settings={"min_confidence": 0.5})).iloc[0]
    # Of the frames on which both are certain, the first is the same and the last is not.
    assert (pair.common_seconds, pair.same_seconds, pair.same_share) == pytest.approx((0.16, 0.04, 0.5))
    pair = pairs_table(replace(analysis, settings={"min_confidence": 1.0})).iloc[0]
    assert np.isnan(pair.same_share)


@pytest.mark.parametrize("name", ["eaf", "textgrid", "vtt", "srt", "segments", "statistics", "coco"])
def test_every_format_names_it(unsure, tmp_path: Path, name: str) -> None:
    path = tmp_path / f"a{FORMATS[name].suffix}"
    for least in (0.5, 0.0):
        FORMATS[name].write(unsure(least), path)
        assert (UNCERTAIN in path.read_text()) == (least > 0)
    if name == "coco":
        FORMATS[name].write(unsure(0.5), path)
        document = json.loads(path.read_text())
        names = {category["id"]: category["name"] for category in document["categories"]}
        told = [names[box["category_id"]] for box in document["annotations"]]
        assert told == ["happy", UNCERTAIN, UNCERTAIN, "sad"]


def test_the_overlay_marks_it_in_gray(unsure) -> None:
    renderer = OverlayRenderer(unsure(0.5))
    frame = np.zeros((360, 640, 3), np.uint8)
    marked = [(renderer.draw(frame, i) == UNCERTAIN_COLOUR).all(axis=2).sum() for i in range(4)]
    # Lines of the box and the bar; smoothed edges of letters may have the same gray here and there.
    assert min(marked[1:3]) > 10 * max(marked[0], marked[3], 1)


def test_the_timeline_hatches_it_and_names_it(unsure) -> None:
    figure = plot_timeline(unsure(0.5), aggregate="vote")
    dotted = [patch for axes in figure.axes for patch in axes.patches if patch.get_hatch() == "...."]
    assert [(p.get_x(), p.get_width()) for p in dotted] == [pytest.approx((0.04, 0.08))]
    assert UNCERTAIN in {text.get_text() for text in figure.legends[0].get_texts()}
    texts = {text.get_text() for axes in figure.axes for text in axes.texts}
    assert {UNCERTAIN, "34% by vote"} <= texts
    assert UNCERTAIN not in {t.get_text() for t in plot_timeline(unsure(0.0)).legends[0].get_texts()}


def test_the_table_shows_what_made_it_uncertain(unsure) -> None:
    console = Console(width=80, color_system=None)
    with console.capture() as capture:
        console.print(summary_table(unsure(0.5).to_json(), aggregate="head"))
    # The vote's share is 50%; the frames' mean probability is what it is held against.
    assert "● uncertain 40%" in capture.get()
    assert "● happy 80%" in capture.get()
    assert "● uncertain 34%" in capture.get()
    assert "≠" not in capture.get()
