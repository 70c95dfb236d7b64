"""The personal baseline, by hand."""

import numpy as np
import pytest

from emotemporal.errors import DataError
from emotemporal.models.baseline import PersonalBaseline, centre_on_person, typical_spread

FEATURES = np.array([[1.0, 10], [3, 10], [100, -4], [100, 0], [103, 4]])
PEOPLE = ["ann", "ann", "bob", "bob", "bob"]


def test_centre_by_hand():
    np.testing.assert_allclose(
        centre_on_person(FEATURES, PEOPLE), [[-1, 0], [1, 0], [-1, -4], [-1, 0], [2, 4]]
    )


def test_rescale_by_hand():
    found = centre_on_person(FEATURES, PEOPLE, rescale=True)
    # Ann's second feature never changes and stays 0.
    np.testing.assert_allclose(found[:2], [[-1, 0], [1, 0]])
    np.testing.assert_allclose(found[2:].std(axis=0), 1)


def test_other_people_change_nothing():
    alone = centre_on_person(FEATURES[2:], PEOPLE[2:], rescale=True)
    np.testing.assert_allclose(centre_on_person(FEATURES, PEOPLE, rescale=True)[2:], alone)


def test_who_the_person_is_leaves_no_trace():
    """Features plus what is the person's own: the same as without it."""
    moods = np.random.default_rng(0).normal(size=(6, 4))
    one, other = moods + 5, 3 * moods - 2
    found = centre_on_person(np.concatenate([one, other]), [1] * 6 + [2] * 6, rescale=True)
    np.testing.assert_allclose(found[:6], found[6:])


def test_sequences_of_embeddings():
    embeddings = np.random.default_rng(1).normal(size=(4, 3, 5)) + 7
    found = centre_on_person(embeddings, [1, 1, 2, 2])
    np.testing.assert_allclose(found[:2].mean(axis=0), 0, atol=1e-12)


def test_a_single_clip_has_no_baseline():
    with pytest.raises(DataError, match="person bob has 1 clip"):
        centre_on_person(FEATURES[:3], PEOPLE[:3])


def test_people_must_be_named_for_all():
    with pytest.raises(DataError, match="5 items, but people are named for 2"):
        centre_on_person(FEATURES, PEOPLE[:2])


def test_a_few_clips_share_their_spread_with_other_people():
    usual = PersonalBaseline.of_clips(np.array([[1.0, 5], [3, 5]]), np.array([4.0, 2]))
    np.testing.assert_allclose(usual.centre, [[2, 5]])
    # Two clips of variance 1 and 0, and as good as eight clips of 16 and 4.
    np.testing.assert_allclose(usual.spread, [np.sqrt([(2 * 1 + 8 * 16) / 10, 8 * 4 / 10])])
    np.testing.assert_allclose(usual.apply(np.array([[2.0, 5]])), [[0, 0]])


def test_what_never_changes_is_not_divided_by():
    usual = PersonalBaseline.of_clips(np.full((3, 1), 7.0), np.zeros(1))
    np.testing.assert_array_equal(usual.apply(np.array([[9.0]])), [[2]])


def test_typical_spread_by_hand():
    # Variances within: ann 1 and 0, bob 2 and 32/3.
    np.testing.assert_allclose(typical_spread(FEATURES, PEOPLE), np.sqrt([(1 + 2) / 2, (0 + 32 / 3) / 2]))
