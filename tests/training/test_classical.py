"""Classical models of pooled statistics learn, keep groups together and say how sure they are."""

import numpy as np
import pytest

from emotemporal.errors import DataError
from emotemporal.training.classical import CLASSICAL_MODELS, fit_classical, pool_statistics


def blobs(num: int, num_classes: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Clips whose classes lie apart in the first two of six features."""
    rng = np.random.default_rng(seed)
    labels = np.arange(num) % num_classes
    angle = 2 * np.pi * labels / num_classes
    features = rng.normal(0, 1.2, (num, 6))
    features[:, 0] += 2 * np.cos(angle)
    features[:, 1] += 2 * np.sin(angle)
    return features, labels


def test_statistics_by_hand():
    pooled = pool_statistics(np.array([[1.0, 5.0], [3.0, 5.0]]), num_slices=2)
    mean, spread, largest, quantiles, slices = np.split(pooled, [2, 4, 6, 16])
    np.testing.assert_allclose(mean, [2, 5])
    np.testing.assert_allclose(spread, [1, 0])
    np.testing.assert_allclose(largest, [3, 5])
    np.testing.assert_allclose(quantiles.reshape(5, 2)[:, 0], [1.2, 1.5, 2.0, 2.5, 2.8])
    np.testing.assert_allclose(slices, [1, 5, 3, 5])


@pytest.mark.parametrize("length", [1, 2, 7])
def test_slices_of_short_sequences(length):
    pooled = pool_statistics(np.arange(float(length))[:, None], num_slices=3)
    assert pooled.shape == (11,)
    assert np.isfinite(pooled).all()
    assert (np.diff(pooled[-3:]) >= 0).all()


@pytest.mark.parametrize("name", CLASSICAL_MODELS)
@pytest.mark.parametrize("num_classes", [2, 3])
def test_every_model_learns_and_is_calibrated(name, num_classes):
    features, labels = blobs(90, num_classes)
    model = fit_classical(name, features, labels, num_folds=3)
    fresh, truth = blobs(60, num_classes, seed=1)
    probs = model.predict_probs(fresh)
    assert probs.shape == (60, num_classes)
    np.testing.assert_allclose(probs.sum(1), 1)
    assert (probs.argmax(1) == truth).mean() > 0.7
    assert (model.held_out_probs.argmax(1) == labels).mean() > 0.7
    assert abs(probs.max(1).mean() - (probs.argmax(1) == truth).mean()) < 0.15


def test_groups_are_held_out_whole():
    # Two features that name the group and nothing else: with it in training, its label is known.
    groups = np.repeat(np.arange(24), 5)
    labels = np.repeat(np.random.default_rng(0).permutation(np.arange(24) % 2), 5)
    features = np.eye(24)[groups]
    leaking = fit_classical("svm", features, labels, num_folds=4)
    fair = fit_classical("svm", features, labels, groups=[str(g) for g in groups], num_folds=4)
    assert (leaking.held_out_probs.argmax(1) == labels).mean() > 0.9
    assert (fair.held_out_probs.argmax(1) == labels).mean() < 0.75


def test_too_few_clips_of_a_class():
    features, labels = blobs(9, 3)
    with pytest.raises(DataError, match=r"5 folds need two classes .* found \[3, 3, 3\]"):
        fit_classical("ridge", features, labels)
