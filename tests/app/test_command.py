"""`emotemporal app` as a process: what it says, and what it leaves when it is ended."""

import os
import re
import signal
import socket
import subprocess
import sys

import pytest

from emotemporal.cli import app
from emotemporal.cli.app import main

# The command with a pipeline that begins a video and never ends it.
PROGRAM = """
import sys, time
from types import SimpleNamespace
from emotemporal.cli import app

class Pipeline:
    classifier = SimpleNamespace(head=None)

    def analyze(self, path, min_confidence, on_progress):
        while True:
            on_progress("faces", 1, 100)
            time.sleep(0.01)

app._load = lambda options: Pipeline()
sys.exit(app.main(["--port", "0", "--no-browser", *sys.argv[1:]]))
"""


def test_without_the_extra_it_says_what_to_install(monkeypatch, capsys):
    monkeypatch.setattr(app, "find_spec", lambda name: None)
    assert main([]) == 2
    line = "error: the app needs starlette and uvicorn: pip install 'emotemporal[app]'\n"
    assert capsys.readouterr().err == line


def test_wrong_usage_is_one_line(tmp_path, capsys):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        assert main(["--port", str(port)]) == 2
    told = f"error: --port {port}: taken; is the app running already? Choose another\n"
    assert capsys.readouterr().err == told
    (tmp_path / "file").touch()
    for arguments, why in (
        (["--port", "99999"], "--port must lie between"),
        (["--host", "no.such.host.invalid"], "cannot listen there"),
        (["--max-mb", "0"], "must be positive"),
        (["--min-confidence", "1.5"], "expected a probability, 0 to 1"),
        (["--keep", str(tmp_path / "file")], "cannot be made"),
        (["--port", "0", "--checkpoint", str(tmp_path / "none")], "--checkpoint"),
    ):
        assert main(arguments) == 2
        error = capsys.readouterr().err
        assert why in error
        assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("number", "host", "code"), [(signal.SIGINT, "127.0.0.1", 130), (signal.SIGTERM, "0.0.0.0", 143)]
)
def test_however_it_is_ended_nothing_is_left(program, temporary, root, number, host, code, connect):
    environment = {**os.environ, "TMPDIR": str(temporary), "PYTHONPATH": str(root)}
    command = [sys.executable, str(program), "--host", host]
    process = subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        line = process.stdout.readline()
        match = re.fullmatch(
            r"emotemporal app: http://127\.0\.0\.1:(\d+)/ \(Ctrl-C ends it, nothing is left behind\)\n", line
        )
        assert match, line + process.stderr.read()
        site = connect(int(match[1]))
        video_id = site.upload("a.mp4").json()["id"]
        site.wait(video_id, "running")
        assert len(list(temporary.rglob("video.mp4"))) == 1
        process.send_signal(number)
        _, errors = process.communicate(timeout=60)
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
        process.stderr.close()
    assert process.returncode == code
    assert list(temporary.iterdir()) == []
    assert "Traceback" not in errors
    assert ("there is no login" in errors) == (host != "127.0.0.1")
