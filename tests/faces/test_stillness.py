"""What counts as a change of a picture."""

import cv2
import numpy as np
import pytest

from emotemporal.faces.stillness import KnownPicture

NO_FACES = (np.zeros((0, 4), np.float32), np.zeros((0, 5, 2), np.float32))
SHAPES = [(360, 640), (1080, 1920), (120, 160), (1000, 300)]


def faces_at(*boxes):
    """Boxes and landmarks of faces."""
    boxes = np.array(boxes, np.float32)
    places = np.float32([[0.3, 0.4], [0.7, 0.4], [0.5, 0.6], [0.35, 0.8], [0.65, 0.8]])
    return boxes, boxes[:, None, :2] + places * (boxes[:, 2:] - boxes[:, :2])[:, None]


def noisy(picture, seed, spread=4.0):
    noise = np.random.default_rng(seed).normal(0, spread, picture.shape)
    return (picture + noise).clip(0, 255).astype(np.uint8)


@pytest.fixture(params=SHAPES, ids=str)
def room(request, scenery):
    return scenery(3, *request.param)


@pytest.fixture
def face(astronaut):
    """The portrait's face alone."""
    return astronaut[70:180, 170:280]


def paste(picture, face, x, y, side):
    shown = picture.copy()
    shown[y : y + side, x : x + side] = cv2.resize(face, (side, side), interpolation=cv2.INTER_AREA)
    return shown


def test_noise_is_no_change(room):
    assert KnownPicture(noisy(room, 1), *NO_FACES).is_unchanged(noisy(room, 2), *NO_FACES)


@pytest.mark.parametrize("place", [(0.0, 0.0), (0.31, 0.47), (0.6, 0.2), (0.83, 0.9)])
def test_the_smallest_face_that_is_searched_for_is_a_change(room, face, place):
    height, width = room.shape[:2]
    side = round(20 * max(max(height, width) / 640, 1))
    x, y = int(place[0] * (width - side)), int(place[1] * (height - side))
    known = KnownPicture(noisy(room, 1), *NO_FACES)
    assert not known.is_unchanged(noisy(paste(room, face, x, y, side), 2), *NO_FACES)


def test_a_known_face_may_move(scenery, face):
    room = scenery(3, 360, 640)
    there, moved = faces_at([300, 120, 360, 200]), faces_at([304, 123, 364, 203])
    known = KnownPicture(paste(room, face, 290, 120, 80), *there)
    assert known.is_unchanged(paste(room, face, 294, 123, 80), *moved)
    # Where it is said to be, there is none.
    assert not known.is_unchanged(paste(room, face, 480, 130, 80), *moved)


def test_a_face_that_has_gone_far_or_turned_is_a_change(scenery):
    room = scenery(3, 360, 640)
    boxes, landmarks = faces_at([300, 120, 360, 200], [100, 100, 140, 150])
    known = KnownPicture(room, boxes, landmarks)
    assert known.is_unchanged(room, boxes, landmarks)
    assert not known.is_unchanged(room, *faces_at([300, 120, 360, 200], [109, 100, 149, 150]))
    turned = landmarks.copy()
    centre = landmarks[1].mean(axis=0)
    turned[1] = (landmarks[1] - centre) @ np.float32([[0, 1], [-1, 0]]) + centre
    assert not known.is_unchanged(room, boxes, turned)


def test_fewer_faces_are_a_change(scenery):
    room = scenery(3, 360, 640)
    known = KnownPicture(room, *faces_at([300, 120, 360, 200], [100, 100, 140, 150]))
    assert not known.is_unchanged(room, *faces_at([300, 120, 360, 200]))


def test_one_of_two_faces_is_new(scenery, face):
    room = scenery(3, 360, 640)
    box = faces_at([100, 120, 160, 200])
    one = paste(room, face, 90, 120, 80)
    both = paste(one, face, 400, 120, 80)
    assert KnownPicture(one, *box).is_unchanged(one, *box)
    assert not KnownPicture(one, *box).is_unchanged(both, *box)


def test_a_face_that_fills_the_picture_leaves_nothing_to_change(scenery):
    box = faces_at([-20, -20, 180, 140])
    assert KnownPicture(scenery(1), *box).is_unchanged(scenery(2), *box)


def test_pictures_of_two_sizes_are_not_the_same(scenery):
    assert not KnownPicture(scenery(1), *NO_FACES).is_unchanged(scenery(1, 240, 320), *NO_FACES)


def test_a_slow_fade_is_a_change_in_the_end(scenery):
    room = scenery(3).astype(np.float32)
    fade = [(room * (1 - 0.004 * i)).astype(np.uint8) for i in range(60)]
    known = KnownPicture(fade[0], *NO_FACES)
    unchanged = [known.is_unchanged(frame, *NO_FACES) for frame in fade]
    assert unchanged[1]
    assert not unchanged[-1]
