"""One colour for each emotion, the same in overlays, tables, plots and pages.

The hues are those of Okabe & Ito, "Color Universal Design" (2008), chosen to stay apart for people with
any of the common colour vision deficiencies; gray and white, for what is not an emotion, are added here.
Measured over all pairs, normal vision and full protan, deutan and tritan deficiency (Machado et al. 2009):
at least 10.9 CIEDE2000. Against `INK`, which labels are backed with, every colour has a contrast of at
least 3.4:1, so a mark in it is seen (WCAG 2.2 asks 3:1 of graphics). Colour never stands alone: the
emotion's name is always beside it.
"""

from __future__ import annotations

from emotemporal.labels import UNCERTAIN

RGB = tuple[int, int, int]

EMOTION_COLOURS: dict[str, RGB] = {
    "angry": (213, 94, 0),  # vermilion
    "disgust": (0, 158, 115),  # bluish green
    "fear": (204, 121, 167),  # reddish purple
    "happy": (240, 228, 66),  # yellow
    "sad": (0, 114, 178),  # blue
    "surprise": (230, 159, 0),  # orange
    "neutral": (187, 187, 187),  # light gray, not of Okabe & Ito: their black would be lost on dark video
    "contempt": (86, 180, 233),  # sky blue
}
UNCERTAIN_COLOUR: RGB = (108, 108, 108)
"""Dark gray, as far from the light gray of neutral and from the other hues as a gray can be."""
OTHER_COLOUR: RGB = (255, 255, 255)
"""For label names outside the known eight."""

INK: RGB = (20, 23, 28)
"""Near-black behind labels; white text on it has a contrast of 18:1."""
PAPER: RGB = (255, 255, 255)


def emotion_colour(name: str) -> RGB:
    """Return the colour of an emotion, or of `uncertain`, as 0-255 RGB; white for an unknown name."""
    if name == UNCERTAIN:
        return UNCERTAIN_COLOUR
    return EMOTION_COLOURS.get(name, OTHER_COLOUR)


def emotion_hatch(name: str) -> str | None:
    """Return Matplotlib's pattern that goes with the colour: dots where it is uncertain, else None."""
    return "...." if name == UNCERTAIN else None


def text_hex(name: str) -> str:
    """Return the colour of text on an emotion's colour as `#rrggbb`: white, or `INK` where that is light."""
    red, green, blue = ((value / 255) ** 2.2 for value in emotion_colour(name))
    is_dark = 0.2126 * red + 0.7152 * green + 0.0722 * blue < 0.18
    return _hex(PAPER if is_dark else INK)


def emotion_hex(name: str) -> str:
    """Return the colour of an emotion as `#rrggbb`."""
    return _hex(emotion_colour(name))


def _hex(colour: RGB) -> str:
    return "#{:02x}{:02x}{:02x}".format(*colour)
