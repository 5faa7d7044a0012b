"""A panel for NeTI's inference parameters: truncation, and the bypass's alpha.

During training the mapper's hidden units were truncated at random (nested dropout), so
that the first units encode what matters most (`methods/space_time/neti.py`). The panel
shows what is left if only the first k units are used: of the picture, and of how the
word varies over timesteps and layers.
"""

from collections.abc import Sequence
from functools import partial

from diffusers import StableDiffusionPipeline
from matplotlib.figure import Figure

from perso_lite.conditioning.cross_attention import cross_attention_layers
from perso_lite.figures.truncation import truncation_figure
from perso_lite.method import state_of
from perso_lite.methods.space_time.analysis import mapper_output
from perso_lite.methods.space_time.mapper import HIDDEN
from perso_lite.methods.space_time.neti import NeTI
from perso_lite.sampling import generate, inference_parameters
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
    """Vary a word's inference parameters: see a picture, and how much the word varies.

    A word trained without a bypass has no controls for the bypass.

    Args:
        base: the pipeline, without the concept.
        method: the concept; further training is noticed. Its own parameters do not
            change.
        prompt: the start value; default: a photo of the concept on a beach.
        seeds: stops of the slider.
        truncations: stops of the slider, 128 included; it starts at the concept's own.
        num_inference_steps: denoising steps; few, for a preview (ours: 10).
        guidance_scale: of classifier-free guidance (ours: 4).

    Raises:
        PersoError: the first picture cannot be generated, for example because the
            prompt has the concept's word twice.
    """
    kept = HIDDEN if method.truncation_idx is None else method.truncation_idx
    stops = sorted({HIDDEN, kept, *(int(k) for k in truncations)})
    of_bypass = {
        "bypass": choice(["on", "off"]),
        "alpha": slider(ALPHAS, method.bypass_alpha),
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
    """The picture, and how the word varies over timesteps and layers.

    Args:
        base: the pipeline, without the concept.
        method: the concept; its own inference parameters do not change.
        sampling: denoising steps and guidance scale.
        truncations: numbers of hidden units to compare, all 128 included.
        prompt: the prompt.
        truncation_idx: one of `truncations`, used for the picture.
        seed: of the noise that the picture starts from.
        bypass: "on" or "off".
        alpha: the weight of the bypass if it is on.

    Raises:
        PersoError: a parameter is out of range, the concept cannot be attached, or the
            prompt has its word twice or is so long that it would be cut off.
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
