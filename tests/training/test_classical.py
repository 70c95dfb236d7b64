"""Classical models of pooled statistics learn, keep groups together and say how sure they are."""

import numpy as np
import pytest

from emotemporal.errors import DataError
from emotemporal.models.linear import LinearAverage, temper_probs
from emotemporal.training.classical import (
    CLASSICAL_MODELS,
    POOLED_NAMES,
    PooledClassifier,
    PooledReduction,
    fit_classical,
)


def blobs(num: int, num_classes: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Clips whose classes lie apart in the first two of six features."""
    rng = np.random.default_rng(seed)
    labels = np.arange(num) % num_classes
    angle = 2 * np.pi * labels / num_classes
    features = rng.normal(0, 1.2, (num, 6))
    features[:, 0] += 2 * np.cos(angle)
    features[:, 1] += 2 * np.sin(angle)
    return features, labels


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


def clips_of(people, *, seed, num=8):
    """Three emotions along two directions, and a third that tells who it is."""
    random = np.random.default_rng(seed)
    labels = np.tile(np.arange(3), num * len(people))
    who = np.repeat(people, 3 * num)
    centres = np.array([[0, 0], [4, 0], [0, 4]])[labels]
    features = np.column_stack([centres, 10.0 * who]) + random.normal(scale=0.5, size=(len(labels), 3))
    return np.stack([features, features + 0.01]), labels, who


@pytest.mark.parametrize("name", POOLED_NAMES)
def test_learns_what_does_not_depend_on_the_person(name):
    views, labels, people = clips_of(np.arange(4), seed=0)
    reduce = PooledReduction(views)
    classifier = PooledClassifier(name).fit(reduce(views), labels, people)
    views, labels, _ = clips_of(np.array([1.5, 2.5]), seed=1)
    probs = classifier.predict_probs(reduce(views))
    assert probs.shape == (48, 3)
    np.testing.assert_allclose(probs.sum(axis=1), 1)
    assert (probs.argmax(axis=1) == labels).mean() > 0.9


def test_settings_are_chosen_on_people_held_out():
    """Labels that only tell who it is: easy if a person's other clips are known, chance if not."""
    views, _, people = clips_of(np.arange(6), seed=2)
    labels = people % 2
    by_people = PooledClassifier("svm").fit(views, labels, people)
    by_clips = PooledClassifier("svm").fit(views, labels, np.arange(len(labels)))
    assert set(by_people.settings) == {"gamma"}
    assert by_clips.inner_accuracy > 0.99
    assert by_people.inner_accuracy < 0.6


def test_reduced_features_have_unit_variance_in_all():
    views, *_ = clips_of(np.arange(4), seed=4)
    reduced = PooledReduction(views, num_components=2)(views)
    assert reduced.shape == (2, 96, 2)
    assert reduced.reshape(-1, 2).var(axis=0).sum() == pytest.approx(1, rel=0.01)


def test_same_seed_same_result():
    views, labels, people = clips_of(np.arange(4), seed=3)
    first, again = (PooledClassifier("boosting", seed=5).fit(views, labels, people) for _ in range(2))
    np.testing.assert_array_equal(first.predict_probs(views), again.predict_probs(views))


@pytest.mark.parametrize("name", ["logistic", "discriminant"])
def test_the_folded_map_says_what_the_models_say(name):
    views, labels, people = clips_of(np.arange(4), seed=0)
    reduce = PooledReduction(views, num_components=2)
    classifier = PooledClassifier(name).fit(reduce(views), labels, people)
    unseen, *_ = clips_of(np.array([1.5, 2.5]), seed=1)
    expected = classifier.predict_probs(reduce(unseen))
    assert expected.max(axis=1).min() < 0.99
    average = LinearAverage({"one": classifier.fold(reduce)}, {"one": "all"})
    np.testing.assert_allclose(average.predict_probs({"all": unseen}), expected, atol=1e-9)
    again = LinearAverage.from_arrays(average.to_arrays(), {"one": "all"}, temperature=2.0)
    np.testing.assert_allclose(again.predict_probs({"all": unseen}), temper_probs(expected, 2.0), atol=1e-5)
