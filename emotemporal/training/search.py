"""Search settings of a temporal head by cross-validation over people, one trial after another."""

import csv
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lightning.fabric import Fabric

from emotemporal.datasets.sequences import ClipSequence
from emotemporal.datasets.splits import Fold, split_clips
from emotemporal.errors import DataError, TrainingError
from emotemporal.files import replacing, save_json
from emotemporal.models.classifier import EmotionClassifier
from emotemporal.training.clip import calibrate_folds, cross_validate, load_clips, load_simulated, open_inputs
from emotemporal.training.config import SearchConfig
from emotemporal.training.engine import RunFolder, make_fabric, settings_of
from emotemporal.training.evaluation import clip_report, predict_clips
from emotemporal.training.heads import trained_labels
from emotemporal.training.space import Trial

_MEASURES = ("accuracy", "uar", "macro_f1", "ece")


@dataclass(frozen=True)
class TrialResult:
    """What became of one trial."""

    number: int
    settings: Mapping[str, Any]
    seconds: float
    """Of its trainings and predictions, without loading the clips."""
    measures: Mapping[str, float]
    """Of the head on the people held out: accuracy, uar, macro_f1, ece; empty where it failed."""
    interval: Sequence[float] | None
    """Of the accuracy: 95 %, bootstrap over people."""
    error: str = ""
    """Why it failed."""

    @property
    def accuracy(self) -> float:
        """From 0 to 1; -1 where it failed, so that these come last."""
        return self.measures.get("accuracy", -1.0)


@dataclass(frozen=True)
class SearchResult:
    """All trials, those of the highest accuracy first, of equal ones the earliest."""

    trials: Sequence[TrialResult]
    num_clips: int
    subjects: Sequence[str]
    """Who was held out in turn."""
    others: Sequence[str]
    """Who else is in the store."""
    sum_accuracy: float
    """Of the same clips by the frames' summed probabilities, without a head."""


def search_clip(
    config: SearchConfig, trials: Sequence[Trial], *, on_line: Callable[[str], None] = print
) -> SearchResult:
    """Measure every trial on the people of `config.subjects`; finished ones are not run again.

    The run folder receives `trials/<number>.json` as each is finished, and `trials.csv` of all.

    Args:
        config: the search.
        trials: as `draw_trials` makes them of it.
        on_line: receives one line for each trial.
    Raises:
        DataError: the store, its labels or the people named do not fit.
        CheckpointError: the frame checkpoint cannot be used.
        UsageError: the folder holds another search.
    """
    frame, store, inputs = open_inputs(config)
    people = {row.subject for row in store.read_index()}
    absent = [name for name in config.subjects if name not in people]
    if absent:
        found = ", ".join(sorted(people))
        raise DataError(f"{config.store}: has no clips of subjects {', '.join(absent)}, only of {found}")
    fabric = make_fabric(config.run)
    folder = RunFolder(config.run, settings_of(config), inputs)
    classifier, clips = load_clips(config, frame, store, fabric, on_line)
    simulated = load_simulated(config, classifier, on_line)
    folds = split_clips(config.protocol, clips, num_folds=config.num_folds)
    results = []
    for trial in trials:
        path = folder.path / "trials" / f"{trial.number:04d}.json"
        if path.exists():
            result = _read(path)
        else:
            result = _run_trial(trial, clips, simulated, folds, classifier, fabric)
            path.parent.mkdir(exist_ok=True)
            save_json(path, asdict(result))
        results.append(result)
        on_line(f"trial {trial.number} of {len(trials)}: {_told(result)}")
    folder.close()
    results.sort(key=lambda result: -result.accuracy)
    _write_table(folder.path / "trials.csv", results)
    measured = sorted({clip.subject for clip in clips})
    return SearchResult(
        trials=results,
        num_clips=len(clips),
        subjects=measured,
        others=sorted(people - set(measured)),
        sum_accuracy=_sum_accuracy(clips, classifier),
    )


def _run_trial(
    trial: Trial,
    clips: Sequence[ClipSequence],
    simulated: Sequence[ClipSequence],
    folds: Sequence[Fold],
    classifier: EmotionClassifier,
    fabric: Fabric,
) -> TrialResult:
    started = time.monotonic()
    try:
        found = cross_validate(trial.config, clips, folds, classifier, fabric, simulated=simulated)
    except TrainingError as error:
        # Settings under which a training breaks down are a finding; the others go on.
        return TrialResult(trial.number, trial.settings, time.monotonic() - started, {}, None, str(error))
    predictions = calibrate_folds(found, trained_labels(clips))
    head = clip_report(predictions, classifier.labels, ["head"])["aggregations"]["head"]
    return TrialResult(
        number=trial.number,
        settings=trial.settings,
        seconds=time.monotonic() - started,
        measures={name: head[name] for name in _MEASURES},
        interval=head["interval"],
    )


def _read(path: Path) -> TrialResult:
    try:
        return TrialResult(**json.loads(path.read_text()))
    except (OSError, ValueError, TypeError) as error:
        raise TrainingError(f"{path}: damaged ({error}); delete it to run the trial anew") from error


def _told(result: TrialResult) -> str:
    settings = ", ".join(f"{name} {value}" for name, value in result.settings.items())
    if result.error:
        return f"{settings}: failed ({result.error})"
    return f"{settings}: accuracy {result.accuracy:.3f}, {result.seconds:.0f} s"


def _sum_accuracy(clips: Sequence[ClipSequence], classifier: EmotionClassifier) -> float:
    found = clip_report(predict_clips(classifier, clips), classifier.labels, ["sum"])
    return float(found["aggregations"]["sum"]["accuracy"])


def _write_table(path: Path, results: Sequence[TrialResult]) -> None:
    names = list(results[0].settings)
    with replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(["trial", *names, "accuracy", "low", "high", *_MEASURES[1:], "seconds", "error"])
        for result in results:
            low, high = result.interval or ("", "")
            first, *others = (result.measures.get(name, "") for name in _MEASURES)
            row = [result.number, *result.settings.values(), first, low, high, *others]
            writer.writerow([*row, round(result.seconds, 1), result.error])
