"""What the server does with uploads and requests, with a pipeline that needs no network."""

import errno
import http.client
import io
import json
import os
import re
import shutil
import time
import zipfile

import pytest

from emotemporal.app import server, uploads, worker
from emotemporal.errors import OutputError

HOSTILE = '"><img src=x onerror=alert(1)>.mp4'


def test_a_video_goes_in_and_everything_comes_out(site, pipeline):
    video_id = site.upload("My talk é.MP4", b"fine").json()["id"]
    video = site.wait(video_id)
    assert pipeline.contents == [b"fine"]
    assert (video["name"], video["size_bytes"], video["seconds"]) == ("My talk é.MP4", 4, 0.4)
    assert video["people"] == [{"id": 1, "emotion": "happy", "colour": "#f0e442", "confidence": 0.64}]
    assert video["warnings"] == ["My talk é.MP4: an oddity"]
    keys = [found["key"] for found in video["downloads"]]
    assert keys == ["csv", "json", "segments", "eaf", "textgrid", "vtt", "srt"]
    of = f"/videos/{video_id}/download"
    table = site.ask("GET", f"{of}/csv")
    assert len(table.body.splitlines()) == 11
    assert table.headers["content-disposition"] == "attachment; filename*=utf-8''My_talk_%C3%A9.frames.csv"
    assert site.ask("GET", f"{of}/json").json()["video"]["path"] == "My talk é.MP4"
    assert b'RELATIVE_MEDIA_URL="./My%20talk%20%C3%A9.MP4"' in site.ask("GET", f"{of}/eaf").body
    assert site.ask("GET", f"{of}/overlay").status == 404
    with zipfile.ZipFile(io.BytesIO(site.ask("GET", f"{of}/zip").body)) as archive:
        assert archive.testzip() is None
        names = {name.removeprefix("My_talk_é/My_talk_é") for name in archive.namelist()}
        page = archive.read("My_talk_é/My_talk_é.report.html").decode()
    assert names == {
        ".report.html",
        ".frames.csv",
        ".json",
        ".segments.csv",
        ".eaf",
        ".TextGrid",
        ".vtt",
        ".srt",
    }
    # It plays the video that lies beside it, under its own name.
    assert '"url":"./My%20talk%20%C3%A9.MP4"' in page
    served = site.ask("GET", f"/videos/{video_id}/report/video.report.html")
    assert '"url":"./video.mp4"' in served.body.decode()
    assert "<h1>My talk é.MP4</h1>" in served.body.decode()
    # The archive was made for this one answer.
    assert not [name for name in site.files() if name.endswith(".zip")]


def test_a_name_is_never_a_path_and_never_html(site):
    ids = [
        site.upload(name).json()["id"]
        for name in (HOSTILE, "../../../../tmp/evil.mp4", r"C:\x\y.mp4", ".mp4.mp4")
    ]
    names = [site.wait(video_id)["name"] for video_id in ids]
    assert names == [HOSTILE, "evil.mp4", "y.mp4", ".mp4.mp4"]
    page = site.ask("GET", f"/videos/{ids[0]}/report/video.report.html").body.decode()
    assert "<img src=x" not in page
    assert "&lt;img src=x" in page
    archive = site.ask("GET", f"/videos/{ids[0]}/download/zip")
    assert archive.headers["content-disposition"] == 'attachment; filename="img_src_x_onerror_alert_1.zip"'
    stored = {path.name for path in site.session.path.rglob("video.*")}
    assert all(re.fullmatch(r"video(\.[A-Za-z0-9]+)+", name) for name in stored)
    for path in ("report/..%2f..%2flock", "report/analysis.npz", "download/..%2fcsv", "report/video.json"):
        assert site.ask("GET", f"/videos/{ids[1]}/{path}").status == 404
    assert site.ask("GET", "/assets/..%2fserver.py").status == 404


def test_what_cannot_be_labelled_has_a_line_and_does_not_stop_the_rest(site):
    ids = [site.upload("a.mp4", b"broken").json()["id"], site.upload("b.mp4").json()["id"]]
    failed = site.wait(ids[0], "failed")
    assert failed["labelling"]["message"] == "a.mp4: not a video that can be read; convert it to MP4"
    site.wait(ids[1])
    assert "broken" not in site.files()
    assert len({path.parent for path in site.session.path.glob("*/*")}) == 1
    assert site.ask("GET", f"/videos/{ids[0]}/report/video.report.html").status == 409


@pytest.mark.parametrize("name", ["a.txt", "a", "a.html", "a.mp4.exe", ""])
def test_other_types_are_refused(site, name):
    assert set(server._MEDIA_TYPES) == uploads.SUFFIXES
    answer = site.upload(name)
    assert answer.status == 415
    assert "choose 3gp, avi," in answer.json()["error"]
    assert (site.files(), site.videos()) == (set(), [])


def test_too_large_is_told_before_it_is_sent_and_while_it_is(start):
    with start(max_bytes=1000) as site:
        connection = http.client.HTTPConnection("127.0.0.1", site.port, timeout=60)
        headers = {"Origin": site.url, "X-Emotemporal-Token": site.token, "X-File-Name": "a.mp4"}
        connection.request("POST", "/api/videos", headers={**headers, "Content-Length": "1001"})
        answer = connection.getresponse()  # though nothing of the body was sent
        assert answer.status == 413
        assert json.loads(answer.read())["error"].startswith("a.mp4: larger than 0.001 MB; ")
        connection.close()
        # Whoever does not tell the size is believed no more than it sends.
        sent = 0

        def endless():
            nonlocal sent
            while True:
                sent += 500
                yield b"x" * 500

        with pytest.raises(OSError, match=r"reset|[Pp]ipe"):
            site.upload("a.mp4", endless())
        assert sent < 50_000_000  # what fits between the two
        assert (site.files(), site.videos()) == (set(), [])
        assert site.upload("b.mp4", b"x" * 1000).status == 201


def test_what_is_less_probable_than_asked_is_uncertain(start):
    with start(min_confidence=0.7) as site:
        (person,) = site.wait(site.upload("a.mp4", b"fine").json()["id"])["people"]
    assert (person["emotion"], person["confidence"]) == ("uncertain", 0.64)


def test_an_upload_that_breaks_off_leaves_nothing(site):
    connection = http.client.HTTPConnection("127.0.0.1", site.port, timeout=60)
    headers = {"Origin": site.url, "X-Emotemporal-Token": site.token, "X-File-Name": "a.mp4"}
    connection.request("POST", "/api/videos", body=b"part", headers={**headers, "Content-Length": "1000"})
    deadline = time.monotonic() + 30
    while site.files() != {"video.mp4"} and time.monotonic() < deadline:
        time.sleep(0.02)
    connection.close()
    while (site.files() or site.videos()) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert (site.files(), site.videos()) == (set(), [])


@pytest.mark.parametrize(
    ("headers", "why"),
    [
        ({"Host": "evil.example"}, "does not go by that name"),
        ({"Host": "127.0.0.1.evil.example:80"}, "does not go by that name"),
        ({"Host": "192.168.1.5"}, "does not go by that name"),
        ({"Host": "[bad"}, "does not go by that name"),
        ({"Origin": "https://evil.example"}, "did not come from a page of this server"),
        ({"Origin": "null"}, "did not come from a page of this server"),
        ({"Origin": ""}, "did not come from a page of this server"),
        ({"X_Emotemporal_Token": "guess"}, "reload it"),
        ({"X_Emotemporal_Token": ""}, "reload it"),
    ],
)
def test_requests_of_others_are_refused(site, headers, why):
    answer = site.upload("a.mp4", **headers)
    assert answer.status == 403
    assert why in answer.json()["error"]
    assert site.videos() == []
    if "Host" in headers:
        assert site.ask("GET", "/", **headers).status == 403


def test_names_of_this_machine_are_its_own(site):
    for host in ("localhost", f"localhost:{site.port}", "[::1]:9000", "LOCALHOST"):
        assert site.ask("GET", "/api/videos", Host=host).status == 200
    assert site.upload("a.mp4", Host="localhost:9000", Origin="http://localhost:9000").status == 201
    assert site.upload("a.mp4", Host="localhost:9000", Origin="http://localhost:9001").status == 403


def test_pages_load_nothing_from_elsewhere_and_cannot_be_framed(site):
    index = site.ask("GET", "/")
    policy = index.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert not re.search(
        r"https?://|<script(?! type=\"module\" src)|<style| style=| on\w+=", index.body.decode()
    )
    video_id = site.wait(site.upload("a.mp4").json()["id"])["id"]
    page = site.ask("GET", f"/videos/{video_id}/report/video.report.html")
    video = site.ask("GET", f"/videos/{video_id}/report/video.mp4")
    assert "frame-ancestors 'self'" in page.headers["content-security-policy"]
    assert "sandbox" in video.headers["content-security-policy"]
    for answer in (index, page, video, site.ask("GET", "/api/videos")):
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["cross-origin-resource-policy"] == "same-origin"


def test_a_video_is_served_in_ranges(site):
    video_id = site.wait(site.upload("a.mp4", bytes(range(100))).json()["id"])["id"]
    path = f"/videos/{video_id}/report/video.mp4"
    answer = site.ask("GET", path, Range="bytes=10-19")
    assert (answer.status, answer.body) == (206, bytes(range(10, 20)))
    assert answer.headers["content-range"] == "bytes 10-19/100"
    assert answer.headers["content-type"] == "video/mp4"
    assert site.ask("GET", path, Range="bytes=-5").body == bytes(range(95, 100))
    assert site.ask("GET", path, Range="bytes=200-").status == 416


def test_one_at_a_time_in_order_until_cancelled(start, pipeline):
    pipeline.go_on.clear()
    with start(max_open=3) as site:
        first, second, third = (site.upload(f"{i}.mp4", str(i).encode()).json()["id"] for i in range(3))
        running = site.wait(first, "running")
        while "share" not in running["labelling"] or running["labelling"]["share"] != 0.4:
            running = site.wait(first, "running")
        assert running["labelling"]["stage"] == "faces"
        assert running["labelling"]["seconds_left"] >= 0
        assert [video["labelling"]["place"] for video in site.videos()] == [2, 1, 0]
        full = site.upload("4.mp4")
        assert (full.status, full.json()["error"].split(";")[0]) == (429, "the queue is full (3 videos)")
        assert site.ask("POST", f"/api/videos/{second}/cancel").status == 200
        assert site.find(second)["labelling"]["state"] == "cancelled"
        assert site.ask("POST", f"/api/videos/{first}/cancel").status == 200
        site.wait(first, "cancelled")
        pipeline.go_on.set()
        site.wait(third)
        assert pipeline.contents == [b"0", b"2"]
        # Of what was cancelled nothing is left.
        assert sum(path.name == "video.mp4" for path in site.session.path.rglob("*")) == 1


def test_forgotten_is_gone_also_while_it_runs(site, pipeline):
    done = site.wait(site.upload("a.mp4").json()["id"])["id"]
    pipeline.go_on.clear()
    running = site.wait(site.upload("b.mp4").json()["id"], "running")["id"]
    for video_id in (done, running):
        assert site.ask("POST", f"/api/videos/{video_id}/forget").status == 200
        assert site.ask("POST", f"/api/videos/{video_id}/forget").status == 404
        assert site.ask("GET", f"/videos/{video_id}/report/video.mp4").status == 404
    deadline = time.monotonic() + 30
    while (site.files() or site.videos()) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert (site.files(), site.videos()) == (set(), [])


def test_a_full_disk_is_said(site, monkeypatch):
    def fill(*_):
        raise OutputError("cannot write x") from OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    told = "a.mp4: the disk is full; free some space, then add it again"
    with monkeypatch.context() as patch:
        patch.setattr(worker, "write_results", fill)
        video = site.wait(site.upload("a.mp4").json()["id"], "failed")
        assert video["labelling"]["message"] == told
    usage = shutil.disk_usage(site.session.path)
    monkeypatch.setattr(uploads.shutil, "disk_usage", lambda _: usage._replace(free=1000))
    answer = site.upload("a.mp4")
    assert (answer.status, answer.json()["error"]) == (507, told)
    assert site.files() == set()


def test_what_is_kept_outlives_the_session(start, pipeline, temporary, tmp_path):
    keep = tmp_path / "kept"
    keep.mkdir()
    with start(keep=keep) as site:
        first, second, forgotten = (site.upload("my talk.mp4").json()["id"] for _ in range(3))
        site.upload("b.mp4", b"broken")
        site.wait(forgotten)
        assert site.ask("GET", f"/videos/{second}/report/video.mp4").body == b"fine"
        assert site.ask("GET", f"/videos/{second}/download/report").status == 200
        (keep / "my_talk-3" / "notes.txt").write_text("mine")
        site.ask("POST", f"/api/videos/{forgotten}/forget")
        pipeline.go_on.clear()
        site.upload("unfinished.mp4")
    assert list(temporary.iterdir()) == []
    found = {str(path.relative_to(keep)) for path in keep.rglob("*") if path.is_file()}
    assert {path.split("/")[0] for path in found} == {"my_talk", "my_talk-2", "my_talk-3"}
    assert {path for path in found if path.startswith("my_talk-3")} == {"my_talk-3/notes.txt"}
    assert {"my_talk/video.mp4", "my_talk/video.report.html", "my_talk-2/video.frames.csv"} <= found
    assert first != second
