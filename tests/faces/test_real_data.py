"""Detector, tracker and crop template on the development data."""

import cv2
import numpy as np
import pytest

from emotemporal.faces.tracker import FaceTracker
from emotemporal.structures import CropGeometry

pytestmark = pytest.mark.needs_data


def test_template_is_where_training_faces_have_their_features(mtcnn, data_folder):
    pandas = pytest.importorskip("pandas")
    table = pandas.read_csv(data_folder / "fer2013" / "fer2013.csv.xz", nrows=200)
    points = []
    for pixels in table.pixels:
        face = np.array(pixels.split(), np.uint8).reshape(48, 48)
        large = cv2.resize(face, (192, 192), interpolation=cv2.INTER_CUBIC)
        found = mtcnn.detect_faces(np.repeat(large[..., None], 3, axis=2))
        points += [found.landmarks[0] / 192] if len(found) else []
    assert len(points) > 150
    np.testing.assert_allclose(np.median(points, axis=0), CropGeometry().template, atol=0.03)


@pytest.mark.parametrize(("clip", "num_people"), [("single_face.mp4", 1), ("no_face.mp4", 0)])
def test_people_in_a_clip(mtcnn, data_folder, run, clip, num_people):
    av = pytest.importorskip("av")
    with av.open(str(data_folder / "clips" / clip)) as container:
        frames = np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])
    tracks = run(frames, FaceTracker(mtcnn)).tracks
    assert len(tracks) == num_people
    assert all(len(track) == len(frames) and track.seen.all() for track in tracks)
