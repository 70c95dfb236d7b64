import numpy as np
import pytest

from emotemporal.faces.association import box_distances, box_overlaps, match_boxes


def boxes(*rows):
    return np.array(rows, np.float32)


def test_overlaps_by_hand():
    union, nested = box_overlaps(boxes([0, 0, 4, 4]), boxes([2, 0, 6, 4], [1, 1, 3, 3], [4, 4, 9, 9]))
    np.testing.assert_allclose(union, [[8 / 24, 4 / 16, 0]], rtol=1e-6)
    np.testing.assert_allclose(nested, [[0.5, 1, 0]], rtol=1e-6)


def test_distances_by_hand():
    away, ratio = box_distances(boxes([0, 0, 4, 4]), boxes([3, 4, 7, 8], [-2, -2, 6, 6]))
    np.testing.assert_allclose(away, [[5 / 4, 0]], rtol=1e-6)
    np.testing.assert_allclose(ratio, [[1, 2]], rtol=1e-6)


def test_pairs_are_chosen_together():
    # Each alone would take the middle box; together the first must leave it to the second.
    before = boxes([0, 0, 10, 10], [6, 0, 16, 10])
    now = boxes([3.5, 0, 13.5, 10], [-4, 0, 6, 10])
    assert match_boxes(before, now, reach=1.0, max_size_ratio=2) == [(0, 1), (1, 0)]


@pytest.mark.parametrize("now", [[30, 0, 40, 10], [0, 0, 40, 40]])
def test_too_far_or_too_large_is_no_pair(now):
    assert match_boxes(boxes([0, 0, 10, 10]), boxes(now), reach=1.0, max_size_ratio=2) == []


def test_fast_face_is_matched_without_overlap():
    assert match_boxes(boxes([0, 0, 10, 10]), boxes([12, 0, 22, 10]), reach=1.5, max_size_ratio=2) == [(0, 0)]


def test_appearance_decides_between_equal_places():
    before = boxes([0, 0, 10, 10], [0, 0, 10, 10])
    unlike = np.array([[1.0, 0.0], [0.0, 1.0]])
    pairs = match_boxes(before, before, reach=1.0, max_size_ratio=2, dissimilarity=unlike)
    assert pairs == [(0, 1), (1, 0)]


def test_nothing_to_match():
    assert match_boxes(boxes([0, 0, 1, 1]), np.zeros((0, 4), np.float32), reach=1.0, max_size_ratio=2) == []
