"""The shipped weights on the shipped clip: what `make demo` does."""

import numpy as np
import pandas as pd
import pytest

from emotemporal import EmotionPipeline
from emotemporal.checkpoint import default_checkpoint, load_checkpoint
from emotemporal.labels import FER7

# Seconds of the demo clip's shots and how many people each shows.
SHOTS = [(0.0, 2.8, 2), (2.8, 5.0, 1), (5.0, 6.2, 0), (6.2, 8.4, 1), (8.4, 10.8, 2)]

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
