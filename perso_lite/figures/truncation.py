"""The chart of the truncation panel: a word written with k of its 128 hidden units.

`teaching/method_panels/neti.py` redraws it whenever a control changes.
"""

from collections.abc import Mapping, Sequence

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from perso_lite.conditioning.cross_attention import CrossAttentionLayer
from perso_lite.figures.style import (
    BLUE,
    GRAY,
    PINK,
    SMALL,
    color_bar,
    draw_picture,
    entitle,
    hide_spines,
    mark_sides,
)
from perso_lite.methods.space_time.analysis import variance_shares
from perso_lite.methods.space_time.mapper import HIDDEN

COLORS = {"layers": BLUE, "timesteps": PINK, "both together": GRAY}


def truncation_figure(
    picture: Image.Image,
    caption: str,
    words: Mapping[int, Tensor],
    truncation_idx: int,
    layers: Sequence[CrossAttentionLayer],
    num_train_timesteps: int = 1000,
) -> Figure:
    """Draw a picture, its word's cosine to the full word, and how much words vary.

    Args:
        picture: shown at the left.
        caption: shown above the picture.
        words: (times, layers, dim) by number of hidden units, in ascending order, all
            128 included; computed by `mapper_output`.
        truncation_idx: the number of units used for the picture.
        layers: the U-Net's cross-attention layers, to mark its sides.
        num_train_timesteps: of the base's schedule (SD: 1000).
    """
    figure = Figure(figsize=(7.8, 3.2), layout="constrained")
    shown, heat, bars = figure.subplots(1, 3, width_ratios=(2.5, 2.7, 2.3))
    draw_picture(shown, picture, caption)

    full = words[HIDDEN]
    of_all = {k: F.cosine_similarity(of_k, full, dim=-1) for k, of_k in words.items()}
    similarity = of_all[truncation_idx]  # (times, layers)
    # one scale for all k, so that pictures of different k can be compared
    lowest = min(0.99, *(float(of_k.min()) for of_k in of_all.values()))
    _draw_similarity(heat, similarity, lowest, layers, num_train_timesteps)
    shares = {k: variance_shares(of_k) for k, of_k in words.items()}
    _draw_shares(bars, shares, truncation_idx)
    differs = sum(shares[truncation_idx].values())
    entitle(figure, finding(truncation_idx, float(similarity.mean()), differs))
    return figure


def finding(truncation_idx: int, similarity: float, differs: float) -> str:
    """Summarize in one line what the first hidden units write.

    Args:
        truncation_idx: the number of units.
        similarity: the mean cosine to the full word.
        differs: the share of the word that varies over timesteps and layers.
    """
    full = truncation_idx == HIDDEN
    kept = f"{'All' if full else f'{truncation_idx} of'} {HIDDEN} units"
    spread = f"{differs:.1%} of the word differs with time and layer"
    if differs < 0.0005:
        spread = "the same word everywhere"
    near = "" if full else f", cosine {similarity:.2f} to the full word"
    return f"{kept}: {spread}{near}"


def _draw_similarity(
    axis: Axes,
    similarity: Tensor,
    lowest: float,
    layers: Sequence[CrossAttentionLayer],
    num_train_timesteps: int,
) -> None:
    """A heat map (times, layers) from the lowest similarity to 1, noise at the top."""
    image = axis.imshow(
        similarity.numpy(),
        cmap="viridis",
        vmin=lowest,
        vmax=1,
        aspect="auto",
        interpolation="nearest",
        origin="lower",
        extent=(-0.5, len(layers) - 0.5, 0, num_train_timesteps),
    )
    color_bar(image, axis, ticks=(lowest, 1)).set_ticklabels((f"{lowest:.2f}", "1"))
    axis.set_title("cosine to the full word", **SMALL)
    axis.set_yticks((0, num_train_timesteps), ("picture", "noise"), rotation=90)
    for label, end in zip(axis.get_yticklabels(), ("bottom", "top"), strict=True):
        label.set_va(end)
    axis.set_ylabel("timestep", fontsize=8, labelpad=-8)
    mark_sides(axis, layers)


def _draw_shares(
    axis: Axes, shares: Mapping[int, Mapping[str, float]], present: int
) -> None:
    """Stacked bars of the shares that vary at each k, the present k in full color."""
    strength = [1 if k == present else 0.3 for k in shares]
    below = torch.zeros(len(shares))
    for name, color in COLORS.items():
        heights = torch.tensor([100 * of_k[name] for of_k in shares.values()])
        colors = [(color, alpha) for alpha in strength]
        places = range(len(shares))
        axis.bar(places, heights.numpy(), 0.8, below.numpy(), color=colors)
        axis.bar(0, 0, color=color, label=name)  # for the legend, in full color
        below += heights
    axis.set_title("% of the word that differs", **SMALL)
    axis.set_xticks(range(len(shares)), shares)
    for tick, k in zip(axis.get_xticklabels(), shares, strict=True):
        tick.set_fontweight("bold" if k == present else "normal")
    axis.set_xlabel("k, hidden units kept", fontsize=8)
    axis.tick_params(labelsize=7)
    axis.tick_params(axis="x", length=0)
    hide_spines(axis)
    axis.set_ylim(0, 1.6 * max(1, float(below.max())))  # room for the legend
    axis.legend(
        loc="upper left",
        fontsize=8,
        frameon=False,
        title="among",
        title_fontsize=8,
        alignment="left",
    )
