"""FER2013's table in every form it comes in, and what is wrong with it named by line."""

import gzip
import lzma
import struct
import zlib

import cv2
import numpy as np
import pytest

from emotemporal.datasets.fer2013 import FaceImages, ferplus_distribution, ferplus_majority, read_fer2013
from emotemporal.errors import DataError

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (4, 48, 48), dtype=np.uint8)
ROWS = list(zip([0, 3, 6, 1], ["Training", "Training", "PublicTest", "PrivateTest"], strict=True))
FERPLUS_HEADER = "Usage,Image name,neutral,happiness,surprise,sadness,anger,disgust,fear,contempt,unknown,NF"


def table_text(header: str = "emotion,pixels,Usage") -> str:
    lines = [header]
    for image, (label, split) in zip(IMAGES, ROWS, strict=True):
        cells = {"emotion": str(label), "pixels": " ".join(map(str, image.ravel())), "usage": split}
        lines.append(",".join(cells[name.strip().lower()] for name in header.split(",")))
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize("suffix", [".csv", ".csv.gz", ".csv.xz"])
def test_plain_and_compressed_tables(tmp_path, suffix):
    path = tmp_path / f"fer2013{suffix}"
    openers = {".csv": open, ".csv.gz": gzip.open, ".csv.xz": lzma.open}
    with openers[suffix](path, "wt") as stream:
        stream.write(table_text())
    faces = read_fer2013(path)
    np.testing.assert_array_equal(faces.images, IMAGES)
    assert faces.labels.tolist() == [0, 3, 6, 1]
    assert faces.split("Training").labels.tolist() == [0, 3]
    assert len(faces.split("PrivateTest")) == 1


def test_kaggles_column_names(tmp_path):
    path = tmp_path / "icml_face_data.csv"
    path.write_text(table_text("emotion, Usage, pixels"))
    np.testing.assert_array_equal(read_fer2013(path).images, IMAGES)


def test_class_folders(tmp_path):
    for image, (split, emotion) in zip(
        IMAGES,
        [("train", "angry"), ("train", "Happiness"), ("test", "neutral"), ("test", "fear")],
        strict=True,
    ):
        folder = tmp_path / split / emotion
        folder.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(folder / "face.png"), image)
    faces = read_fer2013(tmp_path)
    train = faces.split("Training")
    assert sorted(train.labels.tolist()) == [0, 3]
    np.testing.assert_array_equal(train.images[0], IMAGES[1])  # "Happiness" sorts before "angry"
    assert sorted(faces.split("PrivateTest").labels.tolist()) == [2, 6]


@pytest.mark.parametrize(
    ("old", "new", "match"),
    [
        ("\n3,", "\n9,", r"line 3: emotion must be 0 to 6, found '9'"),
        ("\n3,", "\nx,", r"line 3: emotion must be 0 to 6, found 'x'"),
        ("PublicTest", "Public", r"line 4: usage must be one of"),
        ("emotion,pixels", "label,pixels", r"lacks column emotion"),
    ],
)
def test_malformed_rows_are_named(tmp_path, old, new, match):
    path = tmp_path / "fer2013.csv"
    path.write_text(table_text().replace(old, new))
    with pytest.raises(DataError, match=match):
        read_fer2013(path)


@pytest.mark.parametrize("pixels", ["1 2 3", "a b c", "", " ".join(["256"] * 2304)])
def test_malformed_pixels_are_named(tmp_path, pixels):
    path = tmp_path / "fer2013.csv"
    path.write_text(table_text() + f"0,{pixels},Training\n")
    with pytest.raises(DataError, match="line 6: pixels"):
        read_fer2013(path)


def test_bad_rows_are_all_counted_or_skipped(tmp_path):
    path = tmp_path / "fer2013.csv"
    # A blank line must not shift the numbers of the lines that follow.
    text = table_text().replace("\n3,", "\n\n9,")
    path.write_text(text + "0,1 2 3,Training\n2,too,many,cells\n")
    with pytest.raises(DataError, match=r"line 4: emotion .*\(and 2 more like it\); .*--skip-bad"):
        read_fer2013(path)
    faces = read_fer2013(path, skip_bad=True)
    assert faces.labels.tolist() == [0, 6, 1]
    np.testing.assert_array_equal(faces.images, IMAGES[[0, 2, 3]])
    assert [line.split(": ")[0].split(", ")[1] for line in faces.skipped] == ["line 4", "line 7", "line 8"]


def test_skipped_rows_keep_the_votes_of_the_others_in_step(tmp_path):
    (tmp_path / "fer2013.csv").write_text(table_text().replace("\n3,", "\n9,"))
    (tmp_path / "fer2013new.csv").write_text(ferplus_text(VOTES).replace("0,0,1,9,0,0", "0,0,1,x,0,0"))
    faces = read_fer2013(tmp_path / "fer2013.csv", ferplus=tmp_path / "fer2013new.csv", skip_bad=True)
    assert faces.labels.tolist() == [0, 6]
    assert faces.votes.tolist() == [VOTES[0], VOTES[2]]
    assert len(faces.skipped) == 2
    assert "fer2013.csv, line 3" in faces.skipped[0]
    assert "fer2013new.csv, line 5" in faces.skipped[1]


def test_nothing_usable_is_an_error_however_bad_rows_are_treated(tmp_path):
    path = tmp_path / "fer2013.csv"
    path.write_text("emotion,pixels,Usage\n0,1 2 3,Training\n")
    with pytest.raises(DataError, match="no usable face"):
        read_fer2013(path, skip_bad=True)


def test_a_tenth_of_every_class_is_held_out_where_there_is_no_validation():
    labels = np.repeat([0, 3], [100, 50])
    images = np.zeros((150, 48, 48), np.uint8)
    faces = FaceImages(images, labels, np.full(150, "Training")).with_validation()
    assert np.bincount(faces.split("PublicTest").labels).tolist() == [10, 0, 0, 5]
    assert len(faces.split("Training")) == 135
    assert faces.with_validation() is faces


def test_missing_table(tmp_path):
    with pytest.raises(DataError, match="no such"):
        read_fer2013(tmp_path / "absent.csv")


def test_empty_split_is_named(tmp_path):
    path = tmp_path / "fer2013.csv"
    path.write_text(table_text().replace("PublicTest", "Training"))
    with pytest.raises(DataError, match="'PublicTest' is empty"):
        read_fer2013(path).split("PublicTest")


def test_unreadable_picture_is_named(tmp_path):
    (tmp_path / "train" / "fear").mkdir(parents=True)
    (tmp_path / "train" / "fear" / "broken.png").write_text("no picture")
    with pytest.raises(DataError, match=r"broken\.png"):
        read_fer2013(tmp_path)
    cv2.imwrite(str(tmp_path / "train" / "fear" / "sound.png"), IMAGES[0])
    faces = read_fer2013(tmp_path, skip_bad=True)
    assert len(faces) == 1
    assert "broken.png" in faces.skipped[0]


def ferplus_text(votes) -> str:
    lines = [FERPLUS_HEADER]
    for i, (row, (_, split)) in enumerate(zip(votes, ROWS, strict=True)):
        lines.append(",".join([split, f"fer{i:07d}.png", *map(str, row)]))
    return "\n".join(lines) + "\n"


VOTES = [
    [6, 3, 1, 0, 0, 0, 0, 0, 0, 0],  # neutral has 6 of the 9 that count
    [4, 4, 0, 0, 0, 0, 0, 0, 0, 2],  # no majority
    [0, 0, 0, 0, 0, 0, 0, 0, 0, 10],  # no face
    [0, 0, 0, 0, 0, 0, 1, 9, 0, 0],  # contempt
]


def test_ferplus_votes_majority_and_distribution(tmp_path):
    (tmp_path / "fer2013.csv").write_text(table_text())
    (tmp_path / "fer2013new.csv").write_text(ferplus_text(VOTES))
    faces = read_fer2013(tmp_path / "fer2013.csv", ferplus=tmp_path / "fer2013new.csv")
    assert ferplus_majority(faces.votes).tolist() == [0, -1, -1, 7]
    distribution = ferplus_distribution(faces.votes)
    np.testing.assert_allclose(distribution[0, :3], [6 / 9, 3 / 9, 0], atol=1e-6)
    assert distribution.sum(1).tolist() == pytest.approx([1, 1, 0, 1])
    assert len(faces.split("Training").votes) == 2


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda text: text.replace("PublicTest", "Training"), "line 4: split Training"),
        (lambda text: "\n".join(text.splitlines()[:-1]), "3 rows, but FER2013 has 4"),
        (lambda text: text.replace(",6,3,", ",6,x,"), "line 2"),
    ],
)
def test_ferplus_of_other_rows_is_refused(tmp_path, change, match):
    (tmp_path / "fer2013.csv").write_text(table_text())
    (tmp_path / "fer2013new.csv").write_text(change(ferplus_text(VOTES)))
    with pytest.raises(DataError, match=match):
        read_fer2013(tmp_path / "fer2013.csv", ferplus=tmp_path / "fer2013new.csv")


@pytest.mark.needs_data
@pytest.mark.slow
def test_the_official_tables(data_folder):
    folder = data_folder / "fer2013"
    faces = read_fer2013(folder / "fer2013.csv.xz", ferplus=folder / "fer2013new.csv")
    counts = [len(faces.split(name)) for name in ("Training", "PublicTest", "PrivateTest")]
    assert counts == [28709, 3589, 3589]
    # 62.5 % of the original labels agree with FER+'s majority where it names one of the seven.
    assert (ferplus_majority(faces.split("PrivateTest").votes) >= 0).sum() > 3000


@pytest.mark.parametrize("line", [b"0", b"0 ", b"0,", b'"\n', b"\n"])
def test_a_small_file_that_unpacks_to_gigabytes_is_refused(tmp_path, line, monkeypatch):
    monkeypatch.setattr("emotemporal.datasets.fer2013._MAX_TABLE", 1 << 19)
    path = tmp_path / "fer2013.csv.xz"
    compressor = lzma.LZMACompressor(preset=0)
    with path.open("wb") as stream:
        stream.write(compressor.compress(b"emotion,pixels,Usage\n"))
        for _ in range(8):
            stream.write(compressor.compress(line * ((1 << 17) // len(line))))
        stream.write(compressor.flush())
    assert path.stat().st_size < 100_000
    with pytest.raises(DataError, match="not a readable csv table"):
        read_fer2013(path)


def test_a_row_of_a_billion_pixels_is_not_held_in_memory(tmp_path):
    path = tmp_path / "fer2013.csv"
    with path.open("wb") as stream:
        stream.write(b"emotion,pixels,Usage\n0,")
        stream.truncate(4 << 30)  # takes no room on the disk
    with pytest.raises(DataError, match="more than 131072 characters in a line"):
        read_fer2013(path)


def test_a_picture_of_a_huge_size_is_no_face(tmp_path):
    folder = tmp_path / "Training" / "happy"
    folder.mkdir(parents=True)
    header = struct.pack(">IIBBBBB", 100_000, 100_000, 8, 0, 0, 0, 0)
    chunk = b"IHDR" + header
    length, check = struct.pack(">I", len(header)), struct.pack(">I", zlib.crc32(chunk))
    (folder / "bomb.png").write_bytes(b"\x89PNG\r\n\x1a\n" + length + chunk + check)
    with pytest.raises(DataError, match=r"bomb\.png: not a readable picture"):
        read_fer2013(tmp_path)
