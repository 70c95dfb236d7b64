"""Splits hold people and source videos out, and refuse what would stand on both sides."""

import numpy as np
import pytest

from emotemporal.datasets.splits import (
    PROTOCOLS,
    RAVDESS_5FOLD,
    RAVDESS_6FOLD,
    Fold,
    check_leak,
    make_folds,
    subject_folds,
    train_validation_fold,
)
from emotemporal.errors import DataError

ACTORS = [f"{actor:02d}" for actor in range(1, 25) for _ in range(3)]


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


def test_the_published_actor_lists_are_whole():
    for groups in (RAVDESS_5FOLD, RAVDESS_6FOLD):
        assert sorted(actor for group in groups for actor in group) == list(range(1, 25))
    assert [len(group) for group in RAVDESS_5FOLD] == [5, 5, 5, 5, 4]
    assert RAVDESS_6FOLD[0] == (1, 2, 3, 4)
    assert RAVDESS_6FOLD[5] == (21, 22, 23, 24)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_every_protocol_by_name(protocol):
    splits = ["train" if int(actor) < 20 else "val" for actor in ACTORS]
    sources = [str(i) for i in range(len(ACTORS))]
    folds = make_folds(protocol, subjects=ACTORS, sources=sources, splits=splits, num_folds=4)
    expected = {"leave-one-subject-out": 24, "subject-folds": 4, "ravdess-6fold": 6, "ravdess-5fold": 5}
    assert len(folds) == expected.get(protocol, 1)
    if protocol != "train-validation":
        assert sorted(i for fold in folds for i in fold.test) == list(range(len(ACTORS)))
    for fold in folds:
        assert len(fold.train) + len(fold.test) == len(ACTORS)
        assert not {ACTORS[i] for i in fold.train} & {ACTORS[i] for i in fold.test}


def test_ravdess_folds_need_its_actors():
    given = {"sources": [], "splits": []}
    folds = make_folds("ravdess-5fold", subjects=ACTORS, **given)
    assert {ACTORS[i] for i in folds[0].test} == {"02", "05", "14", "15", "16"}
    with pytest.raises(DataError, match="1 to 24, found 25, ann"):
        make_folds("ravdess-6fold", subjects=[*ACTORS, "ann", "25"], **given)
    with pytest.raises(DataError, match="actors 1-2-3-4 together"):
        make_folds("ravdess-6fold", subjects=["01", "02"], **given)


def test_the_data_sets_own_split_leaves_the_test_clips_alone():
    fold = train_validation_fold(["Train", "val", "test", "train"])
    assert fold.train.tolist() == [0, 3]
    assert fold.test.tolist() == [1]
    with pytest.raises(DataError, match="found 1 of '', 2 of 'train'"):
        train_validation_fold(["train", "", "train"])


def test_leaks_are_refused_and_named():
    fold = Fold("x", np.array([0, 1]), np.array([2]))
    with pytest.raises(DataError, match="fold x: subjects on both sides of the split: ann"):
        check_leak(fold, subjects=["ann", "bob", "ann"])
    with pytest.raises(DataError, match="source videos on both sides of the split: film"):
        check_leak(fold, subjects=["ann", "bob", "cid"], sources=["film", "b", "film"])
    check_leak(fold, subjects=["", "", ""], sources=["a", "b", "c"])


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_no_protocol_tears_a_source_apart(protocol):
    splits = ["train"] * 60 + ["validation"] * 12
    sources = [str(i) for i in range(len(ACTORS))]
    sources[-1] = sources[0]
    with pytest.raises(DataError, match="source videos on both sides of the split: 0"):
        make_folds(protocol, subjects=ACTORS, sources=sources, splits=splits)


def test_a_person_in_both_of_the_data_sets_splits():
    with pytest.raises(DataError, match="subjects on both sides of the split: ann"):
        train_validation_fold(["train", "val"], subjects=["ann", "ann"])


def test_no_name_of_a_person_leads_out_of_the_folder_of_folds(tmp_path):
    people = ["../../x", "/etc/passwd", "..", ".", "a/b", "a%2Fb", "a\\b", "nul\0", "Zoë 1"]
    names = [fold.name for fold in subject_folds(people)]
    assert len(set(names)) == len(people)
    assert "Zoë 1" in names
    for name in names:
        assert (tmp_path / name).resolve().parent == tmp_path.resolve()
