"""Figures of TextBoost: timesteps, drift by position, one picture made many, scores.

Each function returns a matplotlib figure, which a cell shows if the call is its last
line. The title states the finding.
"""

from collections.abc import Mapping, Sequence
from textwrap import fill

from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor

from perso_lite.evaluation.tradeoff import Results, interval, place_of
from perso_lite.figures.charts import Interval, show_flow
from perso_lite.figures.style import (
    BLUE,
    GRAY,
    PINK,
    draw_picture,
    entitle,
    hide_spines,
    legend_beside,
    new_figure,
)
from perso_lite.methods.textboost.timesteps import snr_probabilities

OTHER_COLORS = ("#e08214", "#5aa02c", "#8067b7", "#8c564b", "#17a2a2", "#999900")

# -- the method ------------------------------------------------------------------------


def show_parts(title: str) -> Figure:
    """The method as a flow chart: what one step of training does; pink is learned."""
    boxes = {
        "picture": (0, 1, "one picture"),
        "view": (2, 1, "transformed\npicture"),
        "noised": (4.1, 1, "noised\nwith $t \\sim p_t$"),
        "unet": (6.1, 1, "U-Net,\nfrozen"),
        "mse": (8, 1, "squared error\nof the noise"),
        "caption": (2, 0, '"<toy-crop> a photo\nof a <toy>"'),
        "encoder": (4.1, 0, "text encoder $E$\nwith LoRA"),
        "general": (2, -1, 'general caption\n"a red car on a beach"'),
        "before": (4.1, -1, "text encoder $E_0$,\nfrozen"),
        "kept": (8, -0.5, "1 - cosine,\ntimes $\\lambda$"),
    }
    arrows = [
        ("picture", "view"), ("view", "noised"), ("noised", "unet"), ("unet", "mse"),
        ("caption", "encoder"), ("encoder", "unet"), ("general", "encoder"),
        ("general", "before"), ("encoder", "kept"), ("before", "kept"),
    ]  # fmt: skip
    colors = {"caption": "pink", "encoder": "pink", "unet": "0.9", "before": "0.9"}
    return show_flow(boxes, arrows, title=title, colors=colors, size=(9.5, 3))


def show_timesteps(
    alphas_cumprod: Tensor,
    timesteps: Sequence[int],
    effects: Mapping[str, Tensor],
    *,
    title: str,
    size: tuple[float, float] = (8, 3),
) -> Figure:
    """How much the caption matters at each timestep, over how often it is trained.

    Args:
        alphas_cumprod: of the base's schedule, (num_train_timesteps,).
        timesteps: at which it was measured.
        effects: how far predictions for two captions differ, (timesteps,), by what is
            predicted; each is drawn in parts of its mean.
        title: the finding of the figure.
        size: width and height in inches.
    """
    p = snr_probabilities(alphas_cumprod) * len(alphas_cumprod)
    figure, axis = new_figure(figsize=size)
    axis.plot(p.numpy(), color=PINK, label="$p_t$, in parts of uniform")
    axis.axhline(1, color=GRAY, linestyle=":", label="uniform")
    colors = (BLUE, *OTHER_COLORS)
    for (name, values), color in zip(effects.items(), colors, strict=False):
        relative = (values / values.mean()).tolist()
        axis.plot(timesteps, relative, "o-", color=color, label=f"effect on {name}")
    axis.set(xlabel="timestep (1000: pure noise)", ylabel="relative", title=title)
    axis.set_ylim(bottom=0)
    legend_beside(axis)
    return figure


def show_drift(
    drifts: Mapping[str, Tensor],
    *,
    title: str,
    ylabel: str = "1 - cosine to the base",
    size: tuple[float, float] = (8, 2.8),
) -> Figure:
    """Drift at each position of a prompt, start token, words, padding; log scale.

    Args:
        drifts: (tokens,) by the name of what was learned.
        title: the finding of the figure.
        ylabel: what the values are.
        size: width and height in inches.
    """
    figure, axis = new_figure(figsize=size)
    for (name, values), color in zip(drifts.items(), _colors(drifts), strict=True):
        axis.plot(values.numpy(), "o-", color=color, markersize=4, label=name)
    axis.set(xlabel="position (0: start token)", ylabel=ylabel, title=title)
    axis.set_yscale("log")  # with and without preservation they differ a hundredfold
    legend_beside(axis)
    return figure


def pictures_over_drift(
    pictures: Sequence[Image.Image], captions: Sequence[str], drift: Tensor
) -> Figure:
    """Pictures side by side, and below them the drift of a prompt's text states.

    Args:
        pictures: from left to right.
        captions: above each; long ones are wrapped.
        drift: 1 - cosine to the base's states at each position, (tokens,).
    """
    figure = Figure(figsize=(6, 4.6), layout="constrained")
    above, below = figure.subfigures(2, 1, height_ratios=(3.2, 1.2))
    axes = above.subplots(1, len(pictures), squeeze=False)[0]
    for axis, picture, caption in zip(axes, pictures, captions, strict=True):
        draw_picture(axis, picture, fill(caption, 36))
    axis = below.subplots()
    axis.bar(range(len(drift)), drift.numpy(), color=BLUE)
    axis.set_ylim(0, max(0.1, 1.1 * float(drift.max())))
    axis.set_xlabel("position in the right prompt (0: start token)", fontsize=8)
    axis.set_ylabel("drift", fontsize=8)
    axis.tick_params(labelsize=8)
    hide_spines(axis)
    entitle(figure, f"The text states of the right prompt drift by {drift.mean():.3f}")
    return figure


# -- what was measured -----------------------------------------------------------------


def show_points(
    results: Results,
    groups: Mapping[str, Sequence[str]],
    scores: tuple[str, str],
    *,
    title: str,
    xlabel: str,
    ylabel: str,
    marks: Mapping[str, str] | None = None,
    diagonal: bool = False,
    size: tuple[float, float] = (8, 3.8),
) -> Figure:
    """Means of two scores with the 95 % intervals of both, joined in their order.

    Args:
        results: from `load_results`.
        groups: by label, points in the order of training.
        scores: of the horizontal and the vertical axis.
        title: the finding of the figure.
        xlabel: of the horizontal axis.
        ylabel: of the vertical axis.
        marks: single points in black by label, for example class prior and oracle.
        diagonal: whether to draw the line on which both scores are equal.
        size: width and height in inches.

    Raises:
        PersoError: a point has no such score.
    """
    figure, axis = new_figure(figsize=size)
    for (name, points), color in zip(groups.items(), _colors(groups), strict=True):
        places = [place_of(results, point, scores) for point in points]
        axis.plot(*zip(*places, strict=True), "o-", color=color, ms=4, label=name)
        x, y = (interval(results, points[-1], score) for score in scores)
        spans = [[[mean - low], [high - mean]] for mean, low, high in (x, y)]
        style = {"fmt": "none", "color": color, "alpha": 0.5}
        axis.errorbar(x[0], y[0], xerr=spans[0], yerr=spans[1], **style)
    for (name, point), marker in zip((marks or {}).items(), "s*^", strict=False):
        place = place_of(results, point, scores)
        axis.plot(*place, f"k{marker}", label=name, markersize=8)
    if diagonal:
        axis.axline((0.5, 0.5), slope=1, color=GRAY, linestyle=":", label="equal")
    axis.set(title=title, xlabel=xlabel, ylabel=ylabel)
    legend_beside(axis)
    return figure


def show_panels(
    panels: Mapping[str, Mapping[str, Interval]],
    *,
    title: str,
    references: Mapping[str, float] | None = None,
    size: tuple[float, float] = (9, 3),
) -> Figure:
    """The same arms by several scores, side by side, with their intervals.

    Args:
        panels: for each score, mean, lower and upper end by the name of the arm.
        title: the finding of the figure.
        references: for some scores, a value to compare with, drawn as a dotted line.
        size: width and height of the whole figure in inches.
    """
    figure, axes = new_figure(1, len(panels), figsize=size, sharey=True, squeeze=False)
    for axis, (score, arms) in zip(axes[0], panels.items(), strict=True):
        for i, (mean, low, high) in enumerate(arms.values()):
            spans = [[mean - low], [high - mean]]
            color = PINK if i == 0 else BLUE
            axis.errorbar(mean, i, xerr=spans, fmt="o", color=color, capsize=3)
        axis.set_yticks(range(len(arms)), arms)
        axis.set_title(score, fontsize=9, fontweight="normal", loc="center")
        axis.tick_params(labelsize=8)
        if score in (references or {}):
            axis.axvline(references[score], color=GRAY, linestyle=":")
        hide_spines(axis)
    axes[0, 0].invert_yaxis()  # the first arm on top
    entitle(figure, title)
    return figure


def _colors(named: Mapping[str, object]) -> list[str]:
    """Pink and blue first, then others; gray if there are more than eight."""
    colors = [PINK, BLUE, *OTHER_COLORS][: len(named)]
    return colors + [GRAY] * (len(named) - len(colors))
