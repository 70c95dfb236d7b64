"""Extraction loses nothing: not to a bad video, a dead process, a kill or a damaged file."""

import csv
import fcntl
import os
import signal
import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pytest
import torch

from emotemporal.datasets.clips import ClipItem
from emotemporal.datasets.crops import CropStore
from emotemporal.datasets.manifest import read_table
from emotemporal.errors import OutputError, UsageError
from emotemporal.extraction import extract_faces, most_prominent
from emotemporal.structures import CropGeometry, CropSequence, Track

GEOMETRY = CropGeometry(side_px=16)

# A detector that takes the brightest square for the face, and a program around it: what several processes
# run must be importable in them.
PROGRAM = """
import os, sys, time
from pathlib import Path
import numpy as np
from emotemporal.datasets.crops import CropStore
from emotemporal.datasets.manifest import read_table
from emotemporal.extraction import extract_faces
from emotemporal.structures import CropGeometry, Detections

FACE = np.array([[0.3, 0.4], [0.7, 0.4], [0.5, 0.6], [0.35, 0.8], [0.65, 0.8]])


class BrightSquare:
    def __init__(self):
        self.pause_seconds = float(os.environ.get("PAUSE_SECONDS", "0"))

    def detect_faces(self, frame):
        time.sleep(self.pause_seconds)
        red, green = frame[..., 0].astype(int), frame[..., 1].astype(int)
        if green.max() > 150 > red.max():
            if os.environ.get("DIE_ON_GREEN"):
                os._exit(9)
            raise RuntimeError("green, of\\nall colours")
        rows, columns = np.nonzero(red > 150)
        if len(rows) == 0:
            return Detections.empty()
        left, top, side = columns.min(), rows.min(), np.ptp(columns) + 1
        box = np.array([[left, top, left + side, top + side]], np.float32)
        landmarks = (FACE * side + [left, top]).astype(np.float32)[None]
        return Detections(box, np.ones(1, np.float32), landmarks)

    def refine_faces(self, frame, boxes):
        found = self.detect_faces(frame)
        if len(found) == len(boxes):
            return found
        num = len(boxes)
        return Detections(boxes, np.zeros(num, np.float32), np.zeros((num, 5, 2), np.float32))


if __name__ == "__main__":
    manifest, folder = sys.argv[1:]
    store = CropStore.create(folder, CropGeometry(side_px=16), {})
    extract_faces(
        read_table(Path(manifest)).items, store, BrightSquare, workers=2,
        on_progress=lambda stage, done, total: print(done, flush=True),
        on_failure=lambda item, reason: print(reason, flush=True),
    )
"""


@pytest.fixture
def bright_square():
    space = {"__name__": "program"}
    exec(PROGRAM, space)
    return space["BrightSquare"]


def write_video(path: Path, num_frames: int = 6, *, colour=(255, 255, 255), brightness: int = 255) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 128, 96, "yuv420p"
        for i in range(num_frames):
            picture = np.zeros((96, 128, 3), np.uint8)
            picture[20:60, 30 + i : 70 + i] = np.array(colour) * brightness // 255
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    return path


def make_items(folder: Path, *names: str) -> list[ClipItem]:
    return [ClipItem(folder / f"{name}.mp4", name, "happy", name) for name in names]


@pytest.fixture
def mixed(tmp_path):
    """A usual video, one of one frame, one without a face, none at all, and one that upsets the detector."""
    write_video(tmp_path / "usual.mp4")
    write_video(tmp_path / "one.mp4", 1)
    write_video(tmp_path / "black.mp4", colour=(0, 0, 0))
    (tmp_path / "broken.mp4").write_text("no video")
    write_video(tmp_path / "green.mp4", colour=(0, 255, 0))
    return make_items(tmp_path, "green", "broken", "black", "one", "usual")


def contents(folder: Path) -> dict[str, object]:
    """Return the tables of a store, and what it says of each clip."""
    store = CropStore.open(folder)
    found: dict[str, object] = {path.name: path.read_bytes() for path in folder.glob("*.csv")}
    for row in store.read_index():
        clip = store.read(row.clip_id)
        crops = clip.crops
        found[row.clip_id] = (clip.num_frames, clip.num_people) + (
            () if crops is None else (crops.track_id, *(a.tobytes() for a in arrays_of(crops)))
        )
    return found


def arrays_of(crops: CropSequence) -> list[np.ndarray]:
    arrays = (crops.frame_index, crops.pts_seconds, crops.crops, crops.landmarks68)
    return [array for array in arrays if array is not None]


def shards_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (folder / "shards").iterdir()}


def test_a_bad_video_does_not_stop_the_others(mixed, bright_square, tmp_path):
    store = CropStore.create(tmp_path / "store", GEOMETRY, {})
    reported, progress = [], []
    threads = torch.get_num_threads()
    found = extract_faces(
        mixed,
        store,
        bright_square,
        on_progress=lambda stage, done, total: progress.append((done, total)),
        on_failure=lambda item, reason: reported.append(item.clip_id),
    )
    assert torch.get_num_threads() == threads
    assert reported == ["green", "broken"]
    assert found.failures["green"].endswith("green.mp4: RuntimeError: green, of all colours")
    assert progress == [(done, 5) for done in range(6)]
    assert [(row.clip_id, row.num_frames, row.num_seen) for row in store.read_index()] == [
        ("black", 6, 0),
        ("one", 1, 1),
        ("usual", 6, 6),
    ]
    with (store.folder / "extraction.csv").open() as stream:
        table = list(csv.DictReader(stream))
    assert [(row["clip_id"], row["status"]) for row in table] == [
        ("green", "failed"),
        ("broken", "failed"),
        ("black", "no_face"),
        ("one", "ok"),
        ("usual", "ok"),
    ]
    assert "broken.mp4" in table[1]["reason"]
    assert table[4]["share_seen"] == "1.0000"


def test_a_damaged_clip_is_extracted_again_and_a_whole_one_is_not(bright_square, tmp_path):
    for name in ("a", "b"):
        write_video(tmp_path / f"{name}.mp4")
    items = make_items(tmp_path, "a", "b")
    store = CropStore.create(tmp_path / "store", GEOMETRY, {})
    extract_faces(items, store, bright_square)
    before = contents(store.folder)
    shards = shards_of(store.folder)
    place = shards["0000.bin"].index(store.read("a").crops.crops[2].tobytes())
    damaged = bytearray(shards["0000.bin"])
    damaged[place] ^= 1
    (store.folder / "shards" / "0000.bin").write_bytes(damaged)
    progress = []
    again = CropStore.create(store.folder, GEOMETRY, {})
    extract_faces(items, again, bright_square, on_progress=lambda *values: progress.append(values[1]))
    assert progress == [1, 2]
    assert contents(store.folder) == before
    # Only the damaged one has been added.
    found = shards_of(store.folder)
    assert set(found) == {*shards, "0001.bin", "0001.journal"}
    assert found["0001.journal"].count(b"\n") == 1
    assert found["0000.journal"] == shards["0000.journal"]


class BoxCorners:
    """Puts all points into the corner of a face's box that lies to its upper left."""

    def predict(self, image, boxes):
        assert image.shape == (96, 128, 3)
        return np.repeat(boxes[:, None, :2], 68, axis=1)


def test_landmarks_are_those_of_the_frames_that_were_seen(mixed, bright_square, tmp_path, monkeypatch):
    monkeypatch.setattr("emotemporal.extraction.LandmarkPredictor", BoxCorners)
    plain = CropStore.create(tmp_path / "plain", GEOMETRY, {})
    store = CropStore.create(tmp_path / "store", GEOMETRY, {}, landmarks68=True)
    for target in (plain, store):
        extract_faces(mixed, target, bright_square)
    assert store.read("black").crops is None
    for name, length in (("usual", 6), ("one", 1)):
        crops, expected = store.read(name).crops, plain.read(name).crops
        # The square moves by a pixel from frame to frame.
        np.testing.assert_allclose(crops.landmarks68[:, 0], [(30 + i, 20) for i in range(length)], atol=2)
        assert np.ptp(crops.landmarks68[:, :, 0]) == length - 1
        assert np.all(np.ptp(crops.landmarks68, axis=1) == 0)
        for mine, theirs in zip(arrays_of(crops), arrays_of(expected), strict=False):
            np.testing.assert_array_equal(mine, theirs)
        assert expected.landmarks68 is None


def test_a_full_disk_stops_everything(bright_square, tmp_path, monkeypatch):
    write_video(tmp_path / "a.mp4")
    store = CropStore.create(tmp_path / "store", GEOMETRY, {})

    def full(item, clip):
        raise OutputError("cannot write")

    monkeypatch.setattr(store, "write", full)
    with pytest.raises(OutputError, match="cannot write"):
        extract_faces(make_items(tmp_path, "a"), store, bright_square)


# Every process takes seconds to start, so one run of several shows it all.
def test_two_runs_do_not_fill_one_store(bright_square, tmp_path):
    write_video(tmp_path / "a.mp4")
    items, store = make_items(tmp_path, "a"), CropStore.create(tmp_path / "store", GEOMETRY, {})
    other = os.open(store.folder, os.O_RDONLY)
    fcntl.flock(other, fcntl.LOCK_EX)
    with pytest.raises(UsageError, match="another run is writing into this folder"):
        extract_faces(items, store, bright_square)
    os.close(other)
    assert len(extract_faces(items, store, bright_square).rows) == 1


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_several_workers_lose_nothing_to_a_dead_one_nor_to_a_kill(bright_square, program, root, tmp_path):
    write_video(tmp_path / "green.mp4", colour=(0, 255, 0))
    for i, name in enumerate("abcde"):
        write_video(tmp_path / f"{name}.mp4", 4 + i)
    items = make_items(tmp_path, "green", *"abcde")
    manifest = tmp_path / "manifest.csv"
    manifest.write_text("path,label,subject\n" + "".join(f"{i.path.name},happy,{i.subject}\n" for i in items))
    alone = CropStore.create(tmp_path / "alone", GEOMETRY, {})
    extract_faces(read_table(manifest).items, alone, bright_square)

    store = tmp_path / "killed"
    with subprocess.Popen(
        [sys.executable, str(program), str(manifest), str(store)],
        env=os.environ | {"PYTHONPATH": str(root), "DIE_ON_GREEN": "1", "PAUSE_SECONDS": "0.2"},
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        printed = [process.stdout.readline().strip()]
        while printed[-1] not in ("", "3"):
            printed.append(process.stdout.readline().strip())
        process.send_signal(signal.SIGKILL)
        # Its workers hold its output open: they end what they are at, and then themselves.
        process.communicate()
    (death,) = [line for line in printed if not line.isdecimal()]
    assert death.endswith("green.mp4: a process for it ended with exit code 9")
    assert [line for line in printed if line.isdecimal()] == ["0", "1", "2", "3"]
    before = shards_of(store)
    killed = CropStore.create(store, GEOMETRY, {})
    done = [item for item in items if killed.has(item)]
    assert 2 <= len(done) < 5
    assert not (store / "index.csv").exists()

    again = CropStore.create(store, GEOMETRY, {})
    progress = []
    extract_faces(
        read_table(manifest).items,
        again,
        bright_square,
        on_progress=lambda *values: progress.append(values[1]),
    )
    assert progress == list(range(len(done), 7))
    assert contents(store) == contents(alone.folder)
    # What was done is not done again; the green one fails in either run.
    after = shards_of(store)
    assert {name: after[name] for name in before} == before
    assert sum(data.count(b"\n") for name, data in after.items() if name.endswith(".journal")) == 5


def make_track(track_id: int, side: float, length: int) -> Track:
    box = np.array([10, 10, 10 + side, 10 + side], np.float32)
    return Track(
        track_id=track_id,
        frame_index=np.arange(length),
        pts_seconds=np.arange(length) / 25,
        boxes=np.tile(box, (length, 1)),
        scores=np.ones(length, np.float32),
        landmarks=np.zeros((length, 5, 2), np.float32),
        status=np.zeros(length, np.uint8),
    )


def test_the_labelled_person_is_large_and_long_in_the_picture():
    small_long, large_short = make_track(1, 20, 50), make_track(2, 60, 5)
    assert most_prominent([small_long, large_short]).track_id == 1  # 20,000 against 18,000 pixels
    assert most_prominent([small_long, make_track(3, 60, 6)]).track_id == 3  # 21,600
    assert most_prominent([make_track(4, 20, 50), small_long]).track_id == 4
