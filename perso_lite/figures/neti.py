"""Figures of NeTI's mapper: the word over time and layers, the waves, the anchors.

They return a matplotlib figure, which a cell shows if it is its last line. The title
says what was found.
"""

from collections.abc import Sequence
from statistics import fmean

import numpy as np
import torch
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colorbar import Colorbar
from matplotlib.figure import Figure
from torch import Tensor, nn

from perso_lite.conditioning.cross_attention import (
    CrossAttentionLayer,
    cross_attention_layers,
)
from perso_lite.errors import PersoError
from perso_lite.methods.space_time.analysis import (
    even_timesteps,
    mapper_output,
    variance_shares,
)
from perso_lite.methods.space_time.mapper import FourierFeatures, SpaceTimeMapper
from perso_lite.methods.space_time.neti import NeTI

BLUE, PINK = "#2878b5", "#d6277f"
SMALL = {"fontsize": 9, "fontweight": "normal", "loc": "center"}
Point = tuple[float, float]  # timestep, layer


# -- the word --------------------------------------------------------------------------


def show_word_scatter(
    method: NeTI, timesteps: int | Tensor = 50, truncation_idx: int | None = None
) -> Figure:
    """The words M(t, l) in the plane where they differ most: by timestep, by layer.

    Args:
        method: the word.
        timesteps: (times,), or how many, evenly spaced (ours: 50).
        truncation_idx: how many of the 128 hidden units to write it with; None: all.
    """
    if isinstance(timesteps, int):
        timesteps = even_timesteps(method, timesteps)
    words = mapper_output(method, timesteps, truncation_idx)  # (times, layers, dim)
    places, shares = principal_plane(words.flatten(0, 1))
    layers = torch.arange(words.shape[1])
    by_time = timesteps[:, None].expand(words.shape[:2]).flatten().cpu()
    by_layer = layers.expand(words.shape[:2]).flatten()

    figure = Figure(figsize=(7.8, 3), layout="constrained")
    left, right = figure.subplots(1, 2, sharex=True, sharey=True)
    _draw_words(left, places, by_time, "timestep", None)
    bar = _draw_words(right, places, by_layer, "layer", len(layers))
    sides = _sides(cross_attention_layers(method.base.unet))
    bar.set_ticks([*map(fmean, sides.values())], labels=sides)
    for axis in (left, right):
        axis.set_xlabel(f"1st direction ({shares[0]:.0%} of the variance)")
    left.set_ylabel(f"2nd direction ({shares[1]:.0%})")
    differs = variance_shares(words)
    total = sum(differs.values()) or 1  # a word that is the same everywhere
    layered, timed = (differs[name] / total for name in ("layers", "timesteps"))
    title = f"{layered:.0%} of how words differ goes with the layer, {timed:.0%} with"
    entitle(figure, f"{title} the timestep")
    return figure


def _draw_words(
    axis: Axes, places: Tensor, values: Tensor, name: str, steps: int | None
) -> Colorbar:
    """Points (n, 2) coloured by values (n,), in so many steps; the bar beside them."""
    marks = axis.scatter(
        *places.T.numpy(),
        s=8,
        c=values.numpy(),
        cmap=colormaps["viridis"].resampled(steps or 256),
        linewidths=0,
    )
    if steps:  # each colour in the middle of its step
        marks.set_clim(-0.5, steps - 0.5)
    axis.set_title(f"by {name}", **SMALL)
    axis.tick_params(labelsize=8)
    axis.spines[["top", "right"]].set_visible(False)
    return color_bar(marks, axis)


def principal_plane(vectors: Tensor) -> tuple[Tensor, list[float]]:
    """Where vectors (n, dim) lie in the plane of their largest variance.

    Returns:
        Coordinates (n, 2), and the two directions' shares of the variance.
    """
    centred = vectors - vectors.mean(0)
    u, s, _ = torch.linalg.svd(centred, full_matrices=False)
    variance = s.square() / s.square().sum().clamp(min=1e-12)
    return u[:, :2] * s[:2], variance[:2].tolist()


# -- what the mapper is given ----------------------------------------------------------


def show_kernel(
    features: FourierFeatures,
    timestep: int = 500,
    layer: int = 7,
    num_layers: int = 16,
    num_train_timesteps: int = 1000,
) -> Figure:
    """How alike the waves of one point are to those of every other.

    Args:
        features: of a mapper, or new ones.
        timestep: of the one point (ours: the middle).
        layer: of the one point (ours: the first of the up side).
        num_layers: of the U-Net (SD 1.x: 16).
        num_train_timesteps: of the base's schedule (SD: 1000).
    """
    times, layers = torch.arange(num_train_timesteps), torch.arange(num_layers)
    points = torch.cartesian_prod(times, layers).to(features.frequencies)
    one = points.new_tensor([[timestep, layer]])
    with torch.no_grad():
        alike = features(points) @ features(one)[0]
    alike = alike.view(num_train_timesteps, num_layers).cpu()  # e(t, l) . e(t0, l0)
    sigma = float(features.frequencies[:, 0].square().mean().sqrt())  # as drawn
    gaussian = torch.exp(-((sigma * (times - timestep)) ** 2) / 2)

    figure = Figure(figsize=(7.4, 3.8), layout="constrained")
    heat, curve = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
    limits = {"vmin": -1, "vmax": 1, "interpolation": "nearest"}
    image = heat.imshow(
        alike.T.numpy(), cmap="RdBu_r", aspect="auto", origin="lower", **limits
    )
    color_bar(image, heat, ticks=(-1, 0, 1))
    heat.set_ylabel("layer")
    heat.yaxis.get_major_locator().set_params(integer=True)
    heat.set_title(f"e(t, l) · e({timestep}, {layer})", **SMALL)
    curve.plot(times, alike[:, layer], color=BLUE, label=f"at layer {layer}")
    expected = f"exp(-({sigma:.3f} dt)² / 2)"
    curve.plot(times, gaussian, ":", color=PINK, linewidth=2, label=expected)
    curve.set(xlabel="timestep", yticks=(0, 0.5, 1))
    curve.legend(fontsize=8, frameon=False)
    curve.spines[["top", "right"]].set_visible(False)
    others = alike[:, layers != layer].amax() if num_layers > 1 else 0
    title = f"Alike for some {1 / sigma:.0f} timesteps each way, and to other layers"
    entitle(figure, f"{title} {others:.2f} at most")
    return figure


def show_anchors(
    before: SpaceTimeMapper,
    after: SpaceTimeMapper,
    points: Sequence[Point],
    time_anchors: int = 10,
    num_train_timesteps: int = 1000,
) -> Figure:
    """What the anchors answer to a few points, before and after training.

    Args:
        before: a mapper as it starts, for example of a new method with the same seed.
        after: the mapper trained.
        points: timesteps and layers, each marked by a ring.
        time_anchors: times on the grid of anchors (released code: 10).
        num_train_timesteps: of the base's schedule (SD: 1000).

    Raises:
        PersoError: a mapper without Fourier features, which has no anchors.
    """
    rows = {
        "before": anchor_activations(before, points, time_anchors),
        "after training": anchor_activations(after, points, time_anchors),
    }
    limit = max(float(grids.abs().max()) for grids in rows.values())
    step = num_train_timesteps / time_anchors
    num_layers = rows["before"].shape[-1]
    extent = (-0.5, num_layers - 0.5, -step / 2, num_train_timesteps - step / 2)
    figure = Figure(figsize=(1.6 + 2 * len(points), 3.8), layout="constrained")
    axes = figure.subplots(2, len(points), sharex=True, sharey=True, squeeze=False)
    shown = {"cmap": "RdBu_r", "vmin": -limit, "vmax": limit, "extent": extent}
    for line, (name, grids) in zip(axes, rows.items(), strict=True):
        line[0].set_ylabel(f"{name}\ntimestep", fontsize=9)
        for axis, (t, layer), grid in zip(line, points, grids, strict=True):
            image = axis.imshow(grid.numpy(), aspect="auto", origin="lower", **shown)
            axis.plot(layer, t, "o", mfc="none", mec="k", markersize=12)
            axis.tick_params(labelsize=8)
    for axis, (t, layer) in zip(axes[0], points, strict=True):
        axis.set_title(f"t = {t:g}, l = {layer:g}", **SMALL)
    for axis in axes[1]:
        axis.set_xlabel("layer", fontsize=9)
    color_bar(image, axes)
    calm, stirred = (_at_other_layers(grids, points) for grids in rows.values())
    title = f"Anchors of other layers answer ±{calm:.2f} before training"
    entitle(figure, f"{title}, ±{stirred:.2f} after")
    return figure


@torch.no_grad()
def anchor_activations(
    mapper: SpaceTimeMapper, points: Sequence[Point], time_anchors: int = 10
) -> Tensor:
    """What the anchors answer to points: (points, time_anchors, layers) on the CPU.

    Raises:
        PersoError: a mapper without Fourier features, which has no anchors.
    """
    if not isinstance(mapper.encoding, nn.Sequential):
        raise PersoError(
            "This mapper is given the timestep and the layer as two numbers, so it has "
            "no anchors. Use one with positional_encoding=True."
        )
    at = torch.tensor(points, device=mapper.output.weight.device, dtype=torch.float32)
    return mapper.encoding(at).cpu().unflatten(1, (time_anchors, -1))


def _at_other_layers(grids: Tensor, points: Sequence[Point]) -> float:
    """Root mean square of what anchors answer that are not of a point's layer."""
    near = torch.tensor([layer for _, layer in points])[:, None]
    other = (torch.arange(grids.shape[-1]) - near).abs() > 0.5  # (points, layers)
    return float(grids.mT[other].square().mean().sqrt())


# -- for all of them -------------------------------------------------------------------


def entitle(figure: Figure, title: str) -> None:
    """A title at the left, above everything."""
    figure.suptitle(title, x=0.01, ha="left", fontsize=11, fontweight="bold")


def mark_sides(axis: Axes, layers: Sequence[CrossAttentionLayer]) -> None:
    """Layers along x: a name for each side of the U-Net, and white lines between."""
    sides = _sides(layers)
    for positions in list(sides.values())[1:]:
        axis.axvline(positions[0] - 0.5, color="w", linewidth=1)
    axis.set_xticks([*map(fmean, sides.values())], sides)
    axis.tick_params(length=0, labelsize=8)


def _sides(layers: Sequence[CrossAttentionLayer]) -> dict[str, list[int]]:
    """The positions of the layers on each side."""
    sides: dict[str, list[int]] = {}
    for layer in layers:
        sides.setdefault(layer.side, []).append(layer.position)
    return sides


def color_bar(
    drawn: ScalarMappable, axes: Axes | np.ndarray, ticks: Sequence[float] | None = None
) -> Colorbar:
    """A bar of its colours at the right, without a frame."""
    near = axes if isinstance(axes, Axes) else axes.flat[0]
    bar = near.figure.colorbar(drawn, ax=axes, pad=0.02, ticks=ticks)
    bar.outline.set_visible(False)
    bar.ax.tick_params(labelsize=8)
    return bar
