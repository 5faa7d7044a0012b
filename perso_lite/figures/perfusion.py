"""Charts of Perfusion's gates beside a picture: how far each word opens them.

The panels in `teaching/method_panels/perfusion.py` redraw them at every change of a
control.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor

from perso_lite.figures.charts import show_flow
from perso_lite.figures.style import (
    BLUE,
    GRAY,
    PINK,
    draw_picture,
    entitle,
    hide_spines,
)
from perso_lite.methods.perfusion.rank_one import gate

DARK = "0.25"


def show_two_paths(title: str) -> Figure:
    """The method as a flow chart: from a text state to a key or a value."""
    boxes = {
        "state": (0, 0.5, "text state\n$e$"),
        "rest": (1.9, 1, "the rest\n$e - s\\,i^*$"),
        "W": (3.8, 1, "frozen matrix\n$W_K$ or $W_V$"),
        "share": (1.9, 0, "share $s$ of\nthe concept $i^*$"),
        "gate": (3.8, 0, "gate\n$\\sigma((s-\\beta)/\\tau)$"),
        "key": (5.7, 0.3, "key answer\n$o^*_K$, locked"),
        "value": (5.7, -0.45, "value answer\n$o^*_V$, learned"),
        "out": (7.4, 0.65, "key or\nvalue $h$"),
    }
    arrows = [
        ("state", "rest"), ("rest", "W"), ("W", "out"), ("state", "share"),
        ("share", "gate"), ("gate", "key"), ("gate", "value"), ("key", "out"),
        ("value", "out"),
    ]  # fmt: skip
    colors = {"W": "0.9", "key": "0.9", "value": "pink"}
    return show_flow(boxes, arrows, title=title, colors=colors, size=(8.5, 2.5))


def curve_figure(
    picture: Image.Image,
    caption: str,
    shares: Mapping[str, Tensor],
    words: Sequence[str],
    placeholder_token: str,
    beta: float,
    tau: float,
) -> Figure:
    """Draw one gate as a curve over s, each token as a point on it, and a picture.

    Args:
        picture: shown at the right.
        caption: shown above the picture.
        shares: the share s of each word under "words", (words,); every other entry,
            (1,), is marked in gray and named by its key.
        words: the words of the prompt.
        placeholder_token: the concept's word, marked in pink.
        beta: the share at which the gate is half open.
        tau: the temperature of the gate; larger is softer.
    """
    figure, axis = _beside(picture, caption)
    low, high = (float(pick(torch.cat([*shares.values()]))) for pick in (min, max))
    s = torch.linspace(min(-0.3, low - 0.05), max(1.3, high + 0.05), 400)
    axis.plot(s.numpy(), s.numpy(), ":", color=GRAY, label="s itself (ROME)")
    curve = gate(s, beta, tau).numpy()
    axis.plot(s.numpy(), curve, color=BLUE, label="gate(s)", zorder=1)
    axis.set(xlim=(float(s[0]), float(s[-1])), ylim=(-0.1, 1.1), yticks=(0, 0.5, 1))
    axis.set_xlabel("s, share of the concept in a text state")

    colors = [PINK if word == placeholder_token else DARK for word in words]
    of_words, opened = shares["words"], gate(shares["words"], beta, tau)
    marks = {"zorder": 3, "edgecolors": "w", "lw": 0.6}
    axis.scatter(of_words.numpy(), opened.numpy(), 26, colors, **marks)
    others = [name for name in shares if name != "words"]
    at = torch.cat([shares[name] for name in others])
    marks |= {"marker": "s", "label": ", ".join(others)}
    axis.scatter(at.numpy(), gate(at, beta, tau).numpy(), 22, "0.6", **marks)
    axis.legend(loc="lower right", fontsize=8, frameon=False)
    _label(axis, words, of_words.tolist(), opened.tolist(), colors)
    entitle(figure, finding(words, opened[:, None], [placeholder_token]))
    return figure


def bars_figure(
    picture: Image.Image,
    caption: str,
    gates: Tensor,
    words: Sequence[str],
    placeholder_tokens: Sequence[str],
    ylabel: str = "gate",
) -> Figure:
    """Draw two gates as bars, one pair of bars per word, and a picture.

    Args:
        picture: shown at the right.
        caption: shown above the picture.
        gates: (words, 2), one column per concept.
        words: the words of the prompt.
        placeholder_tokens: the words of the two concepts.
        ylabel: what the values of `gates` are.
    """
    figure, axis = _beside(picture, caption)
    color_of = dict(zip(placeholder_tokens, (PINK, BLUE), strict=True))
    for j, (name, color) in enumerate(color_of.items()):
        at = np.arange(len(words)) + 0.42 * (j - 0.5)
        axis.bar(at, gates[:, j].numpy(), 0.38, color=color, label=name)
    axis.axhline(0, color=GRAY, linewidth=0.8)
    axis.set_xticks(range(len(words)), words, rotation=45)
    for tick, word in zip(axis.get_xticklabels(), words, strict=True):
        tick.set(color=color_of.get(word, DARK), ha="right", rotation_mode="anchor")
    low, high = (
        pick([end, *gates.flatten().tolist()]) for pick, end in ((min, 0.0), (max, 1.0))
    )
    axis.set(ylabel=ylabel, ylim=(low - 0.02, high + 0.02))
    axis.tick_params(axis="x", length=0)
    above = {"loc": "lower left", "bbox_to_anchor": (0, 1), "borderaxespad": 0.1}
    axis.legend(**above, ncols=2, fontsize=8, frameon=False)
    entitle(figure, finding(words, gates, placeholder_tokens, ylabel))
    return figure


def finding(
    words: Sequence[str],
    gates: Tensor,
    placeholder_tokens: Sequence[str],
    what: str = "gate",
) -> str:
    """Summarize in one line how far the concepts' words and all others open the gates.

    Args:
        words: the words of a prompt.
        gates: (words, concepts).
        placeholder_tokens: the concepts' words.
        what: what the values of `gates` are.
    """
    own = [[word == name for name in placeholder_tokens] for word in words]
    own = torch.tensor(own, dtype=torch.bool).view(gates.shape)  # (words, concepts)
    opened = [
        f'"{name}" {gates[own[:, j], j].max():.2f}'
        for j, name in enumerate(placeholder_tokens)
        if own[:, j].any()
    ]
    rest = gates[~own]
    most = f"at most {rest.max():.2f}" if len(rest) else ""
    if not opened:
        return f"{what} of every word {most}" if most else "a prompt without words"
    several = "s" if len(opened) > 1 else ""
    title = f"{what}{several} of {' and '.join(opened)}"
    elsewhere = "elsewhere" if len(placeholder_tokens) > 1 else "of all other words"
    return f"{title}, {elsewhere} {most}" if most else title


def spread(places: Sequence[float], gap: float, low: float, high: float) -> np.ndarray:
    """Move places apart, as little as possible, so that labels do not overlap.

    Once the gaps are subtracted, the places only have to ascend: neighbors that do not
    are replaced by their mean until all do (isotonic regression).

    Args:
        places: in ascending order.
        gap: the smallest distance between two places; smaller if there is no room.
        low: lower bound of the result.
        high: upper bound of the result.

    Returns:
        The new places, (places,), in the same order.
    """
    gap = min(gap, (high - low) / max(1, len(places) - 1))
    gaps = gap * np.arange(len(places))
    blocks: list[list[float]] = []
    for place in np.asarray(places) - gaps:
        blocks.append([place])
        while len(blocks) > 1 and np.mean(blocks[-2]) > np.mean(blocks[-1]):
            blocks[-2:] = [blocks[-2] + blocks[-1]]
    level = [np.mean(block) for block in blocks for _ in block]
    return np.clip(level, low, high - gap * (len(places) - 1)) + gaps


def _label(
    axis: Axes,
    names: Sequence[str],
    at: Sequence[float],
    heights: Sequence[float],
    colors: Sequence[str],
) -> None:
    """Write names above the chart, side by side, with a thin line to each point."""
    order = sorted(range(len(at)), key=at.__getitem__)
    low, high = axis.get_xlim()
    places = spread([at[i] for i in order], 0.048 * (high - low), low, high)
    slanted = {"rotation": -45, "rotation_mode": "anchor", "ha": "right"}
    for place, i in zip(places, order, strict=True):
        xs, ys = (at[i], at[i], place), (heights[i], 1.1, 1.2)
        axis.plot(xs, ys, color="0.85", lw=0.7, zorder=0, clip_on=False)
        axis.text(place, 1.23, names[i], color=colors[i], fontsize=8, **slanted)


def _beside(picture: Image.Image, caption: str) -> tuple[Figure, Axes]:
    """A figure with a picture at the right, and the empty axes for a chart."""
    figure = Figure(figsize=(7.6, 3), layout="constrained")
    left, right = figure.subfigures(1, 2, width_ratios=(5, 2.6))
    draw_picture(right.subplots(), picture, caption)
    axis = left.subplots()
    hide_spines(axis)
    axis.tick_params(labelsize=8)
    return figure, axis
