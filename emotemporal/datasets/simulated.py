"""Clips made of single labelled faces, as a tracker would cut them from a video of a face that keeps still.

A temporal head that has seen only acted clips takes the shake of a camera, or the drift of a photograph that
is panned over, for expression. In these clips all movement is of that kind, and the label is what the picture
shows: they tell how much motion is none of the face's own, and what a head makes of it.
"""

import cv2
import numpy as np
from scipy.ndimage import gaussian_filter1d

from emotemporal.datasets.fer2013 import FaceImages
from emotemporal.datasets.sequences import ClipSequence
from emotemporal.labels import FER7, counts_as
from emotemporal.models.classifier import EmotionClassifier

_FRAME_SECONDS = 0.04
_MIN_SECONDS, _MAX_SECONDS = 1.5, 4.0
# Shift right and down as a share of the side, degrees of roll, zoom in natural logarithms: how far a face
# drifts from its mean place at most, and the deviation of the jitter from frame to frame. What the liveliest
# twentieth of Java-SED's crops shows around the eyes (median there: drift 0.006, 0.006, 1.0, 0.03; jitter
# 0.003, 0.004, 0.6, 0.013).
_DRIFT = np.array([0.015, 0.023, 2.7, 0.075])
_JITTER = np.array([0.006, 0.006, 1.0, 0.02])
# Deviation of the kernel that makes a drift smooth.
_DRIFT_SECONDS = 0.6
# Logarithm of the exponent on brightness. A studio's light moves a third as far; people walk past lamps.
_LIGHT = 0.15
# Deviation in gray levels; 1.2 in Java-SED.
_NOISE = 3.0
# The weakest of each, as a share of the strongest: all but still.
_WEAKEST = 0.03


def simulate_frames(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return a face as frames of a video in which nothing but camera, tracker and light move.

    How strong each of these is, is drawn anew for every clip, from nearly nothing to a lively take.

    Args:
        image: uint8 (S, S), gray.
        rng: of all that is random.
    Returns: uint8 (T, S, S), 25 frames a second.
    """
    side = image.shape[0]
    num = round(rng.uniform(_MIN_SECONDS, _MAX_SECONDS) / _FRAME_SECONDS)
    drifting, jittering, light, noise = np.exp(rng.uniform(np.log(_WEAKEST), 0, 4)) * (1, 1, _LIGHT, _NOISE)
    slow = gaussian_filter1d(rng.normal(size=(num, 5)), _DRIFT_SECONDS / _FRAME_SECONDS, axis=0)
    slow -= slow.mean(axis=0)
    slow /= np.abs(slow).max(axis=0)
    moves = drifting * slow[:, :4] * _DRIFT + jittering * rng.normal(size=(num, 4)) * _JITTER
    exponents = np.exp(light * slow[:, 4])
    frames = np.empty((num, side, side), np.uint8)
    for frame, (right, down, roll, zoom), exponent in zip(frames, moves, exponents, strict=True):
        matrix = cv2.getRotationMatrix2D((side / 2 - 0.5, side / 2 - 0.5), roll, np.exp(zoom))
        matrix[:, 2] += (right * side, down * side)
        moved = cv2.warpAffine(image, matrix, (side, side), borderMode=cv2.BORDER_REPLICATE)
        lit = 255 * (moved / 255) ** exponent + rng.normal(0, noise, moved.shape)
        frame[:] = np.clip(np.rint(lit), 0, 255)
    return frames


def simulate_clips(
    faces: FaceImages, classifier: EmotionClassifier, *, num_clips: int, seed: int = 0
) -> list[ClipSequence]:
    """Make clips of faces drawn at random, every emotion that occurs as often as the others.

    They have no mirrored view.

    Args:
        faces: unseen by the frame network in training, or its evidence would be too sure. Those that show
            none of its emotions are not drawn.
        classifier: the frame network.
        num_clips: how many.
        seed: of all that is random.
    """
    rng = np.random.default_rng(seed)
    shown = [counts_as(name, classifier.labels) for name in FER7]
    emotions = [label for label in np.unique(faces.labels) if shown[label] is not None]
    clips = []
    for number in range(num_clips):
        label = emotions[number % len(emotions)]
        row = rng.choice(np.flatnonzero(faces.labels == label))
        frames = simulate_frames(faces.images[row], rng)
        name = f"simulated-{number}"
        position = classifier.labels.index(shown[label])
        seconds = np.arange(len(frames)) * _FRAME_SECONDS
        views = (classifier.classify_crops(frames),)
        clips.append(ClipSequence(name, position, name, seconds, views, source=name))
    return clips


def halve_faces(faces: FaceImages, seed: int = 0) -> tuple[FaceImages, FaceImages]:
    """Cut faces in two halves at random; copies of one picture stay together.

    Returns: the first and the second half.
    """
    _, which = np.unique(faces.images.reshape(len(faces), -1), axis=0, return_inverse=True)
    order = np.random.default_rng(seed).permutation(which.max() + 1)
    first = order[which] < len(order) / 2
    return faces.rows(first), faces.rows(~first)
