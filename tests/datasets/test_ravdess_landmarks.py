"""RAVDESS landmark tables, small ones and faulty ones."""

import numpy as np
import pytest

from emotemporal.datasets.ravdess_landmarks import (
    FOLDS_OF_ACTORS,
    FRAME_RATE,
    actor_folds,
    read_ravdess_landmarks,
)
from emotemporal.errors import DataError

COLUMNS = ["fname", "frame_ct", *(f"pt{i}.{axis}" for axis in "xy" for i in range(1, 69))]


def line(name, frame, *, start=0.0):
    """Point i lies at (start + i, start + 100 + i)."""
    return [name, frame, *(start + np.arange(1, 69)), *(start + 100 + np.arange(1, 69))]


def write_table(folder, actor, lines, columns=COLUMNS, suffix=".csv"):
    path = folder / f"Actor_{actor:02d}_landmarks{suffix}"
    text = "\n".join(",".join(map(str, cells)) for cells in [columns, *lines])
    if suffix.endswith(".xz"):
        import lzma

        path.write_bytes(lzma.compress(text.encode()))
    else:
        path.write_text(text)
    return path


@pytest.fixture
def folder(tmp_path):
    first, second = "02-01-06-02-01-02-01.mp4", "02-01-01-01-02-01-01.mp4"
    # Rows in no order; frame 1 of the first clip has no face.
    write_table(tmp_path, 1, [line(first, 2, start=5), line(second, 0), line(first, 0)])
    write_table(tmp_path, 2, [line("01-02-08-01-01-01-02.mp4", 0)], suffix=".csv.xz")
    return tmp_path


def test_every_field(folder):
    found = read_ravdess_landmarks(folder)
    assert found.names.tolist() == ["02-01-01-01-02-01-01", "02-01-06-02-01-02-01", "01-02-08-01-01-01-02"]
    assert found.first_rows.tolist() == [0, 1, 3, 4]
    assert found.modality.tolist() == [2, 2, 1]
    assert found.vocal_channel.tolist() == [1, 1, 2]
    assert found.labels.tolist() == [0, 5, 7]
    assert found.intensity.tolist() == [1, 2, 1]
    assert found.statement.tolist() == [2, 1, 1]
    assert found.repetition.tolist() == [1, 2, 1]
    assert found.actors.tolist() == [1, 1, 2]
    points, seconds = found.clip(1)
    assert points.shape == (2, 68, 2)
    assert points[0, 0].tolist() == [1, 101]
    assert points[1, 67].tolist() == [73, 173]
    np.testing.assert_allclose(seconds, [0, 2 / FRAME_RATE])


def test_cache_is_the_same_and_follows_the_tables(folder, tmp_path):
    cache = tmp_path / "cache"
    first = read_ravdess_landmarks(folder, cache=cache)
    again = read_ravdess_landmarks(folder, cache=cache)
    np.testing.assert_array_equal(again.points, first.points)
    assert again.names.tolist() == first.names.tolist()
    write_table(folder, 3, [line("02-01-05-01-01-01-03.mp4", 0)])
    assert len(read_ravdess_landmarks(folder, cache=cache)) == 4


@pytest.mark.parametrize(
    ("lines", "columns", "match"),
    [
        ([line("clip.mp4", 0)], COLUMNS, "line 2: 'clip.mp4' is no RAVDESS name"),
        ([line("02-01-09-01-01-01-03.mp4", 0)], COLUMNS, "line 2: .* is no RAVDESS name"),
        (
            [line("02-01-01-01-01-01-03.mp4", 0), line("02-01-01-01-01-01-03.mp4", "x")],
            COLUMNS,
            "line 3: expected numbers",
        ),
        ([line("02-01-01-01-01-01-03.mp4", 0)[:-1]], COLUMNS[:-1], "lacks column pt68.y"),
        ([line("02-01-01-01-01-01-03.mp4", 4)] * 2, COLUMNS, "frame 4 .* occurs twice"),
    ],
)
def test_faulty_tables(tmp_path, lines, columns, match):
    write_table(tmp_path, 3, lines, columns)
    with pytest.raises(DataError, match=match):
        read_ravdess_landmarks(tmp_path)


def test_no_tables(tmp_path):
    with pytest.raises(DataError, match="one table of landmarks per actor"):
        read_ravdess_landmarks(tmp_path)


@pytest.mark.parametrize("protocol", FOLDS_OF_ACTORS)
def test_folds_hold_every_actor_out_once(protocol):
    held_out = [actor for fold in FOLDS_OF_ACTORS[protocol] for actor in fold]
    assert len(held_out) == len(set(held_out))
    # The published five folds leave no actor out but the 24 there are.
    assert set(held_out) == set(range(1, 25))


@pytest.mark.needs_data
def test_counts_of_the_real_tables(data_folder):
    found = read_ravdess_landmarks(data_folder / "ravdess_landmarks68")
    assert found.points.shape == (159696, 68, 2)
    assert np.bincount(found.labels).tolist() == [96, *[192] * 7]
    assert np.bincount(found.actors).tolist() == [0, *[60] * 24]


def test_actors_are_held_out_together():
    folds = actor_folds([(1, 2), (3,), (7, 8)], np.array([3, 1, 5, 2, 3]))
    assert [(fold.name, fold.train.tolist(), fold.test.tolist()) for fold in folds] == [
        ("1-2", [0, 4], [1, 3]),
        ("3", [1, 3], [0, 4]),
    ]
