"""A server that runs, and a pipeline that finds what tests tell it to."""

import http.client
import json
import os
import re
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from html import unescape
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import quote

import numpy as np
import pytest

from emotemporal.errors import VideoError
from emotemporal.labels import FER7
from emotemporal.structures import ClipResult, EmotionTimeline, Track, VideoAnalysis, VideoInfo

pytest.importorskip("uvicorn", reason="the extra emotemporal[app] is not installed")

from emotemporal.app.folder import SessionFolder
from emotemporal.app.server import create_app, make_server
from emotemporal.app.uploads import Limits
from emotemporal.app.videos import Videos
from emotemporal.app.worker import Worker

PATIENCE_SECONDS = 60.0


def make_analysis(path: str, *, num_frames: int = 10, min_confidence: float = 0.0) -> VideoAnalysis:
    """Return an analysis of one person who is happy throughout."""
    index = np.arange(num_frames)
    probs = np.full((num_frames, 7), 0.06, np.float32)
    probs[:, FER7.index("happy")] = 0.64
    track = Track(
        track_id=1,
        frame_index=index,
        pts_seconds=index / 25,
        boxes=np.tile(np.array((10, 20, 50, 70), np.float32), (num_frames, 1)),
        scores=np.full(num_frames, 0.99, np.float32),
        landmarks=np.zeros((num_frames, 5, 2), np.float32),
        status=np.zeros(num_frames, np.uint8),
    )
    clip = {name: ClipResult("happy", probs[0], 0.64) for name in ("head", "sum")}
    return VideoAnalysis(
        info=VideoInfo(path, 640, 360, num_frames, 25.0, 0.0, num_frames / 25, False, False),
        labels=FER7,
        frame_index=index,
        pts_seconds=index / 25,
        tracks=(track,),
        timelines=(EmotionTimeline(1, probs, probs, clip),),
        checkpoint={"name": "stub"},
        settings={"smooth": "hmm", "min_confidence": min_confidence},
        warnings=(f"{path}: an oddity",),
    )


class StubPipeline:
    """Finds one person in everything but what is broken, as soon as it may go on."""

    def __init__(self) -> None:
        self.classifier = SimpleNamespace(head=object())
        self.go_on = threading.Event()
        self.go_on.set()
        self.contents: list[bytes] = []

    def analyze(
        self, path: Path, *, min_confidence: float, on_progress: Callable[[str, int, int], None]
    ) -> VideoAnalysis:
        content = path.read_bytes()
        self.contents.append(content)
        on_progress("faces", 4, 10)
        while not self.go_on.wait(0.01):
            on_progress("faces", 4, 10)
        if content == b"broken":
            raise VideoError(f"{path}: not a video that can be read; convert it to MP4")
        return make_analysis(str(path), min_confidence=min_confidence)


@dataclass
class Answer:
    status: int
    headers: http.client.HTTPMessage
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Site:
    """A server that runs, seen from outside."""

    port: int
    session: SessionFolder | None = None
    token: str = ""

    def __post_init__(self) -> None:
        page = self.ask("GET", "/").body.decode()
        settings = re.search(r'name="settings" content="([^"]*)"', page)
        assert settings is not None
        self.token = json.loads(unescape(settings[1]))["token"]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> Answer:
        """Send a request as the app's own page would, but for the headers that are given."""
        own = {"Host": f"127.0.0.1:{self.port}"}
        if method not in ("GET", "HEAD"):
            own |= {"Origin": self.url, "X-Emotemporal-Token": self.token}
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        sent = {name: value for name, value in (own | given).items() if value}
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_SECONDS)
        try:
            connection.request(method, path, body, sent)
            response = connection.getresponse()
            return Answer(response.status, response.headers, response.read())
        finally:
            connection.close()

    def upload(self, name: str, content: Any = b"fine", **headers: str) -> Answer:
        return self.ask("POST", "/api/videos", content, X_File_Name=quote(name), **headers)

    def videos(self) -> list[dict[str, Any]]:
        return self.ask("GET", "/api/videos").json()["videos"]

    def find(self, video_id: str) -> dict[str, Any]:
        return next(video for video in self.videos() if video["id"] == video_id)

    def wait(self, video_id: str, *states: str, task: str = "labelling") -> dict[str, Any]:
        """Return a video as soon as a task of it is in one of some states, `done` where none is given."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while (video := self.find(video_id))[task]["state"] not in (states or ("done",)):
            assert time.monotonic() < deadline, video
            time.sleep(0.02)
        return video

    def files(self) -> set[str]:
        """Names of all files of the session but its lock."""
        found = set()
        # Unlike rglob this bears folders that are removed meanwhile.
        for _, _, names in os.walk(self.session.path):
            found.update(names)
        return found - {"lock"}


@contextmanager
def run_site(
    pipeline: Any,
    *,
    keep: Path | None = None,
    max_open: int = 20,
    min_confidence: float = 0.0,
    **limits: int,
) -> Iterator[Site]:
    with SessionFolder() as session, socket.create_server(("127.0.0.1", 0)) as listener:
        videos = Videos(max_open=max_open)
        worker = Worker(pipeline, videos, keep=keep, min_confidence=min_confidence)
        app = create_app(videos, session, limits=Limits(**limits), keep=keep)
        server = make_server(app)
        thread = threading.Thread(target=server.run, args=([listener],))
        worker.start()
        thread.start()
        try:
            yield Site(listener.getsockname()[1], session)
        finally:
            server.should_exit = True
            videos.close()
            thread.join()
            worker.join()


@pytest.fixture
def temporary(tmp_path, monkeypatch) -> Path:
    """Folder for temporary files, empty to begin with."""
    path = tmp_path / "temporary"
    path.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(path))
    return path


@pytest.fixture
def pipeline() -> Iterator[StubPipeline]:
    made = StubPipeline()
    yield made
    made.go_on.set()


@pytest.fixture
def start(temporary, pipeline) -> Callable[..., Any]:
    """Start a server: `with start(max_bytes=10) as site`."""
    return lambda **options: run_site(pipeline, **options)


@pytest.fixture
def site(start) -> Iterator[Site]:
    with start() as found:
        yield found


@pytest.fixture(scope="session")
def serve() -> Callable[..., Any]:
    """Serve a pipeline: `with serve(pipeline) as site`."""
    return run_site


@pytest.fixture(scope="session")
def connect() -> type[Site]:
    """See a server that runs elsewhere: `connect(port)`."""
    return Site
