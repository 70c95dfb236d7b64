"""Labelled videos as manifests and folders, faults named."""

import pytest

from emotemporal.datasets.manifest import read_folders, read_table
from emotemporal.datasets.registry import read_clips
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
    items = read_table(write_manifest(tmp_path, text, "a/one.mp4", "two.avi")).items
    assert [(i.clip_id, i.label, i.subject, i.split) for i in items] == [
        ("a__one", "happy", "ann", "train"),
        ("two", "fear", "bob", "test"),
    ]
    assert read_clips(tmp_path).items[0].path == tmp_path / "a/one.mp4"


def test_other_column_names(tmp_path):
    text = "path,actor,sentence,emotion\none.mp4,01,04,surprised\n"
    (item,) = read_table(write_manifest(tmp_path, text, "one.mp4")).items
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
        ("path,label\none.mp4,fear\none.mp4,sad\n", "one.mp4 is listed twice, as fear and sad"),
        ("path,label\none.mp4,fear\n././one.mp4,fear\n", "is listed twice"),
        (
            "path,label\none.mp4,hapy\none.mp4,fear,x\n",
            "line 2: unknown.*, line 3: expected 2 cells, found 3",
        ),
        (
            "path,label\none.mp4,fear\nx.mp4,sad\ny.mp4,sad\n",
            r"2 of 3 videos are missing: .*x\.mp4, .*y\.mp4",
        ),
    ],
)
def test_faulty_manifests(tmp_path, text, match):
    with pytest.raises(DataError, match=match):
        read_table(write_manifest(tmp_path, text, "one.mp4"))


def test_many_missing_videos_are_counted(tmp_path):
    text = "path,label\none.mp4,fear\n" + "".join(f"{i:02d}.mp4,sad\n" for i in range(25))
    with pytest.raises(DataError, match=r"25 of 26 videos are missing: .*19\.mp4 and 5 more$"):
        read_table(write_manifest(tmp_path, text, "one.mp4"))


def test_two_videos_of_one_id(tmp_path):
    text = "path,label\none.mp4,fear\none.avi,fear\n"
    with pytest.raises(DataError, match="would share the id one; rename one"):
        read_table(write_manifest(tmp_path, text, "one.mp4", "one.avi"))


def test_other_columns_are_kept_and_those_of_an_index_are_not(tmp_path):
    text = "clip_id,path,label,mood,movie,num_frames\nx,one.mp4,fear,bad,alien,7\n"
    (item,) = read_table(write_manifest(tmp_path, text, "one.mp4")).items
    assert item.fields == {"mood": "bad"}
    assert (item.clip_id, item.source) == ("one", "alien")


def test_copies_have_one_source(tmp_path):
    for name, content in (("a", "same"), ("b", "same"), ("c", "othr"), ("d", "longer")):
        touch(tmp_path / "fear" / f"{name}.mp4")
        (tmp_path / "fear" / f"{name}.mp4").write_text(content)
    sources = [item.source for item in read_folders(tmp_path).items]
    assert sources == ["fear__a", "fear__a", "fear__c", "fear__d"]


def test_a_binary_file_is_no_manifest(tmp_path):
    path = tmp_path / "manifest.csv"
    path.write_bytes(bytes(range(256)))
    with pytest.raises(DataError, match="not a csv"):
        read_table(path)


def test_ids_cannot_lead_out_of_the_store(tmp_path):
    inner = tmp_path / "inner"
    inner.mkdir()
    touch(tmp_path / "one.mp4")
    (item,) = read_table(write_manifest(inner, "path,label\n../one.mp4,fear\n")).items
    assert item.clip_id == "one"


def test_class_folders_with_and_without_splits(tmp_path):
    touch(tmp_path / "plain" / "Angry" / "a.mp4")
    touch(tmp_path / "plain" / "Fear" / "b.avi")
    touch(tmp_path / "plain" / "Fear" / "notes.txt")
    found = read_folders(tmp_path / "plain").items
    assert [(i.label, i.split) for i in found] == [("angry", ""), ("fear", "")]
    touch(tmp_path / "split" / "train" / "sad" / "a.mp4")
    assert read_folders(tmp_path / "split").items[0].split == "train"


def test_folders_that_are_no_emotions_are_named(tmp_path):
    touch(tmp_path / "holiday" / "a.mp4")
    with pytest.raises(DataError, match="unknown emotion 'holiday'"):
        read_folders(tmp_path)


def test_misspelt_folders_are_named_with_the_nearest(tmp_path):
    touch(tmp_path / "train" / "Supprise" / "a.mp4")
    with pytest.raises(DataError, match=r"a\.mp4: its folder is no emotion: .*did you mean 'surprise'"):
        read_folders(tmp_path)


def test_videos_too_deep(tmp_path):
    touch(tmp_path / "all" / "train" / "fear" / "a.mp4")
    with pytest.raises(DataError, match="too deep"):
        read_folders(tmp_path)


def test_nothing_there(tmp_path):
    with pytest.raises(DataError, match="no such"):
        read_clips(tmp_path / "absent")
