"""How far a long task has come, told to whoever wants to show it."""

from collections.abc import Callable

Progress = Callable[[str, int, int | None], None]
"""Called with the stage's name, how many frames or clips are done, and of how many where that is known."""


def silent(stage: str, done: int, total: int | None) -> None:
    """Report progress to nobody."""
