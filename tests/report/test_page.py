"""The report page as a file: what is embedded, that nothing is loaded or can be smuggled in."""

import base64
import hashlib
import json
import re
import zlib
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from emotemporal.errors import OutputError
from emotemporal.labelling.statistics import segments_table
from emotemporal.labels import FER7
from emotemporal.report import page_data
from emotemporal.report.page import render_report_page, write_report_page
from emotemporal.report.page_data import pack_analysis, quantised
from emotemporal.structures import ClipResult, GeometryResult, VideoAnalysis

HOSTILE = "</script><img src=x onerror=alert(1)>.mp4"
STREAMS = ("frames", "boxes", "smoothed", "raw")


def random_probs(num_frames: int, *, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).dirichlet(np.full(7, 0.4), num_frames).astype(np.float32)


@pytest.fixture
def analysis(make_analysis, make_person) -> VideoAnalysis:
    """Two people whose probabilities are random; the second moves, is lost for a while, and comes late."""
    first = make_person(3, (10.3, 20.7, 50.1, 70.2), num_frames=40, probs=random_probs(40))
    smoothed = random_probs(25, seed=2)
    track, timeline = make_person(
        7, (60, 20, 100, 70), first_frame=12, num_frames=25, probs=random_probs(25, seed=1), smoothed=smoothed
    )
    boxes = track.boxes + np.linspace(-300, 300, 25, dtype=np.float32)[:, None]
    status = np.zeros(25, np.uint8)
    status[5:9] = 2
    made = make_analysis(first, (replace(track, boxes=boxes, status=status), timeline), num_frames=40)
    # Times as uneven as a telephone's, that do not begin at 0.
    times = 1.5 + np.cumsum(np.random.default_rng(5).uniform(0.013, 0.071, 40)).round(6)
    tracks = tuple(replace(t, pts_seconds=times[t.frame_index]) for t in made.tracks)
    info = replace(made.info, start_seconds=float(times[0]), duration_seconds=float(np.ptp(times)) + 0.04)
    return replace(made, info=info, pts_seconds=times, tracks=tracks)


class Page(HTMLParser):
    """The elements of a page and the text of scripts and styles."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.raw: list[tuple[str, dict[str, str | None], str]] = []
        self.texts: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag in ("script", "style"):
            self.raw.append((tag, dict(attrs), ""))

    def handle_data(self, data):
        if self.cdata_elem:
            tag, attributes, text = self.raw.pop()
            self.raw.append((tag, attributes, text + data))
        else:
            self.texts.append(data)

    def embedded(self, name: str) -> str:
        return next(text for tag, attributes, text in self.raw if attributes.get("id") == name)


def render(analysis: VideoAnalysis, path: Path = Path("out/clip.report.html"), **options: str) -> Page:
    return Page(render_report_page(analysis, path, **options))


class Reader:
    """Reads what is embedded, by the description of the layout and not by the code that wrote it."""

    def __init__(self, data: bytes) -> None:
        self.data, self.place = data, 0

    def take(self, count: int) -> np.ndarray:
        self.place += count
        return np.frombuffer(self.data[self.place - count : self.place], np.uint8)

    def integers(self, count: int, num_bytes: int) -> np.ndarray:
        folded = sum(self.take(count).astype(np.int64) << (8 * k) for k in range(num_bytes))
        return np.where(folded % 2, -(folded + 1) // 2, folded // 2)


def streams_of(page: Page) -> dict[str, Reader]:
    texts = {name: page.embedded(f"stream-{name}") for name in STREAMS}
    return {name: Reader(zlib.decompress(base64.b64decode(text))) for name, text in texts.items()}


def test_what_is_embedded_is_what_the_csv_says(analysis) -> None:
    page = render(analysis)
    layout, streams = json.loads(page.embedded("layout")), streams_of(page)
    table = analysis.to_dataframe()
    segments = json.loads(streams["frames"].take(layout["text_bytes"]).tobytes())
    times = streams["frames"].integers(40, 6).cumsum().cumsum() / 1e6
    np.testing.assert_allclose(times, analysis.pts_seconds, atol=1e-9)
    np.testing.assert_array_equal(streams["frames"].integers(40, 6).cumsum().cumsum(), analysis.frame_index)
    for person in layout["people"]:
        rows, count = table[table["track_id"] == person["id"]], person["num_frames"]
        assert (len(rows), rows["frame_index"].iloc[0]) == (count, person["first"])
        names = np.array(["detected", "tracked", "interpolated"])
        assert names[streams["frames"].take(count)].tolist() == rows["status"].tolist()
        x, y, width, height = (streams["boxes"].integers(count, 2).cumsum() for _ in range(4))
        corners = layout["box_step"] * np.stack([x, y, x + width, y + height], 1)
        np.testing.assert_allclose(corners, rows[["x1", "y1", "x2", "y2"]], atol=0.51 * 640 / 2048)
        for name, kind, column in (("smoothed", "s", "smoothed_emotion"), ("raw", "p", "emotion")):
            columns = [streams[name].take(count).cumsum() % 256 for _ in FER7]
            probs = np.stack(columns, 1)
            # A tie of 8 bits costs one unit more.
            np.testing.assert_allclose(probs / 255, rows[[f"{kind}_{x}" for x in FER7]], atol=1.51 / 255)
            assert [FER7[i] for i in probs.argmax(1)] == rows[column].tolist()
    expected = segments_table(analysis)
    found = [row for rows in segments for row in rows]
    assert [FER7[row[0]] for row in found] == expected["emotion"].tolist()
    assert [row[1] for row in found] == expected["num_frames"].tolist()
    np.testing.assert_allclose([row[2] for row in found], expected["mean_intensity"], atol=1e-4)
    np.testing.assert_allclose([row[3] for row in found], expected["peak_intensity"], atol=1e-4)
    np.testing.assert_allclose(times[[row[4] for row in found]], expected["peak_seconds"], atol=1e-6)
    assert all(reader.place == len(reader.data) for reader in streams.values())


def test_of_what_rounds_alike_the_largest_stays_the_largest() -> None:
    probs = np.array([[0.3333, 0.3334, 0.3333], [0.25, 0.25, 0.5], [0.5, 0.5, 0.0]], np.float32)
    assert quantised(probs).argmax(1).tolist() == [1, 2, 0]
    assert quantised(np.eye(7, dtype=np.float32)).max() == 255


def test_what_is_too_large_is_thinned_and_the_page_says_so(analysis, monkeypatch) -> None:
    whole = pack_analysis(analysis)
    assert set(whole.together.values()) == {1}
    size = sum(map(len, whole.streams.values()))
    packed = pack_analysis(analysis, budget_bytes=round(0.85 * size))
    assert sum(map(len, packed.streams.values())) <= 0.85 * size
    assert packed.together["raw"] > packed.together["boxes"] >= packed.together["smoothed"] == 1
    assert packed.streams["frames"] == whole.streams["frames"]
    step, reader = packed.together["raw"], Reader(zlib.decompress(base64.b64decode(packed.streams["raw"])))
    first = reader.take(-(-40 // step)).cumsum() % 256
    probs = analysis.timelines[0].frame_probs[:, 0]
    means = [probs[i : i + step].mean() for i in range(0, 40, step)]
    np.testing.assert_allclose(first / 255, means, atol=1.51 / 255)
    monkeypatch.setattr(page_data.pack_analysis, "__kwdefaults__", {"budget_bytes": round(0.85 * size)})
    told = "".join(render(analysis).texts)
    assert f"Raw probabilities are means of {step} frames" in told
    # What cannot be thinned enough is written nevertheless.
    assert set(pack_analysis(analysis, budget_bytes=10).together.values()) == {1024}


def test_a_name_cannot_break_out_of_the_page(analysis, tmp_path) -> None:
    hostile = replace(
        analysis,
        info=replace(analysis.info, path=f"folder/{HOSTILE}"),
        warnings=(f"warning of {HOSTILE}",),
        settings={"aggregate": "head", HOSTILE: f"a & b {HOSTILE}"},
        checkpoint={"name": HOSTILE, "licence": "\x1b[31m\u202e"},
    )
    path = tmp_path / "out.report.html"
    write_report_page(hostile, path)
    text = path.read_text("utf-8")
    assert "<img src=x" not in text
    assert "\x1b" not in text
    assert "\u202e" not in text
    page, harmless = Page(text), render(analysis)
    kinds = [tag for tag, _ in page.elements if tag in ("script", "img", "video", "style")]
    assert kinds == [tag for tag, _ in harmless.elements if tag in ("script", "img", "video", "style")]
    assert f"warning of {HOSTILE}" in page.texts
    assert json.loads(page.embedded("layout"))["sources"][0]["url"].endswith(
        "folder/%3C/script%3E%3Cimg%20src%3Dx%20onerror%3Dalert%281%29%3E.mp4"
    )


def test_an_address_cannot_end_the_script_that_holds_it(analysis) -> None:
    page, harmless = render(analysis, video_url=f"/v/{HOSTILE}"), render(analysis)
    assert [tag for tag, _ in page.elements] == [tag for tag, _ in harmless.elements]
    assert "<" not in page.embedded("layout")
    assert json.loads(page.embedded("layout"))["sources"][0]["url"] == f"/v/{HOSTILE}"


def test_nothing_is_loaded_and_only_its_own_scripts_run(analysis) -> None:
    page = render(analysis)
    assert [x for _, a in page.elements for x in ("src", "srcset", "style", "onclick") if x in a] == []
    links = [a["href"] for _, a in page.elements if "href" in a]
    assert links == ["data:,", "#timeline-section"]
    policy = next(a["content"] for _, a in page.elements if a.get("http-equiv") == "Content-Security-Policy")
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["default-src"] == "'none'"
    assert rules["media-src"] == "'self' file: blob: data:"
    for tag, kind in (("script", "script-src"), ("style", "style-src")):
        own = [text for found, a, text in page.raw if found == tag and "type" not in a]
        digests = {base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in own}
        assert set(rules[kind].split()) == {f"'sha256-{digest}'" for digest in digests}
    assert not re.search(r"https?://", "".join(page.texts))


def sources(analysis: VideoAnalysis, path: Path, **options: str) -> tuple[list[str], str]:
    layout = json.loads(render(analysis, path, **options).embedded("layout"))
    return [source["url"] for source in layout["sources"]], layout["no_source"]


def test_where_the_video_is_played_from(analysis, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    page = tmp_path / "out" / "a.report.html"
    page.parent.mkdir()

    def of(path: str) -> VideoAnalysis:
        return replace(analysis, info=replace(analysis.info, path=path))

    assert sources(of("in/12:30 é.mp4"), page) == (["./../in/12%3A30%20%C3%A9.mp4"], "")
    (page.parent / "a.overlay.mp4").touch()
    assert sources(of("out/a.mp4"), page)[0] == ["./a.mp4", "./a.overlay.mp4"]
    (page.parent / "a.overlay.mp4").unlink()
    assert sources(of("a.mp4"), page, video_url="/videos/1?x=<y>")[0] == ["/videos/1?x=<y>"]
    assert sources(of("frames/%05d.png"), page)[1].startswith("The video was made of numbered pictures")
    urls, why = sources(of("https://user:word@host.example/a.mp4?token=secret"), page)
    assert (urls, why.split(";")[0]) == ([], "The video was read from host.example")
    text = render_report_page(of("https://user:word@host.example/a.mp4?token=secret"), page)
    assert "secret" not in text
    assert "word@" not in text


def test_a_served_address_may_be_played(analysis) -> None:
    page = render(analysis, video_url="https://host.example:8443/v.mp4")
    policy = next(a["content"] for _, a in page.elements if a.get("http-equiv") == "Content-Security-Policy")
    assert "media-src 'self' file: blob: data: https://host.example:8443;" in policy


def test_clip_labels_of_every_aggregation_and_where_they_differ(
    make_analysis, make_person, make_clip
) -> None:
    first = make_person(1, (10, 20, 50, 70), clip=make_clip(head="happy", sum="sad", vote="happy"))
    second = make_person(2, (60, 20, 90, 70))
    geometry = GeometryResult("calm", np.full(4, 0.25, np.float32), ("calm", "a", "b", "c"), "none", True)
    second = (second[0], replace(second[1], geometry=geometry))
    made = replace(make_analysis(first, second), settings={"aggregate": "vote"})
    texts = render(made, title="A talk").texts
    assert texts[texts.index("by vote") : texts.index("by vote") + 4] == [
        "by vote",
        "by head",
        "by sum",
        "by landmarks",
    ]
    assert "≠ sum says sad" in texts
    assert "all agree" in texts
    assert "25%, against a baseline" in texts
    assert "happy 100%" in texts
    assert texts.count("A talk") == 1
    assert "A talk · emotions" in texts


def test_what_is_uncertain_is_told_so(analysis) -> None:
    probs = np.array([0.1, 0.1, 0.1, 0.4, 0.1, 0.1, 0.1], np.float32)
    first = replace(analysis.timelines[0], clip={"sum": ClipResult("happy", probs, 0.4)})
    settings = {**analysis.settings, "min_confidence": 0.6}
    doubtful = replace(analysis, settings=settings, timelines=(first, *analysis.timelines[1:]))
    page = render(doubtful)
    layout, streams = json.loads(page.embedded("layout")), streams_of(page)
    assert layout["told"] == [*FER7, "uncertain"]
    assert len(layout["colours"]) == len(layout["text_colours"]) == 8
    segments = json.loads(streams["frames"].take(layout["text_bytes"]).tobytes())
    told = [layout["told"][row[0]] for rows in segments for row in rows]
    assert told == segments_table(doubtful)["emotion"].tolist()
    assert "uncertain" in told
    # In the table of clips it stands beside what is most probable.
    assert "happy 40%" in page.texts


def test_a_video_without_faces_has_a_page_too(make_analysis) -> None:
    page = render(make_analysis(num_frames=10))
    assert "No face was found in any frame: there is nobody to label." in page.texts
    assert any(text.endswith("10 frames · no face found") for text in page.texts)
    assert streams_of(page)["raw"].data == b""


def test_a_picture_has_one_frame_and_no_time(make_analysis, make_person) -> None:
    made = make_analysis(make_person(1, (10, 20, 50, 70)), path="a.png")
    info = replace(made.info, is_still=True, average_fps=0.0, duration_seconds=0.0)
    page = render(replace(made, info=info))
    layout = json.loads(page.embedded("layout"))
    assert (layout["is_still"], layout["end_seconds"]) == (True, 0.0)
    assert "640×360 · 1 frame · 1 person" in page.texts


def test_a_page_appears_whole_or_not_at_all(analysis, tmp_path) -> None:
    with pytest.raises(OutputError, match="cannot write"):
        write_report_page(analysis, tmp_path / "missing" / "a.report.html")
    assert list(tmp_path.iterdir()) == []
