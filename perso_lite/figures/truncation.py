"""The chart at the truncation panel: a word, written with k of its 128 hidden units.

`mapper_panels.py` draws it anew at every turn of a dial.
"""

from collections.abc import Mapping, Sequence

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from perso_lite.conditioning.cross_attention import CrossAttentionLayer
from perso_lite.figures.neti import SMALL, color_bar, entitle, mark_sides
from perso_lite.methods.space_time.analysis import variance_shares
from perso_lite.methods.space_time.mapper import HIDDEN

COLORS = {"layers": "#2878b5", "timesteps": "#d6277f", "both together": "0.55"}


def truncation_figure(
    picture: Image.Image,
    caption: str,
    words: Mapping[int, Tensor],
    truncation_idx: int,
    layers: Sequence[CrossAttentionLayer],
    num_train_timesteps: int = 1000,
) -> Figure:
    """A picture, how like the full word its own one is, and how much that differs.

    Args:
        picture: at the left.
        caption: stands above it.
        words: (times, layers, dim) by the number of units that wrote them, in ascending
            order up to all of them; `mapper_output` gives them.
        truncation_idx: the number that wrote the picture's.
        layers: of the U-Net, for their sides.
        num_train_timesteps: of the base's schedule.
    """
    figure = Figure(figsize=(7.8, 3.2), layout="constrained")
    shown, heat, bars = figure.subplots(1, 3, width_ratios=(2.5, 2.7, 2.3))
    shown.imshow(picture, interpolation="nearest")
    shown.set_title(caption, **SMALL)
    shown.axis("off")

    full = words[HIDDEN]
    of_all = {k: F.cosine_similarity(of_k, full, dim=-1) for k, of_k in words.items()}
    likeness = of_all[truncation_idx]  # (times, layers)
    # one scale for every k, so that turning the dial brightens or darkens
    least = min(0.99, *(float(of_k.min()) for of_k in of_all.values()))
    _draw_likeness(heat, likeness, least, layers, num_train_timesteps)
    shares = {k: variance_shares(of_k) for k, of_k in words.items()}
    _draw_shares(bars, shares, truncation_idx)
    differs = sum(shares[truncation_idx].values())
    entitle(figure, finding(truncation_idx, float(likeness.mean()), differs))
    return figure


def finding(truncation_idx: int, likeness: float, differs: float) -> str:
    """What so many units write, in one line.

    Args:
        truncation_idx: how many.
        likeness: the mean cosine to the full word.
        differs: the share of the word that differs from place to place.
    """
    full = truncation_idx == HIDDEN
    kept = f"{'All' if full else f'{truncation_idx} of'} {HIDDEN} units"
    spread = f"{differs:.1%} of the word differs with time and layer"
    if differs < 0.0005:
        spread = "the same word everywhere"
    near = "" if full else f", cosine {likeness:.2f} to the full word"
    return f"{kept}: {spread}{near}"


def _draw_likeness(
    axis: Axes,
    likeness: Tensor,
    least: float,
    layers: Sequence[CrossAttentionLayer],
    num_train_timesteps: int,
) -> None:
    """A heat map (times, layers) from the least likeness to 1, noise at the top."""
    image = axis.imshow(
        likeness.numpy(),
        cmap="viridis",
        vmin=least,
        vmax=1,
        aspect="auto",
        interpolation="nearest",
        origin="lower",
        extent=(-0.5, len(layers) - 0.5, 0, num_train_timesteps),
    )
    color_bar(image, axis, ticks=(least, 1)).set_ticklabels((f"{least:.2f}", "1"))
    axis.set_title("cosine to the full word", **SMALL)
    axis.set_yticks((0, num_train_timesteps), ("picture", "noise"), rotation=90)
    for label, end in zip(axis.get_yticklabels(), ("bottom", "top"), strict=True):
        label.set_va(end)
    axis.set_ylabel("timestep", fontsize=8, labelpad=-8)
    mark_sides(axis, layers)


def _draw_shares(
    axis: Axes, shares: Mapping[int, Mapping[str, float]], present: int
) -> None:
    """Bars of what differs at each k, the present one in full colour."""
    strength = [1 if k == present else 0.3 for k in shares]
    below = torch.zeros(len(shares))
    for name, color in COLORS.items():
        heights = torch.tensor([100 * of_k[name] for of_k in shares.values()])
        colors = [(color, alpha) for alpha in strength]
        places = range(len(shares))
        axis.bar(places, heights.numpy(), 0.8, below.numpy(), color=colors)
        axis.bar(0, 0, color=color, label=name)  # for the legend, in full colour
        below += heights
    axis.set_title("% of the word that differs", **SMALL)
    axis.set_xticks(range(len(shares)), shares)
    for tick, k in zip(axis.get_xticklabels(), shares, strict=True):
        tick.set_fontweight("bold" if k == present else "normal")
    axis.set_xlabel("k, hidden units kept", fontsize=8)
    axis.tick_params(labelsize=7)
    axis.tick_params(axis="x", length=0)
    axis.spines[["top", "right"]].set_visible(False)
    axis.set_ylim(0, 1.6 * max(1, float(below.max())))  # room for the legend
    axis.legend(
        loc="upper left",
        fontsize=8,
        frameon=False,
        title="among",
        title_fontsize=8,
        alignment="left",
    )
