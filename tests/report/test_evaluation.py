"""The report of an evaluation: every figure of the document in words, pictures that it shows."""

import json

import numpy as np
import pytest

from emotemporal.report.evaluation import evaluation_markdown, hardest_confusions, write_evaluation

LABELS = ["happy", "sad"]


def measures(accuracy: float, **others) -> dict:
    found = {"num_without_prediction": 1, "accuracy": accuracy, "uar": 0.25, "macro_f1": 0.5, "ece": 0.125}
    found |= {"per_class_recall": {"happy": accuracy, "sad": None}, "confusion": [[3, 1], [2, 0]]}
    found |= {"per_class_num": {"happy": 4, "sad": 3}}
    found |= {"interval": [0.1, 0.9], "per_subject": {"ann": 0.5, "b|b": 1.0}, "subject_deviation": 0.354}
    return found | others


@pytest.fixture
def document():
    return {
        "protocol": "clips",
        "split": "all",
        "checkpoint": {"name": "toy", "sha256": "ab" * 32, "licence": "MIT"},
        "data": "videos",
        "label_set": "binary",
        "num": 7,
        "num_left_out": 2,
        "num_trained_on": 3,
        "labels": LABELS,
        "sum": measures(0.75),
        "vote": measures(0.625, ece=None),
        "coverage": {
            "sum": [
                {"min_confidence": 0.5, "coverage": 0.25, "num_kept": 2, "accuracy": 0.5},
                {"min_confidence": 0.9, "coverage": 0.0, "num_kept": 0, "accuracy": None},
            ]
        },
    }


@pytest.fixture
def beliefs():
    probs, nothing = np.array([[0.9, 0.1], [0.7, 0.3]]), (np.zeros((0, 2)), np.zeros(0, int))
    return {"sum": (probs, np.array([0, 1])), "vote": nothing}


def test_every_figure_in_words(document, beliefs):
    text = evaluation_markdown(document, beliefs)
    for line in (
        "# Evaluation of toy",
        "- 7 clips; label set binary: happy, sad",
        "- 1 clips without a face: they count as errors",
        "- 2 clips left out: they show none of these emotions",
        "- **no fair measure**: the head was trained on 3 of the clips",
        "| | sum | vote |",
        "| accuracy (weighted recall, WAR) | 75.0 % | 62.5 % |",
        "| calibration error (ECE, 15 bins) | 0.125 | – |",
        "| mean confidence | 80.0 % | – |",
        "| 95 % interval of the accuracy | 10.0 % – 90.0 % | 10.0 % – 90.0 % |",
        "- The interval is a bootstrap over the 2 people.",
        "- `sum` is on average too sure by 30.0 points; calibration error 0.125.",
        "| happy (4) | 75.0 % | 62.5 % |",
        "| 0.5 | 25.0 % kept, 50.0 % right |",
        "| 0.9 | 0.0 % kept, – right |",
        "| sad (3) | – | – |",
        r"| b\|b | 100.0 % | 100.0 % |",
        "| **mean of people** | 75.0 % | 75.0 % |",
        "| **standard deviation** | 35.4 % | 35.4 % |",
        "- `sum`: sad taken for happy 2 of 2 (100%); happy taken for sad 1 of 4 (25%)",
    ):
        assert line in text.splitlines()
    assert f"sha256 `{'ab' * 32}`" in text


def test_several_seeds_are_told_apart(document, beliefs):
    runs = [{"folder": f"runs/{seed}", "seed": seed, "checkpoint": None} for seed in (4, 5)]
    several = {"per_run": {"accuracy": [0.5, 1.0]}, "deviation": {"accuracy": 0.3536}}
    del document["checkpoint"], document["vote"]
    document |= {"runs": runs, "settings": {"epochs": 3}, "sum": measures(0.75, **several)}
    lines = evaluation_markdown(document, beliefs).splitlines()
    assert "# Cross-validation of 4, 5" in lines
    assert "| accuracy (weighted recall, WAR) | 75.0 % ± 35.4 % |" in lines
    assert "| accuracy, seed 5 | 100.0 % |" in lines
    assert any("averaged over seeds, not of averaged probabilities" in line for line in lines)
    assert '  "epochs": 3' in lines


def test_one_person_is_no_spread(document, beliefs):
    assert "## People" in evaluation_markdown(document, beliefs)
    for name in ("sum", "vote"):
        document[name] |= {"per_subject": {"ann": 0.75}, "subject_deviation": None, "interval": None}
    assert "## People" not in evaluation_markdown(document, beliefs)


def test_folds_are_shown_where_they_are_not_people(document, beliefs):
    del document["vote"]
    of_people = {"accuracy": {"ann": 0.5, "b|b": 1.0}, "mean": 0.75, "deviation": 0.354}
    assert "## Folds" not in evaluation_markdown(document | {"folds": {"sum": of_people}}, beliefs)
    of_parts = {"accuracy": {"1-2": 0.5, "3-4": 1.0}, "mean": 0.75, "deviation": 0.354}
    text = evaluation_markdown(document | {"folds": {"sum": of_parts}}, beliefs)
    assert "| 3-4 | 100.0 % |" in text.splitlines()


def test_the_pictures_are_those_that_the_report_shows(document, beliefs, tmp_path):
    write_evaluation(tmp_path / "new", document, beliefs)
    files = {path.name for path in (tmp_path / "new").iterdir()}
    # No calibration of what has no prediction.
    pictures = {"confusion_sum.png", "confusion_vote.png", "reliability_sum.png"}
    assert files == pictures | {"report.md", "report.json"}
    text = (tmp_path / "new" / "report.md").read_text()
    assert {line.split("(")[1][:-1] for line in text.splitlines() if line.startswith("![")} == pictures
    assert json.loads((tmp_path / "new" / "report.json").read_text()) == document


def test_hardest_confusions_by_share_of_the_emotion():
    confusion = [[10, 5, 0], [1, 0, 1], [0, 0, 9]]
    found = hardest_confusions(confusion, ("a", "b", "c"), num=3)
    assert found == [("b", "a", 1, 2), ("b", "c", 1, 2), ("a", "b", 5, 15)]
    assert hardest_confusions(np.diag([3, 0, 2]), ("a", "b", "c")) == []
