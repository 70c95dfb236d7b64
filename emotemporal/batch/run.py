"""A batch: what is done already, and the rest, here or in processes of its own."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Sequence
from contextlib import closing, suppress
from functools import partial
from pathlib import Path

from emotemporal.batch.jobs import Job, Outcome, Request
from emotemporal.batch.journal import Journal
from emotemporal.files import FolderHold, remove_abandoned
from emotemporal.text import one_line
from emotemporal.video.child import prepare_child
from emotemporal.workers import Death, ShareReport, available_cores, run_in_processes

_SHARE_SECONDS = 0.5

VideoShare = Callable[[Job, float], None]
"""Called with the share of a video that is done, from 0 to 1."""


def choose_workers() -> int:
    """Return how many processes keep all cores busy.

    One alone is 1.8 cores' work: it decodes, follows faces and classifies them at the same time. But it
    waits where a video begins and ends, and that is what one more is for.
    """
    cores = available_cores()
    return cores // 2 + 1 if cores > 1 else 1


def label_videos(
    jobs: Sequence[Job],
    request: Request,
    output_dir: Path,
    *,
    workers: int = 1,
    resume: bool = False,
    on_share: VideoShare = lambda job, share: None,
) -> Generator[Outcome, None, None]:
    """Label videos, and remember in the output folder which are done.

    Results do not depend on the number of workers. Close the iterator to end these early.

    Args:
        jobs: of stems that differ.
        request: what is asked for.
        output_dir: an existing folder.
        workers: processes that label, each one video at a time; 1 stays in this one.
        resume: do not do again what the folder holds already, made of the same file (by its size and time),
            of the same checkpoint, in the same way.
        on_share: called as videos are gone through.
    Yields: what was there, then the others as they are done.
    Raises:
        UsageError: a checkpoint is missing or none, or cannot do what is asked for; or another process
            labels into the folder.
        OutputError: the folder cannot be written to any more; what was written is kept.
        EmotemporalError: a worker does not start.
    """
    hold = FolderHold(output_dir)
    _tidy(output_dir)
    journal = Journal(output_dir, request.fingerprint())
    missing = []
    for job in jobs:
        found = journal.find(job) if resume else None
        if found is None:
            missing.append(job)
        else:
            yield found
    workers = min(workers, len(missing))
    try:
        with closing(_label(missing, request, output_dir, workers, on_share)) as outcomes:
            for outcome in outcomes:
                if outcome.document is not None:
                    journal.add(outcome)
                yield outcome
    finally:
        # Of processes that were ended while they wrote.
        _tidy(output_dir)
        hold.release()


def _label(
    jobs: Sequence[Job], request: Request, output_dir: Path, workers: int, on_share: VideoShare
) -> Generator[Outcome, None, None]:
    make_handler = partial(_make_handler, request, output_dir)
    if workers > 1:
        with closing(run_in_processes(jobs, make_handler, workers=workers, on_share=on_share)) as outcomes:
            for job, found in outcomes:
                if isinstance(found, Death):
                    found = Outcome(job, failure=one_line(f"{job.video}: {found}"))
                yield found
    elif jobs:
        label = make_handler()
        for job in jobs:
            yield label(job, partial(on_share, job))


def _make_handler(request: Request, output_dir: Path) -> Callable[[Job, ShareReport], Outcome]:
    # It starts while this process still loads its networks.
    prepare_child()
    # Of a batch in several processes the first one need not wait for torch.
    from emotemporal.batch.labeller import Labeller

    # Also where there is no other process, so that this makes no difference to any result.
    labeller = Labeller(request, output_dir, one_thread=True)
    stages = ["faces"] + ["plot"] * request.plot + ["overlay"] * request.overlay

    def label(job: Job, report: ShareReport) -> Outcome:
        last = time.monotonic()

        def on_progress(stage: str, done: int, total: int | None) -> None:
            nonlocal last
            now = time.monotonic()
            if total and now - last > _SHARE_SECONDS:
                last = now
                report((stages.index(stage) + min(1.0, done / total)) / len(stages))

        return labeller.label(job, on_progress)

    return label


def _tidy(output_dir: Path) -> None:
    # A folder that cannot be written to is reported where that matters.
    with suppress(OSError):
        remove_abandoned(output_dir)
