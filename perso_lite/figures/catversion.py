"""Figures of CatVersion: the prefix, which tokens attend to it, what layers pass on.

Each function returns a matplotlib figure; the title states the finding.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.patches import FancyBboxPatch
from PIL import Image
from torch import Tensor

from perso_lite.figures.charts import Interval
from perso_lite.figures.style import (
    BLUE,
    GRAY,
    PINK,
    SMALL,
    color_bar,
    draw_picture,
    entitle,
    new_figure,
)
from perso_lite.methods.catversion.analysis import PrefixEffect, ResidualShare

SPECIAL = {"<|startoftext|>": "start", "<|endoftext|>": "end"}


# -- the method ------------------------------------------------------------------------


def show_prefix(
    tokens: Sequence[str], layers: int, prefixed: Sequence[int], title: str
) -> Figure:
    """The method: layers that get a prefix, and what its column does to attention.

    Args:
        tokens: of a short text.
        layers: number of layers of the text encoder.
        prefixed: the layers with a prefix.
        title: the finding of the figure.
    """
    figure, (chain, matrix) = new_figure(1, 2, figsize=(9, 3.1), width_ratios=(3, 2))
    _draw_chain(chain, layers, prefixed)
    _draw_mask(matrix, tokens)
    entitle(figure, title)
    return figure


def _draw_chain(axis: Axes, layers: int, prefixed: Sequence[int]) -> None:
    """The text encoder from left to right, prefixes above and others to swap in."""
    for layer in range(layers):
        _box(axis, layer, 0, f"layer\n{layer}", "0.9")
        arrow = {"arrowstyle": "->"}
        axis.annotate("", (layer + 0.66, 0), (layer + 0.34, 0), arrowprops=arrow)
        if layer in prefixed:
            _box(axis, layer, 1.15, "$P_K, P_V$", "pink")
            axis.annotate("", (layer, 0.36), (layer, 0.87), arrowprops=arrow)
            _box(axis, layer, 2, "$P_K, P_V$", "lightblue")
    label, left = {"ha": "right", "va": "center", "fontsize": 9}, min(prefixed) - 0.5
    axis.text(-0.45, 0, "text", **label)
    axis.text(layers + 0.3, 0, "U-Net", **label)
    axis.text(left, 1.15, "this toy's prefix", color=PINK, **label)
    axis.text(left, 2, "another toy's,\nto swap in", color=BLUE, **label)
    axis.set(xlim=(-1.1, layers + 0.5), ylim=(-0.6, 2.5))
    axis.set_title("pink is learned, gray is frozen", **SMALL)
    axis.axis("off")


def _box(axis: Axes, x: float, y: float, text: str, color: str) -> None:
    style = {"boxstyle": "round,pad=0.05", "facecolor": color, "linewidth": 0.8}
    axis.add_patch(FancyBboxPatch((x - 0.3, y - 0.22), 0.6, 0.44, **style))
    axis.text(x, y, text, ha="center", va="center", fontsize=8)


def _draw_mask(axis: Axes, tokens: Sequence[str]) -> None:
    """Which column each token sees: white no, gray a token, pink the prefix."""
    count = len(tokens)
    seen = np.zeros((count, count + 1), dtype=int)
    seen[:, 1:] = np.tril(np.ones((count, count), dtype=int))
    seen[:, 0] = 2
    axis.pcolormesh(seen, cmap=ListedColormap(["w", "0.75", "pink"]), edgecolors="0.5")
    axis.invert_yaxis()
    axis.set_xticks(np.arange(count + 1) + 0.5, ["prefix", *tokens], rotation=90)
    axis.set_yticks(np.arange(count) + 0.5, tokens)
    axis.get_xticklabels()[0].set_color(PINK)
    axis.tick_params(length=0, labelsize=8)
    axis.set_title("which token (row) sees which key", **SMALL)
    axis.set_aspect("equal")


# -- who attends to it -----------------------------------------------------------------


def token_names(tokens: Sequence[str]) -> tuple[list[str], list[int]]:
    """Names for the columns of a heat map, and their places; one column for padding.

    Args:
        tokens: as the tokenizer names them, start, end and padding included.
    """
    last = tokens.index("<|endoftext|>") if "<|endoftext|>" in tokens else len(tokens)
    names = [
        SPECIAL.get(token, token.removesuffix("</w>")) for token in tokens[: last + 1]
    ]
    places = list(range(len(names)))
    if len(tokens) > len(names):
        names, places = [*names, "padding"], [*places, len(names)]
    return names, places


def show_listening(
    shares: Mapping[str, ResidualShare], layers: Sequence[int], *, title: str
) -> Figure:
    """Each prefix's share of the attention, and its residual, by head and token.

    Args:
        shares: one or several, of the same prompt, by name; a row of maps each.
        layers: of the text encoder, in which the prefixes are.
        title: the finding of the figure.
    """
    extent = (9, 0.7 + 2.4 * len(shares))
    figure, axes = new_figure(len(shares), 2, figsize=extent, squeeze=False)
    top = max(share.relative_size.max().item() for share in shares.values())
    for row, (name, share) in zip(axes, shares.items(), strict=True):
        maps = {
            rf"{name}: $\alpha$": (share.alpha, 1),
            f"{name}: |residual| / |attention|": (share.relative_size, top),
        }
        for axis, (what, (values, most)) in zip(row, maps.items(), strict=True):
            image = _draw_heat(axis, values, share.tokens, layers)
            image.set_clim(0, most)
            axis.set_title(what, **SMALL)
            color_bar(image, axis)
    entitle(figure, title)
    return figure


def _draw_heat(
    axis: Axes, values: Tensor, tokens: Sequence[str], layers: Sequence[int]
) -> AxesImage:
    """A heat map of (layers, heads, tokens), heads as rows below each other."""
    names, places = token_names(tokens)
    heads = values.shape[1]
    shown = values.flatten(0, 1)[:, places].numpy()
    image = axis.imshow(shown, cmap="viridis", aspect="auto", interpolation="nearest")
    axis.set_xticks(range(len(names)), names, rotation=45, ha="right")
    middles = [heads * i + (heads - 1) / 2 for i in range(len(layers))]
    axis.set_yticks(middles, [f"layer {layer}" for layer in layers])
    for border in range(1, len(layers)):
        axis.axhline(heads * border - 0.5, color="w", linewidth=1.2)
    axis.tick_params(length=0, labelsize=8)
    return image


def prefix_figure(
    pictures: Mapping[str, Image.Image],
    share: ResidualShare | None,
    layers: Sequence[int],
    placeholder_token: str,
) -> Figure:
    """Pictures side by side, and which tokens attend to the prefix, below each other.

    Args:
        pictures: by caption.
        share: of the prompt; None: the prefix does not act.
        layers: of the text encoder, in which the prefix is.
        placeholder_token: the concept's word.
    """
    figure = Figure(figsize=(8.2, 3), layout="constrained")
    left, right = figure.subfigures(1, 2, width_ratios=(5, 2.2 * len(pictures)))
    beside = right.subplots(1, len(pictures), squeeze=False)[0]
    for axis, caption in zip(beside, pictures, strict=True):
        draw_picture(axis, pictures[caption], caption)
    axis = left.subplots()
    if share is None:
        axis.axis("off")
        entitle(figure, f"The prompt does not say {placeholder_token}: no prefix acts")
        return figure
    image = _draw_heat(axis, share.alpha, share.tokens, layers)
    image.set_clim(0, 1)
    axis.set_title(r"$\alpha$, the prefix's share of each token's attention", **SMALL)
    color_bar(image, axis, (0, 0.5, 1))
    names, places = token_names(share.tokens)
    mean = share.alpha.mean((0, 1))[places]
    own = mean[names.index(placeholder_token)]
    finding = f"{placeholder_token} gives the prefix {own:.0%} of its attention"
    entitle(figure, f"{finding}, all tokens {mean.mean():.0%} on average")
    return figure


# -- what layers pass on ---------------------------------------------------------------


def show_density(
    effects: Mapping[int, Sequence[PrefixEffect]],
    probes: Mapping[str, Tensor],
    trained: Mapping[tuple[int, int], Interval],
    *,
    title: str,
) -> Figure:
    """Three measures of how much of the concept's space is in each layer.

    Args:
        effects: by layer, those of several random prefixes.
        probes: accuracy of linear probes by fact, (layers + 1,); the first is at the
            input of the first layer.
        trained: score, mean and interval, by first and last layer that learned.
        title: the finding of the figure.
    """
    figure, axes = new_figure(1, 3, figsize=(9.6, 3))
    _draw_effects(axes[0], effects)
    for fact, accuracy in probes.items():
        axes[1].plot(accuracy.numpy(), marker="o", markersize=4, label=fact)
    axes[1].set(xlabel="layers passed", ylim=(0, 1.03))
    axes[1].set_title("accuracy of linear probes", **SMALL)
    axes[1].legend(fontsize=8, frameon=False, loc="lower right")
    for (first, last), (mean, low, high) in trained.items():
        middle, width = (first + last) / 2, last - first + 0.9
        color = PINK if (first, last) == max(trained) else BLUE
        axes[2].bar(middle, mean, width, color=color, alpha=0.75)
        ends = [[mean - low], [high - mean]]
        axes[2].errorbar(middle, mean, ends, color="k", capsize=3)
    axes[2].axhline(0, color=GRAY, linewidth=0.8)
    axes[2].set_xlabel("layers that learn")
    axes[2].set_title("subject fidelity after training there", **SMALL)
    entitle(figure, title)
    return figure


def _draw_effects(axis: Axes, effects: Mapping[int, Sequence[PrefixEffect]]) -> None:
    """Lines of the change of states and of noise, with bars of one deviation."""
    changes = {
        "text states": [[e.text_states for e in of] for of in effects.values()],
        "U-Net's noise": [[e.noise.mean(1) for e in of] for of in effects.values()],
    }
    for name, of_layers in changes.items():
        values = [torch.cat(parts) for parts in of_layers]
        means = [value.mean().item() for value in values]
        spread = [value.std().item() for value in values]
        axis.errorbar(
            list(effects), means, spread, fmt="o-", markersize=4, capsize=2, label=name
        )
    axis.set(xlabel="layer with a random prefix", xticks=list(effects))
    axis.set_ylim(bottom=0)
    axis.set_title("relative change (bars: one deviation)", **SMALL)
    axis.legend(fontsize=8, frameon=False)
