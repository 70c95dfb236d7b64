"""The shipped weights on the shipped clip: what `make demo` does."""

import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from emotemporal import EmotionPipeline
from emotemporal.checkpoint import default_checkpoint, load_checkpoint
from emotemporal.labels import FER7

# Seconds of the demo clip's shots and how many people each shows.
SHOTS = [(0.0, 2.8, 2), (2.8, 5.0, 1), (5.0, 6.2, 0), (6.2, 8.4, 1), (8.4, 10.8, 2)]
# How far from the pages' figures another processor's precision may be: of a person between two emotions votes
# move most.
SLACK = {"head": 0.05, "sum": 0.05, "vote": 0.2}

pytestmark = pytest.mark.needs_weights


@pytest.fixture(scope="module")
def analysis(root):
    return EmotionPipeline.load(device="cpu").analyze(root / "examples" / "demo.mp4")


def test_everyone_in_every_shot_is_followed(analysis):
    table = analysis.to_dataframe()
    assert sorted(table.frame_index.unique()) == list(range(270))
    people = table.groupby("frame_index").track_id.nunique()
    for start, end, number in SHOTS:
        assert (people.iloc[round(start * 25) : round(end * 25)] == number).all()
    # Four cuts: nobody is followed across one.
    assert len(analysis.tracks) == 6


def test_the_astronaut_smiles_and_the_admiral_does_not(analysis):
    smiles = [timeline.clip["head"].probs[FER7.index("happy")] for timeline in analysis.timelines]
    assert sum(value > 0.5 for value in smiles) == 3
    assert sum(value < 0.3 for value in smiles) == 3


@pytest.mark.parametrize("page", ["README.md", "docs/index.md"])
def test_the_pages_show_what_it_says(analysis, root, page):
    shown = re.findall(r"^ +(\d)  +\d.*? s  (.*%)$", (root / page).read_text(encoding="utf-8"), re.MULTILINE)
    assert len(shown) >= 3
    for person, columns in shown:
        clip = analysis.timelines[int(person) - 1].clip
        labels = re.findall(r"● (\w+) (\d+)%", columns)
        for (name, slack), (label, percent) in zip(SLACK.items(), labels, strict=True):
            assert clip[name].probs[FER7.index(label)] == pytest.approx(int(percent) / 100, abs=slack)


def test_every_aggregation_answers_and_probabilities_hold(analysis):
    for timeline in analysis.timelines:
        assert set(timeline.clip) == {"head", "sum", "vote"}
        np.testing.assert_allclose(timeline.frame_probs.sum(1), 1, atol=1e-4)
        np.testing.assert_allclose(timeline.smoothed_probs.sum(1), 1, atol=1e-4)


def test_the_same_again_is_the_same(analysis, root):
    again = EmotionPipeline.load(device="cpu").analyze(root / "examples" / "demo.mp4")
    pd.testing.assert_frame_equal(analysis.to_dataframe(), again.to_dataframe())
    assert analysis.to_json() == again.to_json()


def test_the_shipped_checkpoint_says_what_it_is():
    header = load_checkpoint(default_checkpoint()).header
    assert header.labels == FER7
    assert set(header.trained_labels) == set(FER7) - {"disgust"}
    assert "FER2013" in header.licence
    assert header.metrics["leave-one-subject-out"]["head"]["num"] == 240


@pytest.fixture
def compare(root, monkeypatch):
    """What the benchmark of reproducibility measures of two analyses."""
    monkeypatch.syspath_prepend(root / "benchmarks")
    from reproducibility import compare

    return compare


def test_another_backend_says_nearly_the_same(analysis, root, compare):
    if analysis.settings["backend"] == "torch":
        pytest.skip("OpenVINO is not installed")
    exact = EmotionPipeline.load(device="cpu", backend="torch", one_thread=True)
    found = compare(exact.analyze(root / "examples" / "demo.mp4"), analysis)
    assert found["faces_shared"] == 1
    assert found["same_person"] == 1
    assert found["box_px_median"] < 2
    assert found["box_px_max"] < 20
    assert found["probability_median"] < 0.005
    assert found["probability_max"] < 0.2
    assert min(found["same_emotion"], found["same_smoothed_emotion"]) > 0.97
    # Of 18 labels of clips, two were between emotions that are nearly as probable.
    assert found["same_clip_labels"] > 0.8


def test_a_folder_says_the_same_as_a_single_video(analysis, root, compare):
    batch = EmotionPipeline.load(device="cpu", one_thread=True).analyze(root / "examples" / "demo.mp4")
    assert compare(analysis, batch)["identical"] == 1


def test_a_difference_is_measured(analysis, compare):
    assert compare(analysis, analysis)["identical"] == 1
    timelines = list(analysis.timelines)
    probs = timelines[0].frame_probs.copy()
    probs[0] = np.roll(probs[0], 1)
    timelines[0] = replace(timelines[0], frame_probs=probs)
    found = compare(analysis, replace(analysis, timelines=tuple(timelines)))
    num_faces = sum(len(track) for track in analysis.tracks)
    assert (found["identical"], found["faces_shared"]) == (0, 1)
    assert found["same_emotion"] == pytest.approx(1 - 1 / num_faces)
    assert found["probability_max"] > 0.1
    assert found["probability_median"] == 0
