"""Figures of NeTI's mapper: the word over time and layers, the waves, the anchors.

Each function returns a matplotlib figure, which a cell shows if the call is its last
line. The title states the finding.
"""

from collections.abc import Sequence
from statistics import fmean

import torch
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colorbar import Colorbar
from matplotlib.figure import Figure
from torch import Tensor, nn

from perso_lite.conditioning.cross_attention import cross_attention_layers
from perso_lite.errors import PersoError
from perso_lite.figures.style import (
    BLUE,
    PINK,
    SMALL,
    color_bar,
    entitle,
    hide_spines,
    layers_by_side,
)
from perso_lite.methods.space_time.analysis import (
    even_timesteps,
    mapper_output,
    variance_shares,
)
from perso_lite.methods.space_time.mapper import FourierFeatures, SpaceTimeMapper
from perso_lite.methods.space_time.neti import NeTI

Point = tuple[float, float]  # timestep, layer


# -- the word --------------------------------------------------------------------------


def show_word_scatter(
    method: NeTI, timesteps: int | Tensor = 50, truncation_idx: int | None = None
) -> Figure:
    """Scatter plots of the words M(t, l), colored by timestep and by layer.

    The axes are the two principal directions of the words.

    Args:
        method: the learned word.
        timesteps: (times,), or their number, evenly spaced (ours: 50).
        truncation_idx: the number of hidden units to use, up to 128; None: all.

    Raises:
        PersoError: `timesteps` or `truncation_idx` is out of range.
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
    sides = layers_by_side(cross_attention_layers(method.base.unet))
    bar.set_ticks([*map(fmean, sides.values())], labels=sides)
    for axis in (left, right):
        axis.set_xlabel(f"1st direction ({shares[0]:.0%} of the variance)")
    left.set_ylabel(f"2nd direction ({shares[1]:.0%})")
    differs = variance_shares(words)
    total = sum(differs.values()) or 1  # 0 if the word is the same everywhere
    layered, timed = (differs[name] / total for name in ("layers", "timesteps"))
    title = f"{layered:.0%} of how words differ goes with the layer, {timed:.0%} with"
    entitle(figure, f"{title} the timestep")
    return figure


def _draw_words(
    axis: Axes, places: Tensor, values: Tensor, name: str, steps: int | None
) -> Colorbar:
    """Draw points (n, 2) colored by values (n,), with a color bar.

    Args:
        axis: of the chart.
        places: (n, 2).
        values: (n,).
        name: what the values are.
        steps: number of discrete colors; None: a continuous scale.

    Returns:
        The color bar.
    """
    marks = axis.scatter(
        *places.T.numpy(),
        s=8,
        c=values.numpy(),
        cmap=colormaps["viridis"].resampled(steps or 256),
        linewidths=0,
    )
    if steps:  # each value in the middle of its color
        marks.set_clim(-0.5, steps - 0.5)
    axis.set_title(f"by {name}", **SMALL)
    axis.tick_params(labelsize=8)
    hide_spines(axis)
    return color_bar(marks, axis)


def principal_plane(vectors: Tensor) -> tuple[Tensor, list[float]]:
    """Project vectors (n, dim) on their first two principal components.

    Returns:
        Coordinates (n, 2), and the variance explained by each component, from 0 to 1.
    """
    centered = vectors - vectors.mean(0)
    u, s, _ = torch.linalg.svd(centered, full_matrices=False)
    variance = s.square() / s.square().sum().clamp(min=1e-12)
    return u[:, :2] * s[:2], variance[:2].tolist()


# -- the input of the mapper -----------------------------------------------------------


def show_kernel(
    features: FourierFeatures,
    timestep: int = 500,
    layer: int = 7,
    num_layers: int = 16,
    num_train_timesteps: int = 1000,
) -> Figure:
    """The similarity of one point's Fourier features to those of every other point.

    Args:
        features: of a mapper, or new ones.
        timestep: of the point (ours: the middle).
        layer: of the point (ours: the first of the up side).
        num_layers: of the U-Net (SD 1.x: 16).
        num_train_timesteps: of the base's schedule (SD: 1000).
    """
    kernel = _kernel(features, timestep, layer, num_layers, num_train_timesteps)
    times, layers = torch.arange(num_train_timesteps), torch.arange(num_layers)
    sigma = float(features.frequencies[:, 0].square().mean().sqrt())  # as sampled
    gaussian = torch.exp(-((sigma * (times - timestep)) ** 2) / 2)

    figure = Figure(figsize=(7.4, 3.8), layout="constrained")
    heat, curve = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
    limits = {"vmin": -1, "vmax": 1, "interpolation": "nearest"}
    image = heat.imshow(
        kernel.T.numpy(), cmap="RdBu_r", aspect="auto", origin="lower", **limits
    )
    color_bar(image, heat, ticks=(-1, 0, 1))
    heat.set_ylabel("layer")
    heat.yaxis.get_major_locator().set_params(integer=True)
    heat.set_title(f"e(t, l) · e({timestep}, {layer})", **SMALL)
    curve.plot(times, kernel[:, layer], color=BLUE, label=f"at layer {layer}")
    expected = f"exp(-({sigma:.3f} dt)² / 2)"
    curve.plot(times, gaussian, ":", color=PINK, linewidth=2, label=expected)
    curve.set(xlabel="timestep", yticks=(0, 0.5, 1))
    curve.legend(fontsize=8, frameon=False)
    hide_spines(curve)
    others = kernel[:, layers != layer].amax() if num_layers > 1 else 0
    title = f"Alike for some {1 / sigma:.0f} timesteps each way, and to other layers"
    entitle(figure, f"{title} {others:.2f} at most")
    return figure


@torch.no_grad()
def _kernel(
    features: FourierFeatures,
    timestep: int,
    layer: int,
    num_layers: int,
    num_train_timesteps: int,
) -> Tensor:
    """e(t, l) . e(timestep, layer) for all t and l: (times, layers) on the CPU."""
    times, layers = torch.arange(num_train_timesteps), torch.arange(num_layers)
    points = torch.cartesian_prod(times, layers).to(features.frequencies)
    one = points.new_tensor([[timestep, layer]])
    kernel = features(points) @ features(one)[0]
    return kernel.view(num_train_timesteps, num_layers).cpu()


def show_anchors(
    before: SpaceTimeMapper,
    after: SpaceTimeMapper,
    points: Sequence[Point],
    time_anchors: int = 10,
    num_train_timesteps: int = 1000,
) -> Figure:
    """Heat maps of the anchors' activations at a few points, before and after training.

    Args:
        before: the untrained mapper, for example of a new method with the same seed.
        after: the trained mapper.
        points: (timestep, layer) of each point, marked by a ring.
        time_anchors: number of timesteps on the grid of anchors (released code: 10).
        num_train_timesteps: of the base's schedule (SD: 1000).

    Raises:
        PersoError: a mapper has no Fourier features and so no anchors.
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
    """Activations of the anchors: (points, time_anchors, layers) on the CPU.

    Raises:
        PersoError: the mapper has no Fourier features and so no anchors.
    """
    if not isinstance(mapper.encoding, nn.Sequential):
        raise PersoError(
            "This mapper is given the timestep and the layer as two numbers, so it has "
            "no anchors. Use one with positional_encoding=True."
        )
    at = torch.tensor(points, device=mapper.output.weight.device, dtype=torch.float32)
    return mapper.encoding(at).cpu().unflatten(1, (time_anchors, -1))


def _at_other_layers(grids: Tensor, points: Sequence[Point]) -> float:
    """Root mean square activation of the anchors at other layers than each point's."""
    near = torch.tensor([layer for _, layer in points])[:, None]
    other = (torch.arange(grids.shape[-1]) - near).abs() > 0.5  # (points, layers)
    return float(grids.mT[other].square().mean().sqrt())
