"""A panel that turns NeTI's dials: how many hidden units, how much of the bypass.

The mapper's units were cut off at random while it learned, so that the first ones say
what matters most (`methods/neti.py`). The panel shows what is left of the picture, and
of what the word says where and when, if only the first k of them speak.
"""

from collections.abc import Sequence
from functools import partial

from diffusers import StableDiffusionPipeline
from ipywidgets import SelectionSlider
from matplotlib.figure import Figure

from perso_lite.conditioning.cross_attention import cross_attention_layers
from perso_lite.figures.truncation import truncation_figure
from perso_lite.method import inference_parameters, state_of
from perso_lite.methods.space_time.analysis import mapper_output
from perso_lite.methods.space_time.mapper import HIDDEN
from perso_lite.methods.space_time.neti import NeTI
from perso_lite.sampling import generate
from perso_lite.teaching.panel import Panel, choice, slider, text_box

TRUNCATIONS = (0, 1, 2, 4, 8, 16, 32, 64, HIDDEN)
ALPHAS = (0.05, 0.1, 0.2, 0.4, 0.8)


def truncation_explorer(
    base: StableDiffusionPipeline,
    method: NeTI,
    prompt: str | None = None,
    seeds: Sequence[int] = range(4),
    truncations: Sequence[int] = TRUNCATIONS,
    num_inference_steps: int = 10,
    guidance_scale: float = 4.0,
) -> Panel:
    """Turn a word's dials: see the picture, and how much the word still tells apart.

    A word that learned without a bypass has no controls for one.

    Args:
        base: the pipeline, without the concept.
        method: the concept, as it is at that moment; its own dials stay as they are.
        prompt: to start with; default: a photo of the concept on a beach.
        seeds: to choose from.
        truncations: to choose from, with the concept's own, where it starts.
        num_inference_steps: few, for a preview (ours: 10).
        guidance_scale: of the pictures (ours: 4).
    """
    kept = HIDDEN if method.truncation_idx is None else method.truncation_idx
    stops = sorted({HIDDEN, kept, *(int(k) for k in truncations)})
    of_bypass = {
        "bypass": choice(["on", "off"]),
        "alpha": _alpha_slider(method.bypass_alpha),
    }
    sampling = (num_inference_steps, guidance_scale)
    return Panel(
        partial(draw_truncation, base, method, sampling, stops),
        depends_on=lambda: state_of(method),
        prompt=text_box(
            prompt or f"a photo of a {method.placeholder_token} on a beach"
        ),
        truncation_idx=slider(stops, kept),
        **(of_bypass if method.bypass else {}),
        seed=slider(seeds),
    )


def draw_truncation(
    base: StableDiffusionPipeline,
    method: NeTI,
    sampling: tuple[int, float],
    truncations: Sequence[int],
    prompt: str,
    truncation_idx: int,
    seed: int,
    bypass: str = "off",
    alpha: float = 0.0,
) -> Figure:
    """The picture for these dials, and what the word says where and when.

    Args:
        base: the pipeline, without the concept.
        method: the concept.
        sampling: denoising steps and guidance scale.
        truncations: numbers of units to compare, all of them (128) included.
        prompt: of the picture.
        truncation_idx: one of them, for the picture.
        seed: of the picture.
        bypass: "on" or "off".
        alpha: the bypass's step where it is on.
    """
    alpha = alpha if bypass == "on" else 0.0
    with (
        inference_parameters(method, truncation_idx=truncation_idx, bypass_alpha=alpha),
        method.attach(base),
    ):
        (picture,) = generate(base, prompt, (seed,), *sampling)
    words = {k: mapper_output(method, truncation_idx=k) for k in truncations}
    caption = f"bypass {bypass}, " if method.bypass else ""
    caption += f"alpha {alpha:g}, " if bypass == "on" else ""
    layers, last = cross_attention_layers(base.unet), method.num_train_timesteps
    caption += f"seed {seed}"
    return truncation_figure(picture, caption, words, truncation_idx, layers, last)


def _alpha_slider(own: float) -> SelectionSlider:
    """A slider over the alphas and the one it starts at."""
    own = round(own, 6)  # as the slider has its values
    return slider(sorted({own, *ALPHAS}), own)
