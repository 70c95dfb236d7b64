"""Facial expressions of every person in a video: one label per clip, smoothed labels per frame."""

__version__ = "0.1.0"
