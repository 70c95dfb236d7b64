"""Smoothing works in seconds, keeps probabilities and cuts flicker."""

from itertools import pairwise

import numpy as np
import pytest

from emotemporal.labelling.smoothing import (
    SMOOTHINGS,
    CausalSmoother,
    dwell_rates,
    estimate_rates,
    frame_seconds,
    smooth_ema,
    smooth_probs,
)


def flickering(fps: float, seconds: float = 4.0, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Two emotions, the change half-way, with every sixth frame wrong."""
    rng = np.random.default_rng(seed)
    pts = np.arange(0, seconds, 1 / fps)
    truth = (pts >= seconds / 2).astype(int)
    shown = np.where(rng.random(len(pts)) < 1 / 6, 1 - truth, truth)
    probs = np.full((len(pts), 3), 0.1, dtype=np.float32)
    probs[np.arange(len(pts)), shown] = 0.8
    return probs, pts, truth


@pytest.mark.parametrize("method", SMOOTHINGS)
@pytest.mark.parametrize("length", [1, 2, 50])
def test_rows_stay_probabilities(method, length):
    probs = np.random.default_rng(1).dirichlet(np.ones(7), size=length)
    smoothed = smooth_probs(probs, np.arange(length) / 25, method=method)
    assert smoothed.shape == (length, 7)
    assert smoothed.dtype == np.float32
    np.testing.assert_allclose(smoothed.sum(1), 1, atol=1e-5)


@pytest.mark.parametrize("method", ["hmm", "ema"])
@pytest.mark.parametrize("fps", [12.5, 25, 60])
def test_flicker_goes_and_the_change_stays_in_place(method, fps):
    probs, pts, truth = flickering(fps)
    labels = smooth_probs(probs, pts, method=method).argmax(1)
    raw_flips = np.count_nonzero(np.diff(probs.argmax(1)))
    assert np.count_nonzero(np.diff(labels)) * 5 <= raw_flips
    change = pts[np.flatnonzero(labels == 1)[0]]
    assert abs(change - 2.0) <= 0.4
    assert (labels == truth).mean() > (probs.argmax(1) == truth).mean()


def test_time_does_not_make_the_hmm_surer_than_the_frames():
    probs = np.tile([0.6, 0.3, 0.1], (200, 1))
    smoothed = smooth_probs(probs, np.arange(200) / 25, method="hmm")
    np.testing.assert_allclose(smoothed, probs, atol=1e-6)


def test_the_label_of_the_hmm_is_always_the_largest():
    probs, pts, _ = flickering(25, seed=3)
    smoothed = np.sort(smooth_probs(probs, pts, method="hmm"), axis=1)
    assert (smoothed[:, -1] - smoothed[:, -2]).min() > 5e-5


def test_the_more_frames_count_as_one_observation_the_longer_an_emotion_must_be_seen():
    pts = np.arange(75) / 25
    probs = np.tile([0.9, 0.1], (75, 1))
    shown = slice(30, 38)  # a third of a second
    probs[shown] = [0.1, 0.9]
    kept, dropped = (smooth_probs(probs, pts, evidence_seconds=seconds).argmax(1) for seconds in (0.05, 0.5))
    np.testing.assert_array_equal(np.flatnonzero(kept), np.arange(75)[shown])
    assert not dropped.any()


@pytest.mark.parametrize("method", ["hmm", "ema"])
def test_strength_does_not_depend_on_the_frame_rate(method):
    at = np.arange(0, 4, 1 / 10)
    found = []
    for fps in (20, 60):
        pts = np.arange(0, 4, 1 / fps)
        probs = np.stack([np.where(pts < 2, 0.8, 0.3), np.where(pts < 2, 0.2, 0.7)], axis=1)
        smoothed = smooth_probs(probs, pts, method=method)[:, 0]
        found.append(np.interp(at, pts, smoothed))
    assert np.abs(found[0] - found[1]).max() < 0.12


def test_ema_by_hand():
    probs = np.array([[1.0, 0.0], [0.0, 1.0]])
    smoothed = smooth_ema(probs, np.array([0.0, 1.0]), tau_seconds=1.0)
    near = 1 / (1 + np.exp(-1))
    np.testing.assert_allclose(smoothed, [[near, 1 - near], [1 - near, near]], atol=1e-6)


def test_ema_of_zero_changes_nothing():
    probs, pts, _ = flickering(25)
    np.testing.assert_array_equal(smooth_ema(probs, pts, tau_seconds=0), probs)


def test_frame_seconds_of_a_variable_rate():
    np.testing.assert_allclose(frame_seconds(np.array([0.0, 1.0, 4.0])), [1.0, 2.0, 3.0])


def test_dwell_rates_mean_what_they_say():
    rates = dwell_rates(7, 2.0)
    np.testing.assert_allclose(rates.sum(1), 0, atol=1e-12)
    np.testing.assert_allclose(np.diag(rates), -0.5)


def test_estimated_rates_follow_the_data():
    pts = np.arange(0, 100, 0.1)
    labels = (np.arange(len(pts)) // 50) % 2  # a jump every 5 s between the first two of three
    rates = estimate_rates([(labels, pts)], 3)
    assert -0.25 < rates[0, 0] < -0.15
    assert rates[0, 1] > 10 * rates[0, 2]


@pytest.mark.parametrize(
    "arguments",
    [
        {"method": "median"},
        {"method": "hmm", "dwell_seconds": 0},
        {"method": "hmm", "evidence_seconds": 0},
        {"method": "ema", "tau_seconds": -1},
    ],
)
def test_wrong_settings_are_refused(arguments):
    with pytest.raises(ValueError, match=r"unknown|positive|negative"):
        smooth_probs(np.full((2, 7), 1 / 7), np.array([0.0, 0.1]), **arguments)


def smooth_live(probs, pts, **settings):
    smoother = CausalSmoother(**settings)
    return np.stack([smoother.step(row, t) for row, t in zip(probs, pts.tolist(), strict=True)])


@pytest.mark.parametrize("method", SMOOTHINGS)
def test_live_rows_stay_probabilities(method):
    probs = np.random.default_rng(1).dirichlet(np.ones(7), size=50)
    smoothed = smooth_live(probs, np.arange(50) / 25, method=method)
    assert smoothed.dtype == np.float32
    np.testing.assert_allclose(smoothed.sum(1), 1, atol=1e-5)
    if method == "none":
        np.testing.assert_allclose(smoothed, probs, atol=1e-6)


def test_live_average_by_hand():
    probs = np.array([[1.0, 0.0], [0.0, 1.0], [0.0, 1.0]])
    smoothed = smooth_live(probs, np.array([0.0, 0.05, 1.05]), method="ema", tau_seconds=0.5)
    keep = np.exp(-0.1)
    assert smoothed[1, 0] == pytest.approx(0.1 * keep / (0.1 * keep + 0.05))
    # After the gap of a second the frame weighs no more than others, and the past little.
    past = np.exp(-2.0)
    assert smoothed[2, 0] == pytest.approx(0.1 * keep * past / ((0.1 * keep + 0.05) * past + 0.1))


def test_live_labels_are_those_of_all_paths_up_to_now():
    """Against the sum over every path that a hidden emotion can take, frames 0.1 s apart."""
    rng = np.random.default_rng(3)
    probs = rng.dirichlet(np.full(3, 0.7), size=6)
    smoothed = smooth_live(probs, np.arange(6) / 10, dwell_seconds=0.4)
    rates = dwell_rates(3, 0.4)
    values, vectors = np.linalg.eig(rates)
    move = (vectors @ np.diag(np.exp(values * 0.1)) @ np.linalg.inv(vectors)).real
    for t in range(6):
        posterior = np.zeros(3)
        for path in np.ndindex(*[3] * (t + 1)):
            weight = np.prod([probs[i, state] for i, state in enumerate(path)])
            weight *= np.prod([move[a, b] for a, b in pairwise(path)])
            posterior[path[-1]] += weight
        assert smoothed[t].argmax() == posterior.argmax()


@pytest.mark.parametrize("method", ["hmm", "ema"])
def test_live_labels_do_not_look_ahead_and_flicker_less(method):
    probs, pts, truth = flickering(25)
    whole = smooth_live(probs, pts, method=method)
    np.testing.assert_array_equal(whole[:40], smooth_live(probs[:40], pts[:40], method=method))
    changes = np.count_nonzero(np.diff(whole.argmax(1)))
    assert changes < np.count_nonzero(np.diff(probs.argmax(1))) / 3
    # The change is followed within half a second.
    assert (whole.argmax(1)[pts >= 2.5] == 1).mean() > 0.95
    assert (whole.argmax(1)[pts < 2] == truth[pts < 2]).mean() > 0.9


def test_live_smoothing_refuses_what_it_does_not_know():
    with pytest.raises(ValueError, match="unknown"):
        CausalSmoother(method="median")
    with pytest.raises(ValueError, match="tau_seconds"):
        CausalSmoother(tau_seconds=0)
    with pytest.raises(ValueError, match="evidence_seconds"):
        CausalSmoother(evidence_seconds=0)
