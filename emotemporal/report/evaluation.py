"""An evaluation to read: a table for the terminal; a folder with a report in Markdown and pictures.

An evaluation is the document that `emotemporal evaluate --json` prints: measures of every aggregation under
its name, or of faces at the top.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table

from emotemporal.errors import OutputError
from emotemporal.files import replacing, save_json
from emotemporal.labelling.aggregation import AGGREGATIONS
from emotemporal.labelling.calibration import risk_coverage
from emotemporal.report.plots import plot_confusion, plot_reliability, plot_risk_coverage, save_figure

Document = Mapping[str, Any]
Beliefs = Mapping[str, tuple[np.ndarray, np.ndarray]]
"""Aggregation, or `frames` -> probabilities (N, C) and true classes (N,) of what has a prediction."""

_FRAMES = "frames"
_MEASURES = {
    "accuracy": "accuracy (weighted recall, WAR)",
    "uar": "unweighted recall (UAR)",
    "macro_f1": "macro-F1",
    "ece": "calibration error (ECE, 15 bins)",
}
_NUM_CONFUSIONS = 5


def write_evaluation(folder: str | Path, document: Document, beliefs: Beliefs) -> None:
    """Write `report.md`, `report.json` and the pictures that the former shows; the folder is made.

    Args:
        folder: its files of the same names are replaced.
        document: the evaluation.
        beliefs: for the pictures of calibration; empty arrays where no clip shows a face.
    Raises:
        OutputError: something cannot be written.
    """
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"cannot write {folder}: {error.strerror or error}") from error
    pictures = _write_pictures(folder, document, beliefs)
    save_json(folder / "report.json", document)
    with replacing(folder / "report.md") as temporary:
        temporary.write_text(evaluation_markdown(document, beliefs, pictures), encoding="utf-8")


def evaluation_markdown(document: Document, beliefs: Beliefs, pictures: Sequence[str] = ()) -> str:
    """Return the report; `pictures` are files beside it."""
    columns = _columns(document)
    parts = [
        [f"# {_title(document)}"],
        _facts(document, columns),
        ["## Measures", *_measures(document, columns, beliefs)],
        ["## Recall by emotion", *_recalls(document, columns)],
    ]
    if len(next(iter(columns.values())).get("per_subject", ())) > 1:
        parts.append(["## People", *_people(columns)])
    folds = set(next(iter(document["folds"].values()))["accuracy"]) if "folds" in document else set()
    # Of one person held out at a time, folds are people.
    if folds - set(next(iter(columns.values())).get("per_subject", ())):
        parts.append(["## Folds", *_folds(document)])
    if "coverage" in document:
        parts.append(["## Confidence and coverage", *_coverage(document)])
    parts.append(["## Hardest confusions", *_confusions(document, columns)])
    if pictures:
        parts.append(["## Pictures", *(f"![{Path(name).stem}]({name})" for name in pictures)])
    if "settings" in document:
        parts.append(["## Settings", f"```json\n{json.dumps(document['settings'], indent=2)}\n```"])
    return "\n\n".join("\n\n".join(part) for part in parts) + "\n"


def print_evaluation(document: Document, console: Console) -> None:
    """Print the measures as a table."""
    facts = [document["protocol"], document["split"], document["label_set"] or "own labels"]
    facts.append(f"{document['num']} items")
    if document["num_left_out"]:
        facts.append(f"{document['num_left_out']} left out")
    if _num_runs(document) > 1:
        facts.append(f"means of {_num_runs(document)} seeds")
    console.print(" · ".join(facts), highlight=False)
    columns = _columns(document)
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("")
    for name in columns:
        table.add_column(name, justify="right")
    for key in _MEASURES:
        table.add_row(key, *(_with_deviation(found, key, "{:.4f}".format) for found in columns.values()))
    for emotion in document["labels"]:
        recalls = [found["per_class_recall"][emotion] for found in columns.values()]
        table.add_row(f"recall {emotion}", *("–" if r is None else f"{r:.3f}" for r in recalls))
    console.print(table)
    for name, found in columns.items():
        if found.get("interval"):
            low, high = found["interval"]
            console.print(f"{name}: 95 % interval of the accuracy {low:.3f} to {high:.3f}", highlight=False)
    if "coverage" in document:
        coverage = Table(box=None, pad_edge=False, header_style="dim")
        coverage.add_column("confidence from")
        for name in document["coverage"]:
            coverage.add_column(name, justify="right")
        for least, cells in _coverage_rows(document).items():
            coverage.add_row(least, *cells)
        console.print(coverage)
    for name, found in document.get("folds", {}).items():
        mean, spread, num = found["mean"], found["deviation"], len(found["accuracy"])
        console.print(f"{name}: {num} folds, accuracy {mean:.3f} ± {spread:.3f}", highlight=False)


def _columns(document: Document) -> dict[str, Document]:
    return {name: document[name] for name in AGGREGATIONS if name in document} or {_FRAMES: document}


def _num_runs(document: Document) -> int:
    return len(document.get("runs", ()))


def _items(document: Document) -> str:
    return "faces" if _FRAMES in _columns(document) else "clips"


def _title(document: Document) -> str:
    if "checkpoint" in document:
        return f"Evaluation of {document['checkpoint']['name']}"
    return f"Cross-validation of {', '.join(Path(run['folder']).name for run in document['runs'])}"


def _facts(document: Document, columns: Mapping[str, Document]) -> list[str]:
    items = _items(document)
    facts = [
        f"protocol {document['protocol']}, split {document['split']}",
        f"{document['num']} {items}; label set {document['label_set'] or 'of its own'}: "
        f"{', '.join(document['labels'])}",
    ]
    if missing := next(iter(columns.values()))["num_without_prediction"]:
        facts.append(f"{missing} {items} without a face: they count as errors")
    if document["num_left_out"]:
        facts.append(f"{document['num_left_out']} {items} left out: they show none of these emotions")
    if document.get("num_trained_on"):
        facts.append(
            f"**no fair measure**: the head was trained on {document['num_trained_on']} of the clips"
        )
    if document.get("num_skipped"):
        facts.append(f"{document['num_skipped']} malformed rows skipped")
    if document.get("flip"):
        facts.append("each face averaged with its mirror image")
    if "checkpoint" in document:
        identity = document["checkpoint"]
        facts.append(f"checkpoint {identity['name']}, sha256 `{identity['sha256']}`, {identity['licence']}")
        facts.append(f"data `{document['data']}`")
    for run in document.get("runs", ()):
        fact = f"run `{run['folder']}`, seed {run['seed']}, every clip by a head that has not seen it"
        if run["checkpoint"]:
            fact += f"; the head trained on all of them afterwards: sha256 `{run['checkpoint']['sha256']}`"
        facts.append(fact)
    return ["\n".join(f"- {fact}" for fact in facts)]


def _measures(document: Document, columns: Mapping[str, Document], beliefs: Beliefs) -> list[str]:
    found = columns.values()
    formats = {"accuracy": _percent, "uar": _percent}
    rows = {
        title: [_with_deviation(one, key, formats.get(key, "{:.3f}".format)) for one in found]
        for key, title in _MEASURES.items()
    }
    rows["mean confidence"] = [
        _percent(beliefs[name][0].max(axis=1).mean()) if len(beliefs[name][0]) else "–" for name in columns
    ]
    notes = []
    if any(one.get("interval") for one in found):
        rows["95 % interval of the accuracy"] = [
            "{} – {}".format(*map(_percent, one["interval"])) if one.get("interval") else "–" for one in found
        ]
        people = f"The interval is a bootstrap over the {len(next(iter(found))['per_subject'])} people"
        of_seeds = "; of the accuracy averaged over seeds, not of averaged probabilities"
        notes.append(f"{people}{of_seeds if _num_runs(document) > 1 else ''}.")
    if _num_runs(document) > 1:
        for i, run in enumerate(document["runs"]):
            rows[f"accuracy, seed {run['seed']}"] = [_percent(one["per_run"]["accuracy"][i]) for one in found]
        notes.append("Measures are means over seeds, ± the standard deviation of one seed.")
    for name, one in columns.items():
        if len(beliefs[name][0]):
            notes.append(_trust(name, one, beliefs[name]))
    return [_table(columns, rows), "\n".join(f"- {note}" for note in notes)]


def _trust(name: str, found: Document, belief: tuple[np.ndarray, np.ndarray]) -> str:
    """Say in words how confidence and accuracy compare, among what has a prediction."""
    probs, labels = belief
    confidence = probs.max(axis=1).mean()
    right = (probs.argmax(axis=1) == labels).mean()
    gap = confidence - right
    words = "too sure" if gap > 0 else "not sure enough"
    share = f"{abs(100 * gap):.1f} points"
    return f"`{name}` is on average {words} by {share}; calibration error {found['ece']:.3f}."


def _recalls(document: Document, columns: Mapping[str, Document]) -> list[str]:
    nums = next(iter(columns.values()))["per_class_num"]
    rows = {
        f"{emotion} ({nums[emotion]})": [
            _percent(one["per_class_recall"][emotion]) for one in columns.values()
        ]
        for emotion in document["labels"]
    }
    return [_table(columns, rows)]


def _people(columns: Mapping[str, Document]) -> list[str]:
    found = list(columns.values())
    names = list(found[0]["per_subject"])
    rows = {name: [_percent(one["per_subject"][name]) for one in found] for name in names}
    values = [np.array(list(one["per_subject"].values())) for one in found]
    rows["**mean of people**"] = [_percent(of.mean()) for of in values]
    rows["**standard deviation**"] = [_percent(one["subject_deviation"]) for one in found]
    rows["**lowest – highest**"] = [f"{_percent(of.min())} – {_percent(of.max())}" for of in values]
    return ["Accuracy of each person's clips.", _table(columns, rows)]


def _folds(document: Document) -> list[str]:
    folds = document["folds"]
    names = list(next(iter(folds.values()))["accuracy"])
    rows = {name: [_percent(found["accuracy"][name]) for found in folds.values()] for name in names}
    rows["**mean of folds**"] = [_percent(found["mean"]) for found in folds.values()]
    rows["**standard deviation**"] = [_percent(found["deviation"]) for found in folds.values()]
    return ["Accuracy of each part held out.", _table(folds, rows)]


def _coverage(document: Document) -> list[str]:
    note = (
        "Clips that keep their label where those of lower confidence are called uncertain (`predict-clip "
        "--min-confidence`), and how many of the kept labels are right."
    )
    return [note, _table(document["coverage"], _coverage_rows(document))]


def _coverage_rows(document: Document) -> dict[str, list[str]]:
    """Return for each least confidence what is kept, and how much of that is right, of each aggregation."""
    columns = document["coverage"].values()
    return {
        f"{rows[0]['min_confidence']:.1f}": [
            f"{_percent(row['coverage'])} kept, {_percent(row['accuracy'])} right" for row in rows
        ]
        for rows in zip(*columns, strict=True)
    }


def _confusions(document: Document, columns: Mapping[str, Document]) -> list[str]:
    lines = []
    for name, found in columns.items():
        pairs = hardest_confusions(found["confusion"], document["labels"])
        words = [f"{true} taken for {said} {num} of {of} ({num / of:.0%})" for true, said, num, of in pairs]
        lines.append(f"- `{name}`: {'; '.join(words) or 'none'}")
    note = ["Counts are summed over seeds."] if _num_runs(document) > 1 else []
    return [*note, "\n".join(lines)]


def hardest_confusions(
    confusion: Sequence[Sequence[int]], labels: Sequence[str], *, num: int = _NUM_CONFUSIONS
) -> list[tuple[str, str, int, int]]:
    """Return the errors that take the largest share of their emotion.

    Args:
        confusion: int (C, C), rows of truth, columns of what was predicted.
        labels: the C emotions.
        num: at most so many.
    Returns: (true emotion, predicted emotion, how often, of how many), the largest share first.
    """
    counts = np.asarray(confusion)
    support = counts.sum(axis=1)
    errors = counts * ~np.eye(len(labels), dtype=bool)
    shares = errors / np.maximum(support, 1)[:, None]
    order = np.argsort(-shares, axis=None, kind="stable")[:num]
    found = [np.unravel_index(i, counts.shape) for i in order]
    return [
        (labels[row], labels[column], int(counts[row, column]), int(support[row]))
        for row, column in found
        if errors[row, column]
    ]


def _write_pictures(folder: Path, document: Document, beliefs: Beliefs) -> list[str]:
    items, written = _items(document), []

    def save(figure: Figure, name: str) -> None:
        save_figure(figure, folder / name)
        written.append(name)

    for name, found in _columns(document).items():
        ending = "" if name == _FRAMES else f"_{name}"
        title = f"{name}: {document['num']} {items}, accuracy {_percent(found['accuracy'])}"
        if _num_runs(document) > 1:
            title += f", {_num_runs(document)} seeds together"
        if found["num_without_prediction"]:
            # They stand in no column of the matrix, but count as errors.
            title += f"\n{found['num_without_prediction']} {items} without a face are not shown"
        save(plot_confusion(found["confusion"], document["labels"], title=title), f"confusion{ending}.png")
        probs, labels = beliefs[name]
        if not len(probs):
            continue
        save(plot_reliability(probs, labels, title=title, items=items), f"reliability{ending}.png")
        if name == _FRAMES:
            curve = risk_coverage(probs, labels)
            save(plot_risk_coverage({"by confidence": curve}, title=title), "risk_coverage.png")
    return written


def _table(columns: Mapping[str, Any], rows: Mapping[str, Sequence[str]]) -> str:
    lines = [f"| | {' | '.join(columns)} |", "|---|" + "---:|" * len(columns)]
    # A name may hold the sign that parts cells.
    lines += [f"| {name.replace('|', chr(92) + '|')} | {' | '.join(cells)} |" for name, cells in rows.items()]
    return "\n".join(lines)


def _with_deviation(found: Document, key: str, text: Callable[[float], str]) -> str:
    """Return a measure, with its standard deviation over seeds where there are several."""
    if found[key] is None:
        return "–"
    deviation = found.get("deviation", {}).get(key)
    return text(found[key]) if deviation is None else f"{text(found[key])} ± {text(deviation)}"


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{share:.1%}".replace("%", " %")
