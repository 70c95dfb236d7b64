"""An analysis comes back from its file as it was."""

from dataclasses import asdict, replace

import numpy as np
import pandas as pd

from emotemporal.labelling.aggregation import aggregate_sum, aggregate_vote
from emotemporal.labels import FER7
from emotemporal.report.archive import load_analysis, save_analysis
from emotemporal.structures import GeometryResult


def test_what_is_saved_is_what_is_loaded(make_analysis, make_person, tmp_path):
    track, timeline = make_person(3, (10, 20, 50, 70), num_frames=20)
    probs = np.random.default_rng(0).dirichlet(np.ones(7), 20).astype(np.float32)
    clip = {"sum": aggregate_sum(probs, FER7), "vote": aggregate_vote(probs, FER7)}
    geometry = GeometryResult("calm", np.array([0.25, 0.75], np.float32), ("happy", "calm"), "free", True)
    timeline = replace(timeline, frame_probs=probs, clip=clip, geometry=geometry)
    other = make_person(7, (60, 20, 90, 50), first_frame=5, num_frames=9)
    analysis = replace(make_analysis((track, timeline), other, num_frames=25), warnings=("one", "two"))
    save_analysis(analysis, tmp_path / "analysis.npz")
    loaded = load_analysis(tmp_path / "analysis.npz")
    assert loaded.to_json() == analysis.to_json()
    assert asdict(loaded.info) == asdict(analysis.info)
    assert (loaded.labels, loaded.warnings) == (analysis.labels, ("one", "two"))
    pd.testing.assert_frame_equal(loaded.to_dataframe(), analysis.to_dataframe())
    np.testing.assert_array_equal(loaded.tracks[0].landmarks, analysis.tracks[0].landmarks)


def test_nobody_seen_is_kept_too(make_analysis, tmp_path):
    save_analysis(make_analysis(num_frames=3), tmp_path / "analysis.npz")
    assert load_analysis(tmp_path / "analysis.npz").tracks == ()
