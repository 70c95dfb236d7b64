"""The session's folder: private, and gone with its session."""

import os
import signal
import stat
import subprocess
import sys
import time

from emotemporal.app.folder import SessionFolder, remove_orphans

PROGRAM = """
import sys, time
from emotemporal.app.folder import SessionFolder
session = SessionFolder()
(session.new_folder() / "video.mp4").write_text("private")
print(session.path, flush=True)
time.sleep(600)
"""


def test_nobody_else_can_look_into_it_and_nothing_of_it_is_left(temporary):
    with SessionFolder() as session:
        assert session.path.parent == temporary
        assert stat.S_IMODE(session.path.stat().st_mode) == 0o700
        (session.new_folder() / "video.mp4").write_text("private")
    assert list(temporary.iterdir()) == []


def test_the_next_session_removes_what_a_killed_one_left_but_no_running_one(temporary, program, root):
    environment = {**os.environ, "TMPDIR": str(temporary), "PYTHONPATH": str(root)}
    children = [
        subprocess.Popen([sys.executable, program], env=environment, stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    try:
        killed, running = (child.stdout.readline().strip() for child in children)
        children[0].send_signal(signal.SIGKILL)
        children[0].wait()
        assert os.path.isdir(killed)
        with SessionFolder() as session:
            assert {str(path) for path in temporary.iterdir()} == {running, str(session.path)}
            assert len(list(temporary.rglob("video.mp4"))) == 1
    finally:
        for child in children:
            child.kill()
            child.wait()
            child.stdout.close()


def test_what_only_looks_like_a_session_is_left_alone(temporary, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "lock").touch()
    (temporary / "emotemporal-app-link").symlink_to(elsewhere)
    (temporary / "emotemporal-app-file").touch()
    new, old = temporary / "emotemporal-app-new", temporary / "emotemporal-app-old"
    for path in (new, old):
        path.mkdir()
    os.utime(old, (time.time() - 3600,) * 2)
    remove_orphans()
    assert {path.name[16:] for path in temporary.iterdir()} == {"link", "file", "new"}
    assert (elsewhere / "lock").exists()
