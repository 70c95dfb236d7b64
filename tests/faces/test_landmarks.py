"""68 points in faces that MTCNN found."""

import importlib.util

import numpy as np
import pytest

from emotemporal.errors import UsageError
from emotemporal.faces import landmarks
from emotemporal.faces.landmarks import LandmarkPredictor, dlib_boxes


def test_square_by_hand():
    square = dlib_boxes(np.array([[100, 200, 180, 300]], np.float32))
    np.testing.assert_allclose(square, [[100.5, 217.5, 179.5, 296.5]])


def test_no_face_gives_no_square():
    assert dlib_boxes(np.zeros((0, 4), np.float32)).shape == (0, 4)


@pytest.mark.parametrize("missing", ["dlib", "face_recognition_models"])
def test_missing_extra_is_one_line(monkeypatch, missing):
    find = importlib.util.find_spec
    monkeypatch.setattr(landmarks, "find_spec", lambda name: None if name == missing else find(name))
    with pytest.raises(UsageError, match=r"emotemporal\[landmarks\]"):
        LandmarkPredictor()


@pytest.mark.needs_data
def test_reproduces_the_given_landmarks(mtcnn, data_folder):
    """On the five RAVDESS clips at hand: 1.0 px in the middle, 1.1 on average, of 1280x720."""
    av = pytest.importorskip("av")
    pytest.importorskip("dlib")
    pandas = pytest.importorskip("pandas")
    predictor = LandmarkPredictor()
    table = pandas.read_csv(data_folder / "ravdess_landmarks68" / "Actor_01_landmarks.csv.xz")
    columns = [[f"pt{i}.{axis}" for axis in "xy"] for i in range(1, 69)]
    errors = []
    clips = sorted((data_folder / "ravdess_actor01" / "Actor_01").glob("*.mp4"))
    assert len(clips) == 5
    for clip in clips:
        # The tables name the takes without sound; those with it are the same pictures.
        rows = table[table.fname == f"02{clip.name[2:]}"].set_index("frame_ct")
        with av.open(str(clip)) as container:
            for i, frame in enumerate(container.decode(video=0)):
                if i % 40 == 20 and i in rows.index:
                    picture = frame.to_ndarray(format="rgb24")
                    found = predictor.predict(picture, mtcnn.detect_faces(picture).boxes[:1])[0]
                    given = np.stack([rows.loc[i, pair].to_numpy(float) for pair in columns])
                    errors.append(np.linalg.norm(found - given, axis=1))
    assert len(errors) >= 10
    assert np.median(errors) <= 1.5
    assert np.mean(errors) <= 2
