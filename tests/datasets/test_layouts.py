"""Data sets as they are downloaded: every name understood, nothing left out in silence."""

import csv
from collections import Counter

import pytest

from emotemporal.datasets.afew import read_afew
from emotemporal.datasets.crema_d import read_crema_d
from emotemporal.datasets.java_sed import read_java_sed
from emotemporal.datasets.ravdess import read_ravdess
from emotemporal.datasets.registry import describe, read_clips
from emotemporal.errors import DataError, UsageError


def touch(root, *names):
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def test_ravdess_names(tmp_path):
    touch(tmp_path, "Actor_12/02-01-06-02-02-01-12.mp4", "Actor_01/01-02-02-01-01-02-01.mp4")
    found = read_ravdess(tmp_path)
    assert [item.clip_id for item in found.items] == ["01-02-02-01-01-02-01", "02-01-06-02-02-01-12"]
    song, speech = found.items
    assert (speech.label, speech.subject, speech.source) == ("fear", "12", "01-06-02-02-01-12")
    assert speech.fields == {
        "modality": "video-only",
        "channel": "speech",
        "emotion": "fear",
        "intensity": "strong",
        "statement": "dogs",
        "repetition": "1",
        "actor": "12",
        "gender": "female",
    }
    assert (song.label, song.fields["channel"], song.fields["gender"]) == ("calm", "song", "male")
    assert found.notes == ()


def test_ravdess_takes_are_listed_once(tmp_path):
    touch(
        tmp_path,
        "Video_Speech_Actor_01/Actor_01/01-01-03-01-01-01-01.mp4",
        "Video_Speech_Actor_01/Actor_01/02-01-03-01-01-01-01.mp4",
        "Video_Speech_Actor_01/Actor_01/02-01-04-01-01-01-01.mp4",
        "Actor_01/01-01-03-01-01-01-01.mp4",  # unpacked twice
        "Audio_Speech_Actors_01-24/Actor_01/03-01-03-01-01-01-01.wav",
        "Actor_01/03-01-03-01-01-01-01.mp4",
        "Video_Speech_Actor_01/Actor_01/._02-01-04-01-01-01-01.mp4",
        "Actor_01/holiday.mp4",
    )
    found = read_ravdess(tmp_path)
    assert [item.clip_id[:8] for item in found.items] == ["01-01-03", "02-01-04"]
    assert len({item.source for item in found.items}) == 2
    assert [note.split(" ")[0] for note in found.notes] == ["2", "2", "1"]
    assert "holiday.mp4" in found.notes[2]
    only = read_ravdess(tmp_path, modality="video-only")
    assert [item.clip_id[:8] for item in only.items] == ["02-01-03", "02-01-04"]
    assert any(note.startswith("2 videos are not video-only") for note in only.notes)
    # The same take has the same source whichever of its files is used.
    assert only.items[0].source == found.items[0].source


def test_ravdess_channels(tmp_path):
    touch(tmp_path, "Actor_01/01-01-03-01-01-01-01.mp4", "Actor_01/01-02-03-01-01-01-01.mp4")
    found = read_ravdess(tmp_path, channel="song")
    assert [item.fields["channel"] for item in found.items] == ["song"]
    assert found.notes == ("1 videos are not song and left out",)


def test_ravdess_codes_that_do_not_exist(tmp_path):
    touch(tmp_path, "01-01-09-01-01-01-25.mp4", "01-01-01-01-01-01-01.mp4")
    with pytest.raises(DataError, match=r"1 names.*01-01-09-01-01-01-25\.mp4 \(emotion 09, actor 25\)"):
        read_ravdess(tmp_path)


def test_calm_is_neutral_or_calm(tmp_path):
    touch(tmp_path, *(f"Actor_01/01-01-{code:02d}-01-01-01-01.mp4" for code in range(1, 9)))
    eight = read_clips(tmp_path, merge_calm=False)
    assert len({item.label for item in eight.items}) == 8
    seven = read_clips(tmp_path)
    assert Counter(item.label for item in seven.items)["neutral"] == 2
    assert seven.items[1].fields["emotion"] == "calm"
    assert seven.notes == ("1 calm clips are labelled neutral",)
    assert describe(seven).startswith("ravdess: 8 clips; 1 people; 1 angry")


def test_crema_d(tmp_path):
    touch(
        tmp_path,
        "VideoFlash/1001_DFA_ANG_XX.flv",
        "VideoFlash/1002_IEO_HAP_HI.flv",
        "mp4/1002_IEO_HAP_HI.mp4",
        "VideoFlash/1040_ITH_SAD_X.flv",
        "AudioWAV/1001_DFA_ANG_XX.wav",
        "VideoFlash/trailer.mp4",
    )
    found = read_clips(tmp_path)
    assert found.dataset == "crema_d"
    assert [(i.clip_id, i.label, i.subject) for i in found.items] == [
        ("1001_DFA_ANG_XX", "angry", "1001"),
        ("1002_IEO_HAP_HI", "happy", "1002"),
        ("1040_ITH_SAD_X", "sad", "1040"),
    ]
    assert found.items[1].fields == {"actor": "1002", "sentence": "IEO", "emotion": "happy", "level": "high"}
    assert [note[:8] for note in found.notes] == ["1 videos", "1 videos"]
    touch(tmp_path, "VideoFlash/1002_IEO_SUR_HI.flv")
    with pytest.raises(DataError, match=r"1 names.*1002_IEO_SUR_HI\.flv \(SUR\)"):
        read_crema_d(tmp_path)


def test_afew(tmp_path):
    touch(
        tmp_path,
        "Train_AFEW/Train_AFEW/Angry/000046280.avi",
        "Val_AFEW/Surprise/000149120.avi",
        "Test_AFEW/Test_vid_Distributed/000000001.avi",
        "Test_AFEW/000000002.avi",
        "trailer.avi",
    )
    found = read_clips(tmp_path)
    assert found.dataset == "afew"
    assert [(i.label, i.split, i.source, i.subject) for i in found.items] == [
        ("angry", "train", "000046280", ""),
        ("surprise", "validation", "000149120", ""),
    ]
    assert "2 videos of Test_AFEW have no labels" in found.notes[0]
    assert "trailer.avi" in found.notes[1]


def test_afew_in_plain_folders(tmp_path):
    touch(tmp_path, "Train/Fear/000000001.avi", "Val/Fear/000000002.avi", "Test/000000003.avi")
    found = read_clips(tmp_path)
    assert found.dataset == "afew"
    assert [item.split for item in found.items] == ["train", "validation"]
    assert found.notes == ("1 videos of Test have no labels and are left out",)
    touch(tmp_path, "Val/Feer/000000004.avi")
    with pytest.raises(DataError, match="did you mean 'fear'"):
        read_afew(tmp_path)


def test_java_sed_by_its_names(tmp_path):
    touch(tmp_path, "01-02-03_01.mp4", "extra.mp4")
    found = read_clips(tmp_path)
    (item,) = found.items
    assert (found.dataset, item.label, item.subject, item.fields["sentence"]) == (
        "java_sed",
        "happy",
        "01",
        "02",
    )
    assert "extra.mp4" in found.notes[0]


@pytest.mark.needs_data
def test_the_official_java_sed(data_folder, tmp_path):
    folder = data_folder / "java_sed"
    found = read_clips(folder)
    assert found.dataset == "java_sed"
    assert Counter(item.label for item in found.items) == dict.fromkeys(
        ("neutral", "sad", "happy", "surprise", "fear", "angry"), 40
    )
    with (folder / "labels.csv").open() as stream:
        names = [row["path"] for row in csv.DictReader(stream)]
    touch(tmp_path, *names)
    by_name = {i.clip_id: (i.label, i.subject, i.fields["sentence"]) for i in read_java_sed(tmp_path).items}
    assert by_name == {i.clip_id: (i.label, i.subject, i.fields["sentence"]) for i in found.items}


@pytest.mark.needs_data
def test_official_ravdess_clips(data_folder):
    found = read_clips(data_folder / "ravdess_actor01")
    assert found.dataset == "ravdess"
    assert len(found.items) == 5
    assert {item.subject for item in found.items} == {"01"}


def test_a_manifest_of_a_known_data_set_has_its_way(tmp_path):
    touch(tmp_path, "01-01-03-01-01-01-01.mp4")
    (tmp_path / "manifest.csv").write_text("path,label\n01-01-03-01-01-01-01.mp4,fear\n")
    found = read_clips(tmp_path)
    assert (found.dataset, found.items[0].label) == ("manifest", "fear")
    assert read_clips(tmp_path, "ravdess").items[0].label == "happy"


def test_class_folders_by_default(tmp_path):
    touch(tmp_path, "train/Happiness/a.mp4", "val/Fear/b.mp4")
    found = read_clips(tmp_path)
    assert (found.dataset, [item.split for item in found.items]) == ("folders", ["train", "val"])


def test_what_is_no_data_set(tmp_path):
    touch(tmp_path, "holiday/a.mp4", "notes.txt")
    with pytest.raises(
        DataError, match=r"none of the known data sets, holds holiday, notes\.txt; known: java_sed"
    ):
        read_clips(tmp_path)
    with pytest.raises(DataError, match="no labelled videos"):
        read_clips(tmp_path, "ravdess")
    with pytest.raises(DataError, match=r"holds neither of manifest\.csv, labels\.csv"):
        read_clips(tmp_path, "manifest")
    with pytest.raises(DataError, match="no such file"):
        read_clips(tmp_path / "absent")
    with pytest.raises(UsageError, match="a file, but --dataset afew is a folder"):
        read_clips(tmp_path / "notes.txt", "afew")


def test_options_of_another_data_set(tmp_path):
    touch(tmp_path, "Fear/a.mp4")
    with pytest.raises(UsageError, match=r"--channel is for ravdess, .* is read as folders"):
        read_clips(tmp_path, channel="song")
