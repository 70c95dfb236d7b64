"""What benchmarks record of themselves; what they measure is no test."""

import importlib
import json
import re
from pkgutil import resolve_name

import numpy as np
import pytest

from emotemporal.datasets.splits import Fold


@pytest.fixture
def benchmark(root, monkeypatch):
    """Import a script of `benchmarks/` by name."""
    monkeypatch.syspath_prepend(root / "benchmarks")
    return importlib.import_module


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        (["benchmarks/a.py", "runs/none", "--seeds", "3"], "benchmarks/a.py runs/none --seeds 3"),
        (["{root}/benchmarks/speed.py", "{root}/runs/new"], "benchmarks/speed.py runs/new"),
        (["a.py", "{shared}/data/x.csv"], "a.py ../shared/data/x.csv"),
        (
            ["a.py", "--cache={shared}/data", "--cache", "/other/place"],
            "a.py --cache=../shared/data --cache /other/place",
        ),
        (["a.py", "two words", ""], "a.py 'two words' ''"),
    ],
)
def test_commands_are_recorded_as_given_in_the_root(benchmark, root, argv, expected):
    results = benchmark("results")
    shared = root.parent / "shared"
    for place in (shared, shared.resolve()):
        given = [word.format(root=root, shared=place) for word in argv]
        assert results.recorded_command(given) == f"python {expected}"


def test_paths_given_elsewhere_are_told_from_the_root(benchmark, root, monkeypatch):
    monkeypatch.chdir(root / "benchmarks")
    command = benchmark("results").recorded_command(["speed.py", "../examples", "6fold"])
    assert command == "python benchmarks/speed.py examples 6fold"


def test_a_result_says_where_it_comes_from(benchmark, root, tmp_path, monkeypatch):
    monkeypatch.setattr("sys.argv", [str(root / "benchmarks" / "speed.py"), str(root / "examples")])
    benchmark("results").write_result("toy", 0.5, unit="share", details={"num": 2}, folder=tmp_path)
    document = json.loads((tmp_path / "toy.json").read_text())
    assert document["command"] == "python benchmarks/speed.py examples"
    assert (document["value"], document["interval"], document["details"]) == (0.5, None, {"num": 2})


def test_java_sed_tells_each_seed(benchmark):
    head = {
        key: key for key in ("num", "uar", "macro_f1", "ece", "per_class_recall", "per_subject", "interval")
    }
    head |= {"accuracy": 0.5, "per_run": {"accuracy": [0.4, 0.6]}, "deviation": {"accuracy": 0.14}}
    head |= {"subject_deviation": 0.2, "confusion": []}
    measured = {"gru": {"head": head, "sum": head}, "bigru": {"head": head | {"accuracy": 0.7}}}
    java_sed = benchmark("java_sed")
    details = java_sed.details_of("head", "gru", measured)
    assert details["per_run"] == {"accuracy": [0.4, 0.6]}
    assert {kind: found["accuracy"] for kind, found in details["other_kinds"].items()} == {
        "gru": 0.5,
        "bigru": 0.7,
    }
    assert "other_kinds" not in java_sed.details_of("sum", "gru", measured)


def test_ravdess_means_over_seeds_by_hand(benchmark):
    ravdess = benchmark("ravdess_landmarks")
    labels, actors = np.array([0, 1, 0, 1]), np.array([1, 1, 2, 2])
    right, wrong = np.eye(8)[labels], np.eye(8)[labels]
    wrong[2:] = np.eye(8)[2]
    clips = ravdess.Clips(np.zeros((2, 4, 1)), [], labels, actors, np.ones(4, int))
    folds = [Fold(str(i), np.flatnonzero(actors != i), np.flatnonzero(actors == i)) for i in (1, 2)]
    rows = ravdess.summarise({("gru", 0): right, ("gru", 1): wrong, ("svm", 0): wrong}, clips, folds)
    assert rows["gru"]["per_seed"] == [1.0, 0.5]
    assert rows["gru"]["accuracy"] == 0.75
    assert rows["gru"]["deviation"] == pytest.approx(0.3536, abs=1e-4)
    assert rows["gru"]["per_fold"] == [1.0, 0.5]
    assert rows["svm"]["deviation"] is None


def test_afew2_means_over_seeds_by_hand(benchmark):
    afew2 = benchmark("afew2")
    truth = np.tile(np.arange(7), 2)
    right, half = np.eye(7)[truth], np.eye(7)[np.where(np.arange(14) < 7, truth, (truth + 1) % 7)]
    outcomes = [afew2.Outcome(right, probs, {"epochs": i}) for i, probs in enumerate((right, half))]
    found = afew2._measure(outcomes, truth, truth)
    assert found["per_seed"] == [1.0, 0.5]
    assert found["accuracy"] == 0.75
    assert found["per_class_recall"]["fear"] == 0.75
    assert found["train_accuracy"] == 1.0
    assert found["settings"] == [{"epochs": 0}, {"epochs": 1}]
    low, high = found["interval"]
    assert 0.5 <= low < 0.75 < high <= 1


def test_what_they_replace_in_the_package_is_there(root):
    named = re.compile(r'"(emotemporal(?:\.\w+)+)"')
    found = [
        name for script in (root / "benchmarks").glob("*.py") for name in named.findall(script.read_text())
    ]
    assert len(found) > 10
    for name in found:
        assert resolve_name(name) is not None, name
