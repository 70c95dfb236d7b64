"""Labelled videos as manifests and folders, faults named."""

import pytest

from emotemporal.datasets.manifest import read_manifest
from emotemporal.datasets.splits import Fold, check_leak, subject_folds
from emotemporal.errors import DataError


def touch(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()


def write_manifest(folder, text, *videos):
    for video in videos:
        touch(folder / video)
    path = folder / "manifest.csv"
    path.write_text(text)
    return path


def test_manifest_with_everything(tmp_path):
    text = "path,label,subject,split\na/one.mp4,Happiness,ann,train\ntwo.avi,fear,bob,test\n"
    items = read_manifest(write_manifest(tmp_path, text, "a/one.mp4", "two.avi"))
    assert [(i.clip_id, i.label, i.subject, i.split) for i in items] == [
        ("a__one", "happy", "ann", "train"),
        ("two", "fear", "bob", "test"),
    ]
    assert read_manifest(tmp_path)[0].path == tmp_path / "a/one.mp4"


def test_other_column_names(tmp_path):
    text = "path,actor,sentence,emotion\none.mp4,01,04,surprised\n"
    (item,) = read_manifest(write_manifest(tmp_path, text, "one.mp4"))
    assert (item.label, item.subject) == ("surprise", "01")


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("path,label\none.mp4,hapy\n", r"line 2: unknown emotion 'hapy'.*did you mean 'happy'"),
        ("path,label\none.mp4\n", "line 2: expected 2 cells"),
        ("path,label\none.mp4,fear,x\n", "line 2: expected 2 cells"),
        ("path,label\n,fear\n", "line 2: the path is empty"),
        ("path,mood\none.mp4,fear\n", "no column named label or emotion"),
        ("path,label\n", "no labelled videos"),
        ("path,label\none.mp4,fear\none.mp4,fear\n", "share the id one"),
        ("path,label\none.mp4,fear\nx.mp4,sad\ny.mp4,sad\n", "2 of 3 videos are missing"),
    ],
)
def test_faulty_manifests(tmp_path, text, match):
    with pytest.raises(DataError, match=match):
        read_manifest(write_manifest(tmp_path, text, "one.mp4"))


def test_a_binary_file_is_no_manifest(tmp_path):
    path = tmp_path / "manifest.csv"
    path.write_bytes(bytes(range(256)))
    with pytest.raises(DataError, match="not a csv"):
        read_manifest(path)


def test_ids_cannot_lead_out_of_the_store(tmp_path):
    inner = tmp_path / "inner"
    inner.mkdir()
    touch(tmp_path / "one.mp4")
    (item,) = read_manifest(write_manifest(inner, "path,label\n../one.mp4,fear\n"))
    assert item.clip_id == "one"


def test_class_folders_with_and_without_splits(tmp_path):
    touch(tmp_path / "plain" / "Angry" / "a.mp4")
    touch(tmp_path / "plain" / "Fear" / "b.avi")
    touch(tmp_path / "plain" / "Fear" / "notes.txt")
    assert [(i.label, i.split) for i in read_manifest(tmp_path / "plain")] == [("angry", ""), ("fear", "")]
    touch(tmp_path / "split" / "train" / "sad" / "a.mp4")
    assert read_manifest(tmp_path / "split")[0].split == "train"


def test_folders_that_are_no_emotions_are_named(tmp_path):
    touch(tmp_path / "holiday" / "a.mp4")
    with pytest.raises(DataError, match="'holiday' is no emotion"):
        read_manifest(tmp_path)


def test_nothing_there(tmp_path):
    with pytest.raises(DataError, match="no such"):
        read_manifest(tmp_path / "absent")


def test_leave_one_person_out():
    folds = subject_folds(["b", "a", "b", "c"])
    assert [fold.name for fold in folds] == ["a", "b", "c"]
    assert folds[1].test.tolist() == [0, 2]
    assert folds[1].train.tolist() == [1, 3]


def test_folds_of_several_people_cover_everything_once():
    subjects = [f"{i % 7:02d}" for i in range(70)]
    folds = subject_folds(subjects, num_folds=3)
    assert sorted(i for fold in folds for i in fold.test) == list(range(70))
    for fold in folds:
        assert not {subjects[i] for i in fold.train} & {subjects[i] for i in fold.test}


def test_splits_need_people():
    with pytest.raises(DataError, match="1 of 2 clips name no subject"):
        subject_folds(["a", ""])
    with pytest.raises(DataError, match="at least 2"):
        subject_folds(["a", "a"])


def test_a_leak_is_refused():
    import numpy as np

    with pytest.raises(DataError, match="ann on both sides"):
        check_leak(["ann", "bob", "ann"], Fold("x", np.array([0, 1]), np.array([2])))
