"""Processes that each do one task after the other, and the cores they share."""

import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import get_context, parent_process, resource_tracker
from multiprocessing.connection import Connection, wait
from typing import Any, TypeVar

from emotemporal.errors import EmotemporalError

Task = TypeVar("Task")
Result = TypeVar("Result")

ShareReport = Callable[[float], None]
"""Called with the share of a task that is done, from 0 to 1."""
HandlerFactory = Callable[[], Callable[[Task, ShareReport], Result]]
"""Makes, in each process, what does a task there; picklable, as are tasks and results."""


@dataclass(frozen=True)
class Death:
    """A process ended in the middle of a task."""

    exit_code: int | None

    def __str__(self) -> str:
        if self.exit_code == -signal.SIGKILL:
            return (
                "the process for it was killed, as the system does where memory runs out; "
                "fewer --workers need less"
            )
        return f"a process for it ended with exit code {self.exit_code}"


def available_cores() -> int:
    """Return how many cores this process may use, by its affinity and its container's quota."""
    from joblib import cpu_count

    return cpu_count()


def _unheard(task: Any, share: float) -> None:
    """Report progress to nobody."""


def run_in_processes(
    tasks: Sequence[Task],
    make_handler: HandlerFactory[Task, Result],
    *,
    workers: int,
    on_share: Callable[[Task, float], None] = _unheard,
) -> Generator[tuple[Task, Result | Death], None, None]:
    """Do tasks in processes of their own; close the iterator to end these early.

    They end with this process, too, however that ends.

    Yields: tasks with what became of them, as they are done. A process that dies takes one task with it and
        is replaced.
    Raises:
        EmotemporalError: a handler, or what makes it, raised this very error, which ends all processes; or
            one of them never started.
    """
    waiting = deque(tasks)
    busy: dict[object, _Worker] = {}

    def start() -> None:
        worker = _Worker(make_handler)
        busy[worker.connection] = worker

    try:
        for _ in range(min(workers, len(tasks))):
            start()
        while busy:
            for connection in wait([worker.connection for worker in busy.values()]):
                worker = busy[connection]
                kind, value = worker.receive()
                task = worker.task
                if kind == "share":
                    on_share(task, value)
                    continue
                if waiting and kind != "death":
                    worker.task = waiting.popleft()
                    # If it has died meanwhile, the next look says so.
                    with suppress(BrokenPipeError, ConnectionResetError):
                        worker.connection.send(worker.task)
                else:
                    del busy[connection]
                    worker.end()
                    if waiting:
                        start()
                if kind != "ready":
                    yield task, value
    finally:
        for worker in busy.values():
            worker.end()


class _Worker:
    """A process that does one task at a time, so that it is known on which one it died."""

    def __init__(self, make_handler: HandlerFactory) -> None:
        # A forked child of a process in which networks have run can hang in their threads.
        context = get_context("spawn")
        self.connection, theirs = context.Pipe()
        # A daemon is ended at exit, not waited for, should a second Ctrl-C have cut short what ends it.
        self.process = context.Process(target=_serve, args=(theirs, make_handler), daemon=True)
        with _interrupts_held():
            self.process.start()
        # With this end open its death would go unnoticed.
        theirs.close()
        self.task: Any = None

    def receive(self) -> tuple[str, Any]:
        """Return `ready`, or `share`, `done` or `death` of its task, with what it has to say of that."""
        try:
            kind, value = self.connection.recv()
        except (EOFError, ConnectionResetError):
            self.process.join()
            death = Death(self.process.exitcode)
            if self.task is None:
                raise EmotemporalError(
                    f"a worker ended with exit code {death.exit_code} before it began; try --workers 1"
                ) from None
            return "death", death
        if kind == "stop":
            raise value
        return kind, value

    def end(self) -> None:
        self.connection.close()
        self.process.terminate()
        self.process.join()


@contextmanager
def _interrupts_held() -> Iterator[None]:
    """Keep a terminal's Ctrl-C, which goes to all of its processes, from those started in this block.

    What is blocked stays so in a child, from its first moment; here it arrives when the block ends.
    """
    # Where it is not running yet, starting it would lift the block.
    resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _serve(connection: Connection, make_handler: HandlerFactory) -> None:
    """Do the tasks that come through a connection until this process is ended."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        handle = make_handler()
        connection.send(("ready", None))
        while True:
            task = connection.recv()
            result = handle(task, lambda share: connection.send(("share", share)))
            connection.send(("done", result))
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return
    except EmotemporalError as error:
        connection.send(("stop", error))


def _end_with_parent() -> None:
    parent = parent_process()
    assert parent is not None  # this process was started by another
    parent.join()
    os._exit(1)
