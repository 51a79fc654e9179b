"""The look of the book's figures, and the few figures that more than one chapter draws."""

from collections.abc import Mapping, Sequence
from itertools import cycle
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes

# Wong, Nature Methods 8, 441 (2011): eight colours that stay apart for colour-blind readers.
BLUE, ORANGE, GREEN, RED, PURPLE, GREY = (
    "#0072B2",
    "#E69F00",
    "#009E73",
    "#D55E00",
    "#CC79A7",
    "#777777",
)


def use_style() -> None:
    """Set matplotlib's defaults: white ground, legible on a dark page too, and these colours."""
    plt.rcParams.update(
        {
            "figure.figsize": (7, 3.5),
            "figure.facecolor": "white",
            "figure.constrained_layout.use": True,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.grid": True,
            "grid.alpha": 0.3,
            "axes.prop_cycle": plt.cycler(color=[BLUE, ORANGE, GREEN, RED, PURPLE, GREY]),
        }
    )


def plot_losses(losses: Sequence[float], levels: Mapping[str, float] | None = None) -> Axes:
    """Draw the loss of every step, its running mean over 20 steps, and named levels.

    `levels` maps a label to a loss, drawn as a dashed line. Returns the axes.
    """
    if not len(losses):
        raise ValueError("there are no losses to draw")
    steps = np.arange(1, len(losses) + 1)
    smooth = min(20, len(losses))
    means = np.convolve(losses, np.ones(smooth) / smooth, mode="valid")
    _, ax = plt.subplots()
    ax.plot(steps, losses, color=BLUE, alpha=0.25, linewidth=1)
    ax.plot(steps[smooth - 1 :], means, color=BLUE, label=f"training loss, mean of {smooth} steps")
    for (label, level), color in zip((levels or {}).items(), cycle([RED, ORANGE, GREEN, PURPLE])):
        ax.axhline(level, color=color, linestyle="--", linewidth=1.2, label=label)
    ax.set(xlabel="step", ylabel="loss (nats per token)", xlim=(0, len(losses)))
    ax.legend(frameon=False)
    return ax


def draw_scores(scores: dict[str, dict[str, list[float]]]) -> Axes:
    """Draw the score of each run as a point, and the mean as a bar, in a row for each way.

    `scores` maps the name of a way to {what was measured: list of scores}. Returns the axes.
    """
    _, ax = plt.subplots(figsize=(7, 1.2 + 0.4 * len(scores)))
    for row, measured in enumerate(reversed(scores.values())):
        for (label, values), color in zip(measured.items(), cycle([BLUE, ORANGE, GREEN])):
            [points] = ax.plot(values, [row] * len(values), "o", color=color, markersize=5)
            points.set(alpha=0.7, label=label if row == 0 else None)
            ax.plot([np.mean(values)], [row], "|", color=color, markersize=16)
    ax.set_yticks(range(len(scores)), reversed(scores))
    ax.set_ylim(-0.5, len(scores) - 0.5)
    ax.legend(frameon=False, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3)
    return ax


def draw_rows(rows: Sequence[tuple[str, Sequence[str]]], mark_new: bool = False) -> Axes:
    """Draw each (label, list of texts) as a row of boxes, each as wide as its text is long.

    With `mark_new`, only boxes that were not there in the row above are coloured; without it,
    neighbours get different colours. Spaces and line ends are drawn as signs. Returns the axes.
    """
    widest = max(sum(map(len, texts)) for _, texts in rows)
    _, ax = plt.subplots(figsize=(min(10, 2.2 + 0.28 * widest), 0.45 * len(rows) + 0.2))
    pale, above = ["#CFE4F3", "#FBE3B5", "#CDEBDF", "#F3D0DF"], None
    for y, (label, texts) in enumerate(rows):
        x, spans = 0, set()
        for i, text in enumerate(texts):
            span = (x, x + len(text))
            spans.add(span)
            color = pale[i % 4]
            if mark_new:
                color = "#EEEEEE" if above is None or span in above else pale[1]
            box = plt.Rectangle((x + 0.04, y - 0.38), len(text) - 0.08, 0.76, facecolor=color)
            ax.add_patch(box)
            shown = text.replace(" ", "␣").replace("\n", "⏎")
            middle = x + len(text) / 2
            style: dict[str, Any] = {"va": "center", "color": "black", "parse_math": False}
            ax.text(middle, y, shown, ha="center", family="monospace", **style)
            x += len(text)
        ax.text(-0.4, y, label, ha="right", va="center", color="black", parse_math=False)
        above = spans
    ax.set(xlim=(0, widest), ylim=(len(rows) - 0.5, -0.5))
    ax.axis("off")
    return ax


def draw_tokens(ax: Axes, tokens: Sequence[str], marked: Sequence[bool]) -> None:
    """Draw token texts as boxes in lines of 105 letters; those that are `marked` in colour.

    Line ends are drawn as signs.
    """
    x, y = 0.0, 0
    for token, mark in zip(tokens, marked, strict=True):
        text = token.replace("\n", "↵")
        if x + len(text) > 105:
            x, y = 0.0, y - 1
        color = "#a6d3ee" if mark else "#e4e4e4"
        box = {"facecolor": color, "edgecolor": "white", "boxstyle": "square,pad=0.25"}
        ax.text(x, y, text, family="monospace", fontsize=8, bbox=box, color="#111")
        x += len(text) + 0.9
    ax.set(xlim=(0, 107), ylim=(y - 0.6, 0.9))
    ax.axis("off")
