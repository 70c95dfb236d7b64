"""Overlay: what is drawn, where, and how large, on pictures of many sizes."""

import numpy as np
import pytest

from emotemporal.report.overlay import OverlayRenderer
from emotemporal.report.palette import INK, PAPER, emotion_colour

SIZES = [(176, 144), (320, 240), (640, 360), (1920, 1080), (1080, 1920), (3840, 2160)]
GRAY = 128


def gray_frame(size: tuple[int, int]) -> np.ndarray:
    return np.full((size[1], size[0], 3), GRAY, np.uint8)


def changed(picture: np.ndarray) -> np.ndarray:
    return (picture != GRAY).any(axis=2)


def extent(mask: np.ndarray) -> tuple[int, int, int, int]:
    """Return x1, y1, x2, y2 around the true pixels of a mask."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return columns[0], rows[0], columns[-1] + 1, rows[-1] + 1


def test_frames_without_a_face_stay_as_they_are(make_analysis, make_person) -> None:
    analysis = make_analysis(make_person(1, (200, 100, 300, 220), first_frame=2, num_frames=3), num_frames=9)
    renderer = OverlayRenderer(analysis)
    frame = gray_frame((640, 360))
    for index, is_marked in enumerate([False, False, True, True, True, False, False]):
        assert changed(renderer.draw(frame, index)).any() == is_marked
    assert not changed(frame).any()
    assert not changed(OverlayRenderer(make_analysis()).draw(frame, 0)).any()


@pytest.mark.parametrize("size", SIZES)
def test_only_pixels_near_the_face_change_and_the_face_stays_free(make_analysis, make_person, size) -> None:
    width, height = size
    box = np.array([0.4 * width, 0.4 * height, 0.65 * width, 0.75 * height]).round()
    analysis = make_analysis(make_person(1, tuple(box)), size=size)
    mask = changed(OverlayRenderer(analysis).draw(gray_frame(size), 0))
    x1, y1, x2, y2 = extent(mask)
    near = 0.16 * min(size) + 6
    assert box[0] - near < x1 < box[0]
    assert box[1] - near < y1 < box[1]
    assert box[3] < y2 < box[3] + near
    assert x2 <= width
    left, top, right, bottom = box.astype(int)
    assert not mask[top + 2 : bottom - 2, left + 2 : right - 2].any()


@pytest.mark.parametrize("size", SIZES[:-1])
@pytest.mark.parametrize("corner", [(0, 0), (1, 0), (0, 1), (1, 1)])
def test_at_the_edges_the_whole_label_is_inside_and_off_the_face(
    make_analysis, make_person, size, corner
) -> None:
    side = 0.3 * min(size)
    middle = np.array(corner) * size
    box = (middle[0] - side, middle[1] - side, middle[0] + side, middle[1] + side)
    amid = (np.array(size) / 2 - side).tolist() + (np.array(size) / 2 + side).tolist()
    at_edge, free = (
        OverlayRenderer(make_analysis(make_person(1, tuple(place)), size=size)).draw(gray_frame(size), 0)
        for place in (box, amid)
    )
    # The text is complete where as many white pixels are seen as far from any edge.
    assert (at_edge == PAPER).all(2).sum() == (free == PAPER).all(2).sum()
    x1, y1, x2, y2 = np.clip(box, 4, np.array(size * 2) - 4).astype(int)
    inner = changed(at_edge)[y1 + 12 : y2 - 12, x1 + 12 : x2 - 12]
    assert not inner.any()


def test_text_and_lines_grow_with_the_picture(make_analysis, make_person) -> None:
    heights = {}
    for size in ((320, 240), (640, 360), (1920, 1080), (3840, 2160)):
        box = (0.3 * size[0], 0.4 * size[1], 0.7 * size[0], 0.9 * size[1])
        picture = OverlayRenderer(make_analysis(make_person(1, box), size=size)).draw(gray_frame(size), 0)
        _, y1, _, y2 = extent((picture == PAPER).all(2))
        heights[size[1]] = y2 - y1
    assert heights[240] >= 8  # of the tallest letter to the deepest
    assert heights[240] < heights[360] < heights[1080] < heights[2160]
    assert 3.5 < heights[2160] / heights[240] < 9


def test_colour_is_that_of_the_smoothed_emotion(make_analysis, make_person, make_clip) -> None:
    probs = make_clip(head="happy")["head"].probs[None]
    smoothed = make_clip(head="sad")["head"].probs[None]
    person = make_person(1, (200, 100, 320, 240), probs=probs, smoothed=smoothed)
    picture = OverlayRenderer(make_analysis(person)).draw(gray_frame((640, 360)), 0)
    assert (picture == emotion_colour("sad")).all(2).sum() > 500
    assert not (picture == emotion_colour("happy")).all(2).any()


def test_the_bar_is_as_long_as_the_confidence(make_analysis, make_person) -> None:
    lengths = []
    for top in (0.4, 0.8):
        probs = np.full((1, 7), (1 - top) / 6, np.float32)
        probs[0, 3] = top
        picture = OverlayRenderer(
            make_analysis(make_person(1, (200, 120, 320, 240), probs=probs), size=(640, 360))
        ).draw(gray_frame((640, 360)), 0)
        _, _, _, text_end = extent((picture == PAPER).all(2))
        # Just below the text and above the box: the stripe at the left, then the bar.
        below = (picture[text_end : 120 - 5] == emotion_colour("happy")).all(2)
        lengths.append(below.sum(1).max())
    assert 1.7 < lengths[1] / lengths[0] < 2.1


def test_interpolated_boxes_are_dashed(make_analysis, make_person) -> None:
    frame = gray_frame((640, 360))
    drawn = [
        OverlayRenderer(make_analysis(make_person(1, (200, 120, 320, 240), status=status))).draw(frame, 0)
        for status in (0, 1, 2)
    ]
    side = [changed(picture)[120:240, 199].sum() for picture in drawn]
    assert side[0] == side[1] == 120
    assert 40 < side[2] < 100


def test_labels_of_neighbours_do_not_cover_each_other(make_analysis, make_person) -> None:
    together = [make_person(i, (140 * i, 120, 140 * i + 90, 230)) for i in range(4)]
    frame = gray_frame((640, 360))
    white = [
        (OverlayRenderer(make_analysis(*people)).draw(frame, 0) == PAPER).all(2).sum()
        for people in (together, *([person] for person in together))
    ]
    assert white[0] == sum(white[1:])


def test_small_faces_get_smaller_labels(make_analysis, make_person) -> None:
    frame = gray_frame((1920, 1080))
    boxes = (900, 500, 940, 550), (800, 400, 1100, 800)
    pictures = [
        OverlayRenderer(make_analysis(make_person(1, box), size=(1920, 1080))).draw(frame, 0) for box in boxes
    ]
    small, large = (extent((picture == INK).all(2)) for picture in pictures)
    assert small[2] - small[0] < 0.7 * (large[2] - large[0])


def test_a_label_stays_where_it_was_while_its_place_is_good(make_analysis, make_person) -> None:
    index = np.arange(20)
    moving = make_person(1, (300, 0, 420, 140), num_frames=20)
    moving[0].boxes[:, [1, 3]] += (26 + 3 * (-1) ** index)[:, None]  # hops about where the label just fits
    renderer = OverlayRenderer(make_analysis(moving, num_frames=20))
    tops = []
    for i in index:
        _, y1, _, _ = extent((renderer.draw(gray_frame((640, 360)), i) == PAPER).all(2))
        tops.append(y1 < moving[0].boxes[i, 1])
    assert len(set(tops)) == 1


@pytest.mark.parametrize("size", [(2, 2), (16, 16), (64, 48), (400, 20)])
def test_pictures_too_small_for_a_label_do_not_fail(make_analysis, make_person, size) -> None:
    analysis = make_analysis(make_person(123, (-5, -5, 500, 500)), size=size)
    assert OverlayRenderer(analysis).draw(gray_frame(size), 0).shape == (size[1], size[0], 3)
