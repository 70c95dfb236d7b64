"""Damage files on purpose: cut off, with flipped bytes, swapped chunks, or headers that lie."""

import random
import struct
from collections.abc import Callable

NUM_CUTS = 200
"""Offsets, evenly spread, at which a file is cut off."""
_EXTREMES = (0, 1, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
_HEADER_BYTES = 2048


def cut(content: bytes, number: int) -> bytes:
    """Return the beginning of a file, up to the offset of that number among `NUM_CUTS`."""
    return content[: 1 + number % NUM_CUTS * (len(content) - 1) // NUM_CUTS]


def flip(content: bytes, seed: int) -> bytes:
    """Change 1 to 32 bytes anywhere."""
    chance, damaged = random.Random(seed), bytearray(content)
    for _ in range(1 << chance.randrange(6)):
        damaged[chance.randrange(len(damaged))] ^= chance.randrange(1, 256)
    return bytes(damaged)


def swap(content: bytes, seed: int) -> bytes:
    """Let two chunks of up to a quarter of the file change their places."""
    chance = random.Random(seed)
    size = chance.randrange(1, max(2, len(content) // 4))
    first = chance.randrange(0, len(content) - 2 * size)
    second = chance.randrange(first + size, len(content) - size)
    before, middle, end = content[:first], content[first + size : second], content[second + size :]
    return before + content[second : second + size] + middle + content[first : first + size] + end


def lie(content: bytes, seed: int) -> bytes:
    """Put extreme numbers where headers have theirs: in the first and last bytes, of 2 or 4 bytes."""
    chance, damaged = random.Random(seed), bytearray(content)
    for _ in range(chance.randrange(1, 5)):
        layout = chance.choice((">H", "<H", ">I", "<I"))
        size = struct.calcsize(layout)
        place = chance.randrange(min(_HEADER_BYTES, len(content) - size))
        if chance.random() < 0.5:  # MP4 has its tables at the end
            place = len(content) - size - place
        struct.pack_into(layout, damaged, place, chance.choice(_EXTREMES) & (256**size - 1))
    return bytes(damaged)


DAMAGES: dict[str, Callable[[bytes, int], bytes]] = {"cut": cut, "flip": flip, "swap": swap, "lie": lie}
