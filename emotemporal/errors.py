"""Every error a user can meet, as one small tree.

The message of each is a single line that says what failed, what was found and what to do;
the command line prints it as it stands, without a traceback.
"""

from emotemporal.text import one_line


class EmotemporalError(Exception):
    """Base of all errors this package raises on purpose.

    Args:
        message: of which names with line breaks or a terminal's commands make one plain line all the same,
            without the passwords of addresses.
    """

    def __init__(self, message: str) -> None:
        super().__init__(one_line(message))


class InputError(EmotemporalError):
    """An input cannot be used: missing, unreadable, or not what it claims to be."""


class VideoError(InputError):
    """A video or picture cannot be read."""


class DataError(InputError):
    """A training table, manifest or crop store is malformed."""


class CheckpointError(InputError):
    """A checkpoint is missing, damaged, or of another kind."""


class OutputError(EmotemporalError):
    """A result cannot be written."""


class TrainingError(EmotemporalError):
    """A training cannot go on; its last good state is kept."""


class UsageError(EmotemporalError):
    """The command or call itself is wrong; nothing was started."""


OUT_OF_MEMORY = "memory ran out; end other programs, or run with fewer --workers"
_OF_MEMORY = ("allocate memory", "out of memory", "bad_alloc", "bad allocation")


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an exception, by any library, says that there is no memory left."""
    if isinstance(error, MemoryError):
        return True
    return isinstance(error, RuntimeError | OSError) and any(words in str(error) for words in _OF_MEMORY)
