"""The report page in a browser: what is seen on it, and what it does when it is used."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from time import monotonic

import cv2
import numpy as np
import pytest
from page_views import (
    BOX,
    HAPPY,
    NUM_FRAMES,
    SAD,
    expect_gray,
    gray_level,
    of_colour,
    overlay_pixels,
    pixels_of,
    wait_for_frame,
    wait_for_video,
    wait_until,
    write_video,
)

from emotemporal.report.page import write_report_page
from emotemporal.report.palette import emotion_colour
from emotemporal.structures import EmotionTimeline, Track, VideoAnalysis
from emotemporal.video.probe import probe_video


@pytest.fixture
def analyse(make_analysis, make_person) -> Callable[[Path], VideoAnalysis]:
    """Make an analysis of a video of `write_video`.

    Person 1 is happy for a second and then sad, and stands still but on frames 10 to 14, where it is not
    found. Person 2 is in view from frame 25 on, sad.
    """

    def make(video: Path) -> VideoAnalysis:
        info = probe_video(video)
        smoothed = np.full((NUM_FRAMES, 7), 0.05, np.float32)
        smoothed[:25, HAPPY] = smoothed[25:, SAD] = 0.7
        raw = np.full((NUM_FRAMES, 7), 0.1, np.float32)
        raw[:, SAD] = 0.4
        first = make_person(1, BOX, num_frames=NUM_FRAMES, probs=raw, smoothed=smoothed)
        status = np.zeros(NUM_FRAMES, np.uint8)
        status[10:15] = 2
        first = (replace(first[0], status=status), first[1])
        second = make_person(2, (20, 60, 90, 150), first_frame=25, num_frames=25, probs=smoothed[25:])
        made = make_analysis(first, second, num_frames=NUM_FRAMES, path=str(video), size=(320, 180))
        times = made.pts_seconds + info.start_seconds
        tracks = tuple(replace(track, pts_seconds=times[track.frame_index]) for track in made.tracks)
        return replace(made, info=info, pts_seconds=times, tracks=tracks)

    return make


@pytest.fixture
def show(browser, tmp_path) -> Iterator[Callable]:
    """Open an analysis as a page; at the end nothing may have gone wrong or have been fetched."""
    faults: list[str] = []
    contexts = []

    def open_page(analysis: VideoAnalysis, *, width: int = 1300, **options: object):
        path = tmp_path / "clip.report.html"
        write_report_page(analysis, path)
        is_there = Path(analysis.info.path).exists()
        expected = () if is_there else ("Failed to load resource: net::ERR_FILE_NOT_FOUND",)
        contexts.append(browser.new_context(viewport={"width": width, "height": 900}, **options))
        page = contexts[-1].new_page()
        page.set_default_timeout(10_000)
        page.on("pageerror", lambda error: faults.append(f"error: {error}"))
        page.on("console", lambda told: told.text in expected or faults.append(told.text))
        page.on("dialog", lambda dialog: faults.append("a dialog"))
        allowed = ("file:", "data:", "blob:")
        page.on("request", lambda asked: asked.url.startswith(allowed) or faults.append(asked.url))
        page.goto(path.as_uri())
        page.wait_for_selector("html[data-ready]")
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert faults == []


@pytest.fixture(scope="module")
def video(tmp_path_factory) -> Path:
    return write_video(tmp_path_factory.mktemp("video") / "clip.mp4")


def test_every_step_shows_the_next_frame_and_its_own_values(show, analyse, video) -> None:
    page = show(analyse(video))
    wait_for_video(page)
    for index in range(1, 4):
        page.keyboard.press(".")
        wait_for_frame(page, index)
        expect_gray(page, 5 * index)
    page.keyboard.press("ArrowLeft")
    wait_for_frame(page, 2)
    page.keyboard.press("Shift+ArrowRight")
    wait_for_frame(page, 27)
    expect_gray(page, 135)
    assert page.locator("#time").inner_text() == "0:01.080 · frame 27"
    page.keyboard.press("End")
    wait_for_frame(page, 49)
    page.keyboard.press("[")
    wait_for_frame(page, 25)
    assert page.locator("#live").inner_text() == "person 1 sad, person 2 sad"
    page.keyboard.press("Home")
    wait_for_frame(page, 0)
    cards = page.locator(".card-now:visible")
    assert [cards.count(), cards.locator(".word, strong").inner_text()] == [1, "happy"]
    assert cards.locator(".share").inner_text() == "70%"


def test_the_box_is_where_the_table_says(show, analyse, video) -> None:
    page = show(analyse(video))
    wait_for_video(page)
    pixels = overlay_pixels(page)
    scale = pixels.shape[1] / 320
    rows, columns = np.nonzero(of_colour(pixels[: round(158 * scale)], "happy"))
    # The label's stripe stands above the box, in the same colour.
    rows = rows[columns > (BOX[2] - 20) * scale]
    found = np.array([columns.min(), rows.min(), columns.max(), rows.max()]) / scale
    np.testing.assert_allclose(found, BOX, atol=1.2)
    page.locator("#boxes").uncheck()
    assert not overlay_pixels(page).any()


def test_it_plays_in_step_with_the_labels(show, analyse, video) -> None:
    page = show(analyse(video))
    wait_for_video(page)
    assert page.locator("#sound-label").is_hidden()
    page.keyboard.press("Space")
    wait_until(page, "report.player.index > 27")
    page.keyboard.press("k")
    wait_until(page, "!report.player.isPlaying")
    assert page.locator("#play").inner_text() == "Play"
    page.wait_for_timeout(100)
    index = page.evaluate("report.player.shown")
    assert gray_level(page) == pytest.approx(5 * index, abs=3)
    assert page.locator(".card-now strong").first.inner_text() == "sad"


@pytest.mark.parametrize(
    ("name", "settings", "start"),
    [
        ("late.mkv", {"start": 1.5}, 1.5),
        ("late.mp4", {"start": 0.48}, 0.48),
        ("turned.mp4", {"rotation": 90}, 0),
    ],
)
def test_late_and_turned_videos_are_in_step(show, analyse, tmp_path, name, settings, start) -> None:
    analysis = analyse(write_video(tmp_path / name, **settings))
    assert analysis.pts_seconds[0] == pytest.approx(start)
    assert (analysis.info.width, analysis.info.height) == (320, 180)
    page = show(analysis)
    wait_for_video(page)
    page.evaluate("report.player.seek(31)")
    wait_for_frame(page, 31)
    expect_gray(page, 155)
    assert page.evaluate("[report.player.video.videoWidth, report.player.video.videoHeight]") == [320, 180]
    assert page.locator("#source").is_hidden()


def test_the_timeline_tells_seeks_and_zooms(show, analyse, video) -> None:
    page = show(analyse(video))
    wait_for_video(page)
    lanes = page.locator("#lanes")
    area = lanes.bounding_box()
    lanes.hover(position={"x": area["width"] * 12.5 / 50, "y": 80})
    tip = page.locator("#tip").inner_text()
    assert "0:00.480 · frame 12" in tip
    assert "person 1, smoothed, face not found" in tip
    assert tip.split("person 1")[1].split()[5:7] == ["happy", "69.8%"]
    lanes.click(position={"x": area["width"] * 30.5 / 50, "y": 80})
    wait_for_frame(page, 30)
    page.mouse.wheel(0, -400)
    wait_until(page, "!report.timeline.isWhole")
    view = page.evaluate("report.timeline.view")
    assert view["start"] < 1.2 < view["end"]
    page.keyboard.press("0")
    assert page.evaluate("report.timeline.isWhole")
    page.keyboard.press("+")
    assert page.evaluate("report.timeline.view.end - report.timeline.view.start") == pytest.approx(1.0)
    page.locator("#zoom-out").click()
    assert page.evaluate("report.timeline.isWhole")


def lane_colours(page, *, y: int) -> list[list[int]]:
    """Return the colours of the first lane at a height, in the middle of the frames 5 and 35."""
    row = pixels_of(page, "canvas.base")[y, :, :3]
    return [row[round(len(row) * frame / NUM_FRAMES)].tolist() for frame in (5.5, 35.5)]


def test_person_emotion_and_kind_can_be_chosen(show, analyse, video) -> None:
    page = show(analyse(video))
    wait_for_video(page)
    middle, band = 28 + 26 + 36, 28 + 26 + 72 + 3 + 19
    happy, sad = list(emotion_colour("happy")), list(emotion_colour("sad"))
    assert lane_colours(page, y=band) == [happy, sad]
    assert lane_colours(page, y=middle) == [happy, sad]
    page.locator("input[value=raw]").check(force=True)
    assert lane_colours(page, y=middle) == [sad, sad]
    assert lane_colours(page, y=band) == [happy, sad]
    assert page.locator(".card-now strong").inner_text() == "sad"
    assert of_colour(overlay_pixels(page), "sad").any()
    page.keyboard.press("Escape")
    page.locator("h1").click()
    page.keyboard.press("r")
    assert page.locator("input[value=smoothed]").is_checked()
    rows = page.locator("#segments tbody tr")
    assert rows.count() == 3
    page.locator("#emotion").select_option("sad")
    assert rows.count() == 2
    assert lane_colours(page, y=middle)[1] == sad
    assert lane_colours(page, y=middle)[0] not in (sad, happy)
    page.locator("#person").select_option("person 2")
    assert rows.count() == 1
    assert page.evaluate("report.timeline.lanes.map((person) => person.id)") == [2]
    assert page.locator(".now .empty").inner_text() == "Person 2 is not in view."
    assert not of_colour(overlay_pixels(page), "sad").any()
    page.locator(".jump").click()
    wait_for_frame(page, 25)
    assert rows.first.get_attribute("aria-current") == "true"
    assert rows.first.inner_text().split("\t")[3:6] == ["0:02.000", "1.000 s", "70.0%"]


def test_both_themes_and_a_narrow_window_can_be_read(show, analyse, video) -> None:
    page = show(analyse(video), color_scheme="dark", width=400)
    ground = "getComputedStyle(document.body).backgroundColor"
    assert page.evaluate(ground) == "rgb(17, 19, 23)"
    page.locator("#theme").click()
    assert page.evaluate(ground) == "rgb(246, 245, 241)"
    assert page.locator("#theme").inner_text() == "Dark theme"
    # The tables scroll, the page does not.
    assert page.evaluate("document.documentElement.scrollWidth") == 400


def test_everything_can_be_reached_by_keyboard(show, analyse, video) -> None:
    page = show(analyse(video))
    wait_for_video(page)
    reached = []
    for _ in range(40):
        page.keyboard.press("Tab")
        told = page.evaluate("document.activeElement.id || document.activeElement.className")
        outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
        if told in reached:
            break
        reached.append(told)
        assert outline != "none" or told == ""
    for name in ("skip", "theme", "play", "back", "forward", "boxes", "rate", "person", "emotion", "lanes"):
        assert name in reached
    lanes = page.locator("#lanes")
    lanes.focus()
    page.keyboard.press("ArrowRight")
    wait_for_frame(page, 1)
    assert lanes.get_attribute("role") == "slider"
    assert lanes.get_attribute("aria-valuetext") == "0:00.040 · frame 1: person 1 happy"


def test_a_video_without_faces_plays(show, analyse, video) -> None:
    made = analyse(video)
    page = show(replace(made, tracks=(), timelines=()))
    wait_for_video(page)
    assert page.locator(".now .empty").inner_text() == "No face was found in any frame."
    assert page.locator("#segments").is_hidden()
    page.keyboard.press(".")
    wait_for_frame(page, 1)


def test_what_the_browser_cannot_play_is_said_and_another_can_be_chosen(
    show, analyse, video, tmp_path
) -> None:
    unknown = write_video(tmp_path / "unknown.avi", codec="mpeg4")
    page = show(analyse(unknown))
    page.wait_for_selector("#source:visible")
    assert page.locator("#source").inner_text().startswith("The video cannot be shown: ")
    page.keyboard.press(".")
    wait_for_frame(page, 1)
    assert of_colour(overlay_pixels(page), "happy").any()
    page.keyboard.press("Space")
    wait_until(page, "report.player.index > 5")
    page.keyboard.press("Space")
    page.locator("#file").set_input_files(str(video))
    wait_for_video(page)
    page.evaluate("report.player.seek(20)")
    wait_for_frame(page, 20)
    expect_gray(page, 100)
    assert page.locator("#source").inner_text() == "clip.mp4"


def test_a_video_from_the_net_is_not_fetched(show, analyse, video) -> None:
    made = analyse(video)
    page = show(replace(made, info=replace(made.info, path="https://host.example/a/clip.mp4?key=1")))
    wait_until(page, "!document.getElementById('source').hidden")
    assert page.locator("#source").inner_text().startswith("The video was read from host.example; this page")
    assert page.locator("h1").inner_text() == "clip.mp4"
    page.locator("#file").set_input_files(str(video))
    wait_for_video(page)


def test_the_overlay_is_played_where_the_video_cannot_be(show, analyse, tmp_path) -> None:
    write_video(tmp_path / "clip.overlay.mp4")
    page = show(analyse(write_video(tmp_path / "unknown.avi", codec="mpeg4")))
    wait_for_video(page)
    assert page.locator("#source").inner_text().endswith("this is its overlay, labels drawn in.")
    assert not overlay_pixels(page).any()


def test_a_picture_is_shown_without_a_timeline(show, analyse, make_analysis, make_person, tmp_path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), np.full((180, 320, 3), 90, np.uint8))
    made = make_analysis(make_person(1, BOX), path=str(tmp_path / "a.png"), size=(320, 180))
    page = show(replace(made, info=probe_video(tmp_path / "a.png")))
    wait_until(page, "report.player.isReady")
    assert gray_level(page) == pytest.approx(90, abs=1)
    assert of_colour(overlay_pixels(page), "happy").any()
    assert page.locator("#timeline-section").is_hidden()


def test_a_hostile_name_does_nothing(show, analyse, video, tmp_path) -> None:
    folder = tmp_path / "<"
    folder.mkdir()
    hostile = folder / "script><img src=x onerror=alert(1)>.mp4"
    hostile.write_bytes(video.read_bytes())
    page = show(analyse(hostile))
    wait_for_video(page)
    assert page.locator("h1").inner_text() == hostile.name
    assert page.locator("img").count() == 1


def test_nothing_foreign_runs_or_is_fetched(browser, analyse, video, tmp_path) -> None:
    path = tmp_path / "clip.report.html"
    write_report_page(analyse(video), path)
    # As if something had got into the page after all.
    text = path.read_text().replace(
        "</main>", "<img src=x onerror='window.broken=1'><script>broken=1</script>"
    )
    path.write_text(text)
    page = browser.new_page()
    told: list[str] = []
    page.on("console", lambda message: told.append(message.text))
    page.goto(path.as_uri())
    page.evaluate("fetch('data:,x').catch(() => 0)")
    assert page.evaluate("typeof window.broken") == "undefined"
    assert sum("Content Security Policy" in line for line in told) >= 3
    page.close()


def drifting(num_frames: int, seed: int) -> tuple[Track, EmotionTimeline]:
    """Return one person of noisy probabilities, who moves about."""
    random = np.random.default_rng(seed)
    index = np.arange(num_frames)
    logits = 2 * np.sin(index[:, None] / random.uniform(40, 400, 7) + random.uniform(0, 6, 7))
    noisy = logits + random.normal(scale=0.7, size=logits.shape)
    smoothed, raw = (np.exp(x) / np.exp(x).sum(1, keepdims=True) for x in (logits, noisy))
    middle = 400 + 200 * np.sin(index[:, None] / [170, 230]) + random.normal(size=(num_frames, 2))
    boxes = np.hstack([middle - 60, middle + 60]).astype(np.float32)
    status = np.where(random.random(num_frames) < 0.02, 2, 0).astype(np.uint8)
    landmarks = np.zeros((num_frames, 5, 2), np.float32)
    track = Track(seed, index, index / 25, boxes, np.ones(num_frames, np.float32), landmarks, status)
    return track, EmotionTimeline(seed, raw.astype(np.float32), smoothed.astype(np.float32), {})


def test_an_hour_of_three_people_is_small_and_quick(show, make_analysis, tmp_path) -> None:
    num_frames = 25 * 3600
    people = [drifting(num_frames, seed) for seed in (1, 2, 3)]
    made = make_analysis(*people, num_frames=num_frames, path=str(tmp_path / "gone.mp4"), size=(1920, 1080))
    started = monotonic()
    page = show(made)
    assert monotonic() - started < 20
    assert (tmp_path / "clip.report.html").stat().st_size < 3_000_000
    assert "Raw probabilities are means of 2 frames" in page.locator(".details").inner_text()
    slowest = page.evaluate(
        """() => Math.max(...[
          (line) => line.lookAtAll(),
          (line) => line.zoom(2, 1800),
          (line) => line.look(1000, 300),
          (line) => line.look(1000, 4),
          (line) => line.choose({ emotion: 3, isRaw: true }),
        ].map((act) => {
          const start = performance.now();
          act(report.timeline);
          return performance.now() - start;
        }))"""
    )
    assert slowest < 1000
    page.evaluate("report.player.seekSeconds(3000)")
    assert page.locator("#time").inner_text() == "50:00.000 · frame 75000"
    assert "first 60 of" in page.locator("#segments .count").inner_text()
