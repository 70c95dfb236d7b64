"""Pictures: what they show, read back from the figure; files that appear whole or not at all."""

import cv2
import matplotlib.pyplot
import numpy as np
import pytest

from emotemporal.errors import OutputError
from emotemporal.labelling.calibration import risk_coverage
from emotemporal.labels import FER7
from emotemporal.report.palette import emotion_colour
from emotemporal.report.plots import (
    plot_confusion,
    plot_reliability,
    plot_risk_coverage,
    plot_robustness,
    render_figure,
    save_figure,
)

NAMES = ("angry", "happy", "sad")
COUNTS = [[6, 2, 0], [0, 0, 0], [1, 0, 3]]


def toy_predictions(num: int = 300) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return rng.dirichlet(np.full(7, 0.3), num), rng.integers(7, size=num)


def texts(axes) -> list[str]:
    return [text.get_text() for text in axes.texts]


def test_confusion_shows_shares_of_rows_and_counts():
    (axes,) = plot_confusion(np.array(COUNTS), NAMES, title="toy").axes
    shown = axes.images[0].get_array()
    np.testing.assert_allclose(shown, [[0.75, 0.25, 0], [0, 0, 0], [0.25, 0, 0.75]])
    assert texts(axes)[:4] == ["75%", "6", "25%", "2"]
    # A class that does not occur has counts, but no shares.
    assert [t for t in texts(axes) if t.endswith("%")] == ["75%", "25%", "0%", "25%", "0%", "75%"]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["angry (8)", "happy (0)", "sad (4)"]
    assert [label.get_text() for label in axes.get_xticklabels()] == list(NAMES)
    assert axes.get_title() == "toy"
    with pytest.raises(ValueError, match=r"found \(3, 3\)"):
        plot_confusion(COUNTS, NAMES[:2])


def test_emotions_have_their_colours_and_no_texts_overlap():
    counts = np.full((7, 7), 1000)
    figure = plot_confusion(counts, FER7)
    pixels = render_figure(figure, dpi=80).reshape(-1, 3)
    for name in FER7:
        assert (pixels == emotion_colour(name)).all(axis=1).sum() > 20
    (axes,) = figure.axes
    renderer = figure.canvas.get_renderer()
    boxes = [text.get_window_extent(renderer) for text in [*axes.texts, *axes.get_yticklabels()]]
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])


def test_risk_coverage_shows_every_curve_and_its_area():
    probs, labels = toy_predictions()
    curves = {"one": risk_coverage(probs, labels), "two": risk_coverage(probs[:100], labels[:100])}
    (axes,) = plot_risk_coverage(curves).axes
    for line, curve in zip(axes.lines, curves.values(), strict=True):
        # From 2 % on: the first faces alone would make it jump.
        shows = curve.coverage >= 0.02
        np.testing.assert_array_equal(line.get_xdata(), curve.coverage[shows])
        np.testing.assert_array_equal(line.get_ydata(), curve.risk[shows])
        assert axes.get_ylim()[1] > curve.risk[shows].max()
    shown = [text.get_text() for text in axes.get_legend().get_texts()]
    assert shown == [f"{name} (AURC {curve.aurc:.3f})" for name, curve in curves.items()]
    assert len({line.get_linestyle() for line in axes.lines}) == 2


def test_risk_coverage_of_a_faultless_network():
    labels = np.arange(7)
    (axes,) = plot_risk_coverage({"sure": risk_coverage(np.eye(7), labels)}).axes
    assert axes.get_ylim()[1] > 0


def test_reliability_shows_bins_that_hold_something():
    probs = np.array([[0.9, 0.1], [0.9, 0.1], [0.55, 0.45]])
    figure = plot_reliability(probs, np.array([0, 1, 0]))
    upper, lower = figure.axes
    assert [bar.get_height() for bar in upper.patches] == pytest.approx([1.0, 0.5])
    assert [bar.get_height() for bar in lower.patches if bar.get_height()] == pytest.approx([1 / 3, 2 / 3])
    assert upper.get_legend().get_title().get_text() == f"ECE {(0.8 + 0.45) / 3:.3f}"
    render_figure(figure, dpi=40)


@pytest.mark.parametrize("num_panels", [1, 4])
def test_robustness_has_one_panel_each(num_panels):
    points = [("clean", 0.7), ("1", 0.6), ("2", 0.3)]
    panels = {f"way {i}": points for i in range(num_panels)}
    figure = plot_robustness(panels, constant=0.25, title="toy")
    assert [axes.get_title() for axes in figure.axes] == list(panels)
    for axes in figure.axes:
        np.testing.assert_array_equal(axes.lines[-1].get_ydata(), [0.7, 0.6, 0.3])
        assert [label.get_text() for label in axes.get_xticklabels()] == ["clean", "1", "2"]
        assert texts(axes) == ["70%", "30%"]
    render_figure(figure, dpi=40)


def test_saved_whole_and_without_shared_state(tmp_path):
    figure = plot_confusion(COUNTS, NAMES)
    path = tmp_path / "new" / "confusion.png"
    save_figure(figure, path)
    assert cv2.imread(str(path)).shape[2] == 3
    assert list(path.parent.iterdir()) == [path]
    assert matplotlib.pyplot.get_fignums() == []
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="cannot write"):
        save_figure(figure, tmp_path / "file" / "confusion.png")


def test_rendered_at_the_size_asked_for():
    figure = plot_confusion(COUNTS, NAMES)
    pixels = render_figure(figure, dpi=50)
    width, height = figure.get_size_inches()
    assert pixels.dtype == np.uint8
    assert pixels.shape == (int(height * 50), int(width * 50), 3)
    assert (pixels[0] == 255).all()
