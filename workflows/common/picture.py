"""One picture of an evaluation: the confusion matrix, and beside it the digits that were read wrong.

Draws with matplotlib's Agg canvas directly: no window, no global state, no choice of backend.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

from common.metrics import CLASS_COUNT, Scored, accuracy, recall

MISTAKES_SHOWN = 20
MISTAKE_COLUMNS = 4
INK = "#1b2a33"
MUTED = "#7a868d"
GOOD = "#1f6f8b"
BAD = "#c8452d"
RIGHT_COLORS = LinearSegmentedColormap.from_list("right", ["#e3eef2", GOOD])
WRONG_COLORS = LinearSegmentedColormap.from_list("wrong", ["#fbe6df", BAD])


def draw(path: Path, title: str, matrix: NDArray[np.int64], mistakes: Sequence[Scored], images: Path) -> None:
    """Write a PNG file under exactly the name ``path``, about 1,700 × 1,000 pixels.

    ``mistakes`` in the order to show them, as many as fit; their pictures are read from the folder ``images``.
    """
    figure = Figure(figsize=(13.0, 7.6), dpi=130, facecolor="white")
    halves: Any = figure.subfigures(1, 2, width_ratios=(1.75, 1.0))
    count, wrong = int(matrix.sum()), int(matrix.sum() - matrix.trace())
    figure.text(0.03, 0.945, f"{title}: {accuracy(matrix):.2%} accuracy", size=19, weight="bold", color=INK)
    figure.text(0.03, 0.908, f"{count - wrong:,} of {count:,} right, {wrong:,} wrong", size=12, color=MUTED)
    _draw_matrix(halves[0].add_axes((0.085, 0.085, 0.88, 0.74)), matrix)
    _draw_mistakes(halves[1], mistakes, wrong, images)
    figure.savefig(path, format="png")


def _draw_matrix(axes: Any, matrix: NDArray[np.int64]) -> None:
    """Right answers in blue, mistakes in red, each on its own scale, and the recall of each row at its end."""
    wrong = matrix.copy()
    np.fill_diagonal(wrong, 0)
    right_max, wrong_max = max(int(matrix.diagonal().max()), 1), max(int(wrong.max()), 1)
    colors = np.ones((CLASS_COUNT, CLASS_COUNT, 3))
    for true in range(CLASS_COUNT):
        for digit in range(CLASS_COUNT):
            count = int(matrix[true, digit])
            if count == 0:
                axes.text(digit, true, "·", ha="center", va="center", color="#c3cbcf", size=10)
                continue
            share = count / (right_max if true == digit else wrong_max)
            colors[true, digit] = (RIGHT_COLORS if true == digit else WRONG_COLORS)(share)[:3]
            ink = "white" if share > 0.55 else INK
            weight = "bold" if true == digit else "normal"
            axes.text(digit, true, f"{count:,}", ha="center", va="center", color=ink, size=11, weight=weight)
    axes.imshow(colors, aspect="auto")
    for true, found in enumerate(recall(matrix)):
        text = "-" if found is None else f"{found:.1%}"
        axes.text(CLASS_COUNT + 0.12, true, text, ha="center", va="center", size=11, color=INK)
    axes.text(CLASS_COUNT + 0.12, -0.8, "recall", ha="center", va="center", size=11, color=MUTED)
    axes.set_xlim(-0.5, CLASS_COUNT + 0.7)
    axes.set_xlabel("read as", size=12, color=INK)
    axes.set_ylabel("true digit", size=12, color=INK)
    axes.set_xticks(range(CLASS_COUNT))
    axes.set_yticks(range(CLASS_COUNT))
    axes.tick_params(length=0, labelsize=12, labelcolor=INK, labeltop=False)
    for line in np.arange(-0.5, CLASS_COUNT):
        axes.plot((-0.5, CLASS_COUNT - 0.5), (line, line), color="white", linewidth=1.5)
        axes.plot((line, line), (-0.5, CLASS_COUNT - 0.5), color="white", linewidth=1.5)
    axes.set_frame_on(False)


def _draw_mistakes(figure: Any, mistakes: Sequence[Scored], wrong_count: int, images: Path) -> None:
    """A grid of images, each with ``true → read as`` and the confidence below it."""
    shown = mistakes[:MISTAKES_SHOWN]
    if not shown:
        figure.text(0.5, 0.5, "no digit was read wrong", ha="center", size=14, color=MUTED)
        return
    heading = "read wrong" if len(shown) == wrong_count else f"read wrong, the surest {len(shown)} of {wrong_count:,}"
    figure.text(0.07, 0.86, f"{heading}: true → read as", size=12, color=INK)
    row_count = MISTAKES_SHOWN // MISTAKE_COLUMNS
    width, height = 0.86 / MISTAKE_COLUMNS, 0.80 / row_count
    for index, one in enumerate(shown):
        row, column = divmod(index, MISTAKE_COLUMNS)
        bottom = 0.83 - (row + 1) * height
        axes = figure.add_axes((0.07 + column * width, bottom + 0.055, width * 0.86, height - 0.062))
        with Image.open(images / one.file) as image:
            axes.imshow(np.asarray(image.convert("L")), cmap="gray_r", vmin=0, vmax=255, interpolation="nearest")
        axes.set_xticks([])
        axes.set_yticks([])
        for spine in axes.spines.values():
            spine.set_color("#d5dbde")
        middle = 0.07 + (column + 0.43) * width
        figure.text(middle, bottom + 0.031, f"{one.true_digit} → {one.digit}", ha="center", size=12, color=BAD)
        figure.text(middle, bottom + 0.012, f"{one.confidence:.1%} sure", ha="center", size=8, color=MUTED)
