"""MTCNN on real portraits."""

import cv2
import numpy as np
import pytest

from emotemporal.faces.align import align_faces
from emotemporal.faces.detector import MtcnnDetector, square_boxes
from emotemporal.faces.tracker import FaceTracker
from emotemporal.models.mixed import MIRRORED
from emotemporal.structures import CropGeometry


@pytest.fixture(params=["astronaut", "hopper"])
def portrait(request):
    return request.getfixturevalue(request.param)


def test_finds_the_face_and_its_features(mtcnn, portrait):
    found = mtcnn.detect_faces(portrait)
    assert len(found) == 1
    assert found.scores[0] > 0.99
    (x1, y1, x2, y2), points = found.boxes[0], found.landmarks[0]
    left_eye, right_eye, nose, left_mouth, right_mouth = points
    assert left_eye[0] < nose[0] < right_eye[0]
    assert left_mouth[0] < right_mouth[0]
    assert max(left_eye[1], right_eye[1]) < nose[1] < min(left_mouth[1], right_mouth[1])
    assert ((points > (x1, y1)) & (points < (x2, y2))).all()
    assert 1.0 < (y2 - y1) / (x2 - x1) < 1.7


def test_backends_agree(portrait, share):
    pytest.importorskip("openvino", reason="the extra [openvino] is not installed")
    torch, openvino = (MtcnnDetector(backend=backend) for backend in ("torch", "openvino"))
    (before,), (after,) = (detector.detect_faces(portrait).boxes for detector in (torch, openvino))
    assert share(before, after) > 0.9
    # Of one box each, in bf16 and in float32: within a hundredth of the face.
    one, other = (detector.refine_faces(portrait, before[None]) for detector in (torch, openvino))
    width = float(before[2] - before[0])
    assert np.abs(one.boxes - other.boxes).max() < 0.01 * width
    assert np.abs(one.landmarks - other.landmarks).max() < 0.01 * width
    assert np.abs(one.scores - other.scores).max() < 0.01


def test_agrees_with_facenet(mtcnn, portrait, share):
    facenet = pytest.importorskip("facenet_pytorch")
    boxes, scores, points = facenet.MTCNN(keep_all=True).detect(portrait, landmarks=True)
    found = mtcnn.detect_faces(portrait)
    assert len(found) == len(boxes)
    # facenet counts the upper left pixel from 1. Of many nearly equal proposals the last digit picks one, so
    # boxes of either differ by a few percent from those of the same picture moved by a pixel.
    expected = boxes[0].astype(np.float32) - (1, 1, 0, 0)
    width = expected[2] - expected[0]
    assert share(found.boxes[0], expected) > 0.8
    assert np.abs(found.landmarks[0] - points[0].astype(np.float32)).max() < 0.04 * width
    assert abs(found.scores[0] - scores[0]) < 0.02


def test_landmarks_are_in_continuous_coordinates(mtcnn, astronaut):
    """Told from pixel centres, faces of both pictures would lie half a pixel to one side."""

    def only_sure_face(picture):
        # In bf16 a patch of the background passes for a face once, at 0.73.
        found = mtcnn.detect_faces(picture)
        (landmarks,) = found.landmarks[found.scores >= 0.9]
        return landmarks

    offsets = []
    for size in np.linspace(0.35, 0.8, 10):
        picture = cv2.resize(astronaut, None, fx=size, fy=size, interpolation=cv2.INTER_AREA)
        found = only_sure_face(picture)
        mirrored = only_sure_face(np.ascontiguousarray(picture[:, ::-1]))
        back = picture.shape[1] - mirrored[MIRRORED[5], 0]
        offsets.append((found[:, 0] - back).mean() / 2)
    assert abs(np.mean(offsets)) < 0.2


def test_results_are_in_pixels_of_the_full_frame(mtcnn, astronaut, share):
    small = mtcnn.detect_faces(astronaut)
    large = mtcnn.detect_faces(cv2.resize(astronaut, None, fx=3, fy=3, interpolation=cv2.INTER_CUBIC))
    assert share(large.boxes[0] / 3, small.boxes[0]) > 0.9
    assert np.abs(large.landmarks[0] / 3 - small.landmarks[0]).max() < 4


def test_refinement_finds_the_face_from_near(mtcnn, astronaut, share):
    (box,) = mtcnn.detect_faces(astronaut).boxes
    size = box[2] - box[0]
    near = np.stack([box, box + 0.15 * size, box + np.array([-0.1, 0.1, 0.1, -0.1]) * size]).astype(
        np.float32
    )
    far = np.array([[10, 300, 110, 400]], np.float32)
    refined = mtcnn.refine_faces(astronaut, np.concatenate([near, far]))
    assert (refined.scores[:3] > 0.95).all()
    assert all(share(one, box) > 0.8 for one in refined.boxes[:3])
    assert refined.scores[3] < 0.5


def test_refinement_of_useless_boxes_scores_zero(mtcnn, astronaut):
    boxes = np.array(
        [[np.nan] * 4, [5, 5, 5, 5], [600, 600, 700, 700], [-90, -90, -10, -10], [0, 0, 1e9, 1e9]], np.float32
    )
    refined = mtcnn.refine_faces(astronaut, boxes)
    assert len(refined) == 5
    assert (refined.scores == 0).all()


def test_refinement_at_the_border_keeps_the_landmarks(mtcnn, hopper):
    """What lies beyond the picture is missing, not squeezed."""
    whole = mtcnn.detect_faces(hopper)
    cut = int(whole.boxes[0, 0] + 0.2 * (whole.boxes[0, 2] - whole.boxes[0, 0]))
    shifted = whole.boxes - np.array([cut, 0, cut, 0], np.float32)
    refined = mtcnn.refine_faces(np.ascontiguousarray(hopper[:, cut:]), shifted)
    moved = np.abs(refined.landmarks[0] + (cut, 0) - whole.landmarks[0]).max()
    assert refined.scores[0] > 0.9
    assert moved < 0.1 * (whole.boxes[0, 2] - whole.boxes[0, 0])


def test_no_boxes_to_refine(mtcnn, astronaut):
    assert len(mtcnn.refine_faces(astronaut, np.zeros((0, 4), np.float32))) == 0


@pytest.mark.parametrize("shape", [(1, 1, 3), (11, 300, 3), (30, 40, 3), (200, 200, 3)])
@pytest.mark.parametrize("level", [0, 128])
def test_empty_pictures_have_no_faces(mtcnn, shape, level):
    assert len(mtcnn.detect_faces(np.full(shape, level, np.uint8))) == 0


def test_square_keeps_the_centre():
    squares = square_boxes(np.array([[0, 0, 4, 2], [1, 1, 3, 5]], np.float32))
    np.testing.assert_allclose(squares, [[0, -1, 4, 3], [0, 1, 4, 5]])


@pytest.mark.parametrize("settings", [{"long_side_px": 5}, {"min_face_px": 5}, {"thresholds": (0.5, 0.5)}])
def test_bad_settings_are_refused(settings):
    with pytest.raises(ValueError, match=next(iter(settings))):
        MtcnnDetector(**settings)


@pytest.mark.parametrize("frame", [np.zeros((9, 9), np.uint8), np.zeros((9, 9, 3), np.float32)])
def test_wrong_frames_are_refused(mtcnn, frame):
    with pytest.raises(ValueError, match="uint8"):
        mtcnn.detect_faces(frame)


def moved_portrait(portrait, scenery, num_frames):
    """A portrait on a curved way over a background: frames, and the way, (N, 2)."""
    patch = cv2.resize(portrait[:300, 80:380], (180, 180), interpolation=cv2.INTER_AREA)
    canvas = scenery(2, 240, 320)
    turn = np.linspace(0, 2 * np.pi, num_frames)
    way = np.column_stack([70 + 60 * np.sin(turn), 30 + 25 * np.sin(2 * turn)]).round().astype(int)
    frames = np.repeat(canvas[None], num_frames, axis=0)
    for frame, (x, y) in zip(frames, way, strict=True):
        frame[y : y + 180, x : x + 180] = patch
    return frames, way


def test_moving_portrait_is_followed(mtcnn, astronaut, scenery, run, share):
    frames, way = moved_portrait(astronaut, scenery, 60)
    (track,) = run(frames, FaceTracker(mtcnn)).tracks
    assert len(track) == 60
    assert track.seen.all()
    still = track.boxes - np.tile(way, 2)
    middle = np.median(still, axis=0)
    shares = [share(box, middle) for box in still]
    assert min(shares) > 0.8
    assert np.median(shares) > 0.93
    crops = np.concatenate(
        [align_faces(f, p[None], CropGeometry()) for f, p in zip(frames, track.landmarks, strict=True)]
    )
    assert np.abs(crops.astype(float) - np.median(crops, axis=0)).mean() < 12


def test_black_video_and_tiny_video(mtcnn, run):
    for side in (20, 100):
        assert run(np.zeros((15, side, side, 3), np.uint8), FaceTracker(mtcnn)).tracks == ()


def test_refinement_looks_where_the_cascade_would(mtcnn, astronaut, share):
    """Looked at again and again from its own box, a face stays where the cascade saw it."""
    (box,) = mtcnn.detect_faces(astronaut).boxes
    refined, stretched = [box], [box]
    for _ in range(10):
        refined.append(mtcnn.refine_faces(astronaut, refined[-1][None]).boxes[0])
        stretched.append(mtcnn.locate_faces(astronaut, stretched[-1][None]).boxes[0])
    least, least_stretched = (min(share(one, box) for one in boxes) for boxes in (refined, stretched))
    assert least > 0.92
    assert least > least_stretched
