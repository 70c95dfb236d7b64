"""The app in a browser, with the shipped networks, from the file to the report."""

import csv
import io
import shutil
import zipfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from threading import Event
from time import monotonic

import av
import pytest

from emotemporal import EmotionPipeline, VideoAnalysis
from emotemporal.progress import Progress

pytestmark = pytest.mark.needs_weights

FRAMES = 30
HOSTILE = '"><img src=x onerror=alert(1)>.mp4'


@pytest.fixture(scope="module")
def clip(root, tmp_path_factory) -> Path:
    """The demo clip's first frames, of two people, as they are stored."""
    path = tmp_path_factory.mktemp("clip") / HOSTILE
    with av.open(str(root / "examples" / "demo.mp4")) as source, av.open(str(path), "w") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        packets = [packet for packet in source.demux(video=0) if packet.pts is not None]
        end = sorted(packet.pts for packet in packets)[FRAMES]
        for packet in packets:
            if packet.pts < end:
                packet.stream = stream
                target.mux(packet)
    return path


class HeldPipeline:
    """The shipped networks, which may be held up half way so that the browser is sure to see it."""

    def __init__(self) -> None:
        # OpenVINO would have to compile them first.
        self._pipeline = EmotionPipeline.load(device="cpu", backend="torch", one_thread=True)
        self.classifier = self._pipeline.classifier
        self.go_on = Event()
        self.go_on.set()

    def analyze(self, path: Path, *, min_confidence: float, on_progress: Progress) -> VideoAnalysis:
        def hold(stage: str, done: int, total: int | None) -> None:
            on_progress(stage, done, total)
            while not self.go_on.wait(0.05):
                on_progress(stage, done, total)

        return self._pipeline.analyze(path, min_confidence=min_confidence, on_progress=hold)


@pytest.fixture(scope="module")
def pipeline() -> Iterator[HeldPipeline]:
    made = HeldPipeline()
    yield made
    made.go_on.set()


@pytest.fixture(scope="module")
def site(serve, pipeline) -> Iterator:
    with serve(pipeline, max_bytes=5_000_000) as found:
        yield found


@pytest.fixture
def visit(site) -> Iterator[Callable]:
    """Open the app in a browser; at the end nothing may have gone wrong or been asked of others."""
    faults: list[str] = []
    with ExitStack() as resources:

        def open_app(browser, **options):
            context = browser.new_context(accept_downloads=True, **options)
            resources.callback(context.close)
            page = context.new_page()
            page.set_default_timeout(20_000)
            page.on("pageerror", lambda error: faults.append(f"error: {error}"))
            page.on("console", lambda told: faults.append(f"{told.text} {told.location}"))
            page.on("dialog", lambda dialog: faults.append("a dialog"))
            own = (f"{site.url}/", "data:", "blob:")
            page.on("request", lambda asked: asked.url.startswith(own) or faults.append(asked.url))
            page.goto(site.url)
            page.wait_for_selector("html[data-ready]")
            return page

        yield open_app
    for video in site.videos():
        site.ask("POST", f"/api/videos/{video['id']}/forget")
    assert faults == []


def wait_until(frame, condition: str) -> None:
    """Wait for an expression to be true; the page's own policy forbids it to ask itself."""
    deadline = monotonic() + 30
    while not frame.evaluate(condition):
        assert monotonic() < deadline, condition
        frame.page.wait_for_timeout(50)


def card_of(page, name: str):
    return page.locator("li.item").filter(has=page.get_by_role("heading", name=name, exact=True))


def test_from_two_files_to_a_report(browser, visit, pipeline, clip, tmp_path):
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"no video at all")
    pipeline.go_on.clear()
    page = visit(browser)
    assert page.locator("#nothing").is_visible()
    page.set_input_files("#files", [clip, broken])
    card = card_of(page, HOSTILE)
    # The other one waits meanwhile.
    card_of(page, "broken.mp4").get_by_text("Waiting").wait_for()
    card.get_by_text("Following faces · ").wait_for()
    assert 0 < card.locator("progress").evaluate("bar => bar.value") <= 1
    pipeline.go_on.set()
    card.get_by_role("link", name="Open the report").wait_for()
    assert card.locator(".people li").count() == 2
    failed = card_of(page, "broken.mp4").locator(".state.fault")
    failed.wait_for()
    assert failed.text_content().startswith("broken.mp4: ")
    assert failed.text_content().count("\n") == 0

    card.get_by_text("Downloads").click()
    with page.expect_download() as download:
        card.get_by_role("link", name="Every frame (CSV)").click()
    assert download.value.suggested_filename == "img_src_x_onerror_alert_1.frames.csv"
    rows = list(csv.DictReader(io.StringIO(download.value.path().read_text())))
    assert sorted({int(row["frame_index"]) for row in rows}) == list(range(FRAMES))
    assert len(rows) == 2 * FRAMES
    card.get_by_role("button", name="Make the overlay video").click()
    with page.expect_download() as download:
        card.get_by_role("link", name="Overlay (MP4)").click()
    with av.open(download.value.path()) as overlay:
        assert sum(1 for _ in overlay.decode(video=0)) == FRAMES
    with page.expect_download() as download:
        card.get_by_role("link", name="Everything (ZIP)").click()
    names = zipfile.ZipFile(io.BytesIO(download.value.path().read_bytes())).namelist()
    assert {Path(name).suffix for name in names} >= {".html", ".csv", ".json", ".mp4", ".eaf", ".srt"}

    card.get_by_role("link", name="Open the report").click()
    report = page.frame_locator("#viewer-frame")
    report.locator("html[data-ready]").wait_for(state="attached")
    assert report.locator("h1").text_content() == HOSTILE
    frame = page.frame(url=lambda url: url.endswith(".report.html"))
    wait_until(frame, "report.player.hasVideo")
    colours = """() => {
        const canvas = document.querySelector("#lanes canvas");
        const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
        return new Set(new Uint32Array(data.buffer)).size;
    }"""
    assert frame.evaluate(colours) > 5
    frame.evaluate("report.player.seek(20)")
    wait_until(frame, "report.player.shown === 20")
    page.go_back()
    page.locator("#viewer").wait_for(state="hidden")
    assert page.evaluate("document.activeElement.textContent") == "Open the report"

    card_of(page, "broken.mp4").get_by_role("button", name="Forget").click()
    card.get_by_role("button", name="Forget").click()
    page.locator("#nothing").wait_for()
    assert page.evaluate("document.activeElement.id") == "videos"


def test_what_cannot_go_in_is_said_before_it_is_sent(browser, visit, tmp_path):
    page = visit(browser, viewport={"width": 360, "height": 740})
    text, large = tmp_path / "notes.txt", tmp_path / "large.mp4"
    text.write_text("x")
    with large.open("wb") as file:
        file.truncate(5_000_001)
    page.set_input_files("#files", [text, large])
    page.evaluate(
        """() => {
            const dataTransfer = new DataTransfer();
            dataTransfer.items.add(new File(["x"], "dropped.pdf"));
            dispatchEvent(new DragEvent("drop", { dataTransfer, cancelable: true }));
        }"""
    )
    names = ("notes.txt", "large.mp4", "dropped.pdf")
    said = [card_of(page, name).locator(".state").text_content() for name in names]
    assert said[0].startswith("notes.txt: a file of type .txt, neither a video nor a picture")
    assert said[1].startswith("large.mp4: larger than 5 MB; ")
    assert said[2].startswith("dropped.pdf: a file of type .pdf, ")
    assert page.evaluate("document.documentElement.scrollWidth") == 360
    page.get_by_role("button", name="Record from the camera").click()
    page.get_by_text("There is no camera.").wait_for()
    for _ in said:
        page.get_by_role("button", name="Forget").first.click()
    page.locator("#nothing").wait_for()


def test_a_recording_of_the_camera_has_a_report_too(browser, visit):
    flags = ["--headless", "--no-sandbox", "--disable-gpu"]
    flags += ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
    chromium = browser.browser_type.launch(executable_path=shutil.which("chromium"), args=flags)
    page = visit(chromium)
    page.get_by_role("button", name="Record from the camera").click()
    page.locator("#camera").wait_for()
    page.get_by_role("button", name="Record", exact=True).click()
    page.get_by_text("0:02", exact=True).wait_for()
    page.get_by_role("button", name="Stop and label").click()
    page.get_by_role("link", name="Open the report").click()
    frame = page.frame_locator("#viewer-frame")
    frame.locator("html[data-ready]").wait_for(state="attached")
    report = page.frame(url=lambda url: url.endswith(".report.html"))
    wait_until(report, "report.player.hasVideo")
    # The browser itself had written no length, without which it cannot seek.
    assert 1 < report.evaluate("report.player.video.duration") < 60
    last = report.evaluate("report.analysis.num_frames") - 1
    report.evaluate(f"report.player.seek({last})")
    wait_until(report, f"report.player.shown >= {last} - 1")
    page.close()
    chromium.close()
