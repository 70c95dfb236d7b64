"""The timeline picture: what is drawn where, thumbnails, cuts and gaps."""

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from matplotlib.colors import to_hex
from matplotlib.patches import Rectangle

from emotemporal.errors import OutputError, UsageError, VideoError
from emotemporal.labels import FER7
from emotemporal.report import timeline
from emotemporal.report.palette import emotion_hex
from emotemporal.report.plots import render_figure
from emotemporal.report.timeline import plot_timeline, write_timeline
from emotemporal.structures import FrameBatch, VideoAnalysis

HAPPY, SAD = FER7.index("happy"), FER7.index("sad")


def probs_of(labels: list[int]) -> np.ndarray:
    rows = np.full((len(labels), 7), 0.05, np.float32)
    rows[np.arange(len(labels)), labels] = 0.7
    return rows


@pytest.fixture
def analysis(make_analysis, make_person) -> VideoAnalysis:
    """Two people in two seconds; the first turns from happy to sad at 1 s and is not found before that."""
    first = make_person(1, (10, 20, 50, 70), num_frames=50, probs=probs_of([HAPPY] * 25 + [SAD] * 25))
    status = np.zeros(50, np.uint8)
    status[10:15] = 2
    first = (replace(first[0], status=status), first[1])
    second = make_person(2, (60, 20, 100, 70), first_frame=25, num_frames=20, probs=probs_of([SAD] * 20))
    return make_analysis(first, second, num_frames=50, size=(160, 96))


def bands(axes: object) -> list[tuple[float, float, str]]:
    """Return onset, offset and colour of what stands in a lane's band of labels."""
    patches = [p for p in axes.patches if isinstance(p, Rectangle) and p.get_y() == 0]
    found = [(p.get_x(), p.get_x() + p.get_width(), to_hex(p.get_facecolor())) for p in patches[1:]]
    return [(round(onset, 6), round(offset, 6), colour) for onset, offset, colour in found]


def texts(axes: object) -> set[str]:
    return {text.get_text() for text in axes.texts}


def test_a_lane_for_each_person_with_band_name_and_clip_label(analysis) -> None:
    figure = plot_timeline(analysis, aggregate="vote")
    first, second = figure.axes
    assert bands(first) == [(0, 1, emotion_hex("happy")), (1, 2, emotion_hex("sad"))]
    assert bands(second) == [(1, 1.8, emotion_hex("sad"))]
    assert {"person 1", "0.0–2.0", "happy", "sad", "64% by vote"} <= texts(first)
    assert {"person 2", "1.0–1.8"} <= texts(second)
    assert all(axes.get_xlim() == (0, 2) for axes in figure.axes)
    assert {"clip.mp4"} <= {text.get_text() for text in figure.texts}


def test_probabilities_are_stacked_to_one(analysis) -> None:
    axes = plot_timeline(analysis).axes[0]
    heights = [np.ptp(area.get_paths()[0].vertices[:, 1]) for area in axes.collections]
    assert len(heights) == 7
    lows = min(area.get_paths()[0].vertices[:, 1].min() for area in axes.collections)
    highs = max(area.get_paths()[0].vertices[:, 1].max() for area in axes.collections)
    assert (lows, highs) == pytest.approx(timeline._CHART)


def test_what_was_not_found_is_hatched(analysis) -> None:
    figure = plot_timeline(analysis)
    hatched = [p for axes in figure.axes for p in axes.patches if p.get_hatch()]
    assert [(p.get_x(), round(p.get_width(), 6)) for p in hatched] == [(0.4, 0.2)]
    assert "face not found" in {text.get_text() for text in figure.legends[0].get_texts()}


def test_many_frames_are_averaged_over_their_time() -> None:
    edges = np.concatenate([np.arange(4001) / 10, [402.0]])
    probs = np.tile(np.array([[1.0, 0.0], [0.0, 1.0]], np.float32), (2001, 1))[:4001]
    fewer_edges, fewer = timeline._binned(edges, probs)
    assert len(fewer) == len(fewer_edges) - 1 <= timeline._MAX_POINTS
    assert (fewer_edges[0], fewer_edges[-1]) == (0, 402)
    np.testing.assert_allclose(fewer.sum(1), 1)
    np.testing.assert_allclose(
        (fewer * np.diff(fewer_edges)[:, None]).sum(0), (probs * np.diff(edges)[:, None]).sum(0), rtol=1e-5
    )


@pytest.mark.parametrize("onsets", [[0.0, 0.1, 0.2], [9.8, 9.9], [0.0, 5.0, 5.1, 9.9], [3.0], []])
def test_thumbnails_stay_apart_and_inside(onsets: list[float]) -> None:
    lefts = timeline._spread(onsets, 1.0, (0.0, 10.0))
    assert all(b - a > 0.999 for a, b in pairwise(lefts))
    assert all(0 <= left <= 9 for left in lefts)
    assert len(lefts) == len(onsets)


def test_a_thumbnail_is_the_square_about_the_box() -> None:
    picture = np.zeros((100, 200, 3), np.uint8)
    picture[20:60, 150:200] = (255, 0, 0)
    inside = timeline._cut_out(picture, np.array([160, 28, 180, 48], np.float32))
    assert (inside == (255, 0, 0)).all()
    # The right half of this box lies beyond the picture.
    beyond = timeline._cut_out(picture, np.array([180, 20, 220, 60], np.float32))
    middle = beyond[len(beyond) // 2]
    assert (middle[5] == (255, 0, 0)).all()
    assert (middle[-5] == timeline._BEYOND).all()
    for outside in ((-90, -90, -50, -50), (300, 300, 340, 340)):
        assert (timeline._cut_out(picture, np.array(outside, np.float32)) == timeline._BEYOND).all()


def test_faces_are_taken_at_changes_and_cuts_where_shots_change(analysis) -> None:
    pictures = np.zeros((50, 96, 160, 3), np.uint8)
    random = np.random.default_rng(0)
    for part in (slice(0, 30), slice(30, 50)):
        coarse = random.integers(0, 255, (6, 10, 3), dtype=np.uint8)
        pictures[part] = cv2.resize(coarse, (160, 96), interpolation=cv2.INTER_NEAREST)
    gathered = timeline._Gathering(timeline._lanes(analysis))
    gathered.take(FrameBatch(pictures, analysis.frame_index, analysis.pts_seconds))
    assert gathered.pictures.cut_seconds == [30 / 25]
    assert set(gathered.pictures.faces) == {(1, 0), (1, 25), (2, 25)}
    figure = plot_timeline(analysis, gathered.pictures)
    assert [len(axes.images) for axes in figure.axes] == [2, 1]
    assert "cut" in {text.get_text() for text in figure.legends[0].get_texts()}
    assert all(axes.get_xlim() == (0, 2) and axes.get_ylim() == (0, 1) for axes in figure.axes)


def test_of_more_changes_than_fit_the_longest_have_faces(make_analysis, make_person) -> None:
    labels = [HAPPY, SAD] * 50 + [HAPPY] * 100
    person = make_person(1, (0, 0, 9, 9), num_frames=200, probs=probs_of(labels))
    analysis = make_analysis(person, num_frames=200)
    (lane,) = timeline._lanes(analysis)
    assert 10 <= len(lane.thumb_frames) <= 18
    assert lane.thumb_frames[-1] == (4.0, 100)
    faces = {(1, frame): np.zeros((96, 96, 3), np.uint8) for _, frame in lane.thumb_frames}
    (axes,) = plot_timeline(analysis, timeline.TimelinePictures(faces, [])).axes
    assert f"faces at {len(lane.thumb_frames)} of 101 changes" in texts(axes)


def test_of_a_crowd_those_seen_longest_are_shown(make_analysis, make_person) -> None:
    people = [make_person(i, (0, 0, 9, 9), num_frames=1 + (i > 5)) for i in range(1, 66)]
    figure = plot_timeline(make_analysis(*people, num_frames=2))
    assert len(figure.axes) == 60
    assert any("the 60 of 65 people who are seen longest" in text.get_text() for text in figure.texts)
    assert "person 6" in set().union(*(texts(axes) for axes in figure.axes))


def test_nobody_and_a_name_like_a_formula(make_analysis) -> None:
    figure = plot_timeline(make_analysis(num_frames=10, path="$x_$\x1b.mp4"))
    assert "no face found" in texts(figure.axes[0])
    assert render_figure(figure).shape[2] == 3


def test_the_picture_is_written_from_the_video(analysis, tmp_path: Path) -> None:
    path = tmp_path / "日本.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 160, 96, "yuv420p"
        picture = np.full((96, 160, 3), 120, np.uint8)
        picture[:, 60:100] = (0, 200, 0)
        for _ in range(50):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    analysis = replace(analysis, info=replace(analysis.info, path=str(path)))
    told = []
    target = tmp_path / "a.png"
    write_timeline(analysis, target, aggregate="sum", on_progress=lambda *step: told.append(step))
    assert told[-1] == ("plot", 50, 50)
    drawn = cv2.imread(str(target))[:, :, ::-1].astype(int)
    green = (np.abs(drawn - (0, 200, 0)) < 30).all(axis=2)
    assert green.sum() > 1000
    with pytest.raises(OutputError):
        write_timeline(analysis, tmp_path / "a.png" / "b.png")
    path.unlink()
    with pytest.raises(VideoError):
        write_timeline(analysis, target)


def test_a_picture_has_no_timeline(analysis, tmp_path: Path) -> None:
    still = replace(analysis, info=replace(analysis.info, path="a.png", is_still=True))
    with pytest.raises(UsageError, match="a picture has no time"):
        write_timeline(still, tmp_path / "b.png")
