"""Panels that turn Perfusion's dials: one concept's gate, and the gates of two at once.

How far a word opens a concept's gate depends on its share s of the concept's i*, which
the text encoder decides, and on beta and tau, which can be turned without any training
(`rank_one.py`). So both panels show the gates of a prompt's words beside the picture.
"""

from collections.abc import Sequence
from functools import partial

import torch
from diffusers import StableDiffusionPipeline
from ipywidgets import SelectionSlider
from matplotlib.figure import Figure

from perso_lite.errors import PersoError
from perso_lite.figures.perfusion import bars_figure, curve_figure
from perso_lite.method import attached, inference_parameters, state_of
from perso_lite.methods.perfusion.analysis import (
    concept_similarity,
    token_states,
)
from perso_lite.methods.perfusion.joint_edit import joint_edit
from perso_lite.methods.perfusion.perfusion import Perfusion
from perso_lite.methods.perfusion.rank_one import EDITS
from perso_lite.sampling import generate
from perso_lite.teaching.panel import Panel, choice, slider, text_box

BETAS = tuple(step / 20 for step in range(21))
TAUS = (0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.5)
Sampling = tuple[int, float]  # denoising steps, guidance scale


# -- one gate --------------------------------------------------------------------------


def gate_explorer(
    base: StableDiffusionPipeline,
    method: Perfusion,
    prompt: str | None = None,
    seeds: Sequence[int] = range(4),
    betas: Sequence[float] = BETAS,
    taus: Sequence[float] = TAUS,
    num_inference_steps: int = 10,
    guidance_scale: float = 4.0,
) -> Panel:
    """Turn a concept's dials: see how far each word opens its gate, and the picture.

    Args:
        base: the pipeline, without the concept.
        method: the concept, as it is at that moment; its own dials stay as they are.
        prompt: to start with; default: a photo of the concept on a beach.
        seeds: to choose from.
        betas: to choose from, with the concept's own, where it starts.
        taus: to choose from, with the concept's own, where it starts.
        num_inference_steps: few, for a preview (ours: 10).
        guidance_scale: of the pictures (ours: 4).
    """
    locked = "trained" if method.trained_keys else "local"
    return Panel(
        partial(draw_gate, base, method, (num_inference_steps, guidance_scale)),
        depends_on=lambda: state_of(method),
        prompt=text_box(
            prompt or f"a photo of a {method.placeholder_token} on a beach"
        ),
        beta=_dial(betas, method.beta),
        tau=_dial(taus, method.tau),
        key_locking=choice([locked, "global"], method.key_locking),
        seed=slider(seeds),
    )


def draw_gate(
    base: StableDiffusionPipeline,
    method: Perfusion,
    sampling: Sampling,
    prompt: str,
    beta: float,
    tau: float,
    key_locking: str,
    seed: int,
) -> Figure:
    """The gate with the prompt's tokens on it, and the picture, for these dials."""
    given = {"beta": beta, "tau": tau, "key_locking": key_locking}
    with inference_parameters(method, **given), method.attach(base):
        labels, states, padding = token_states(base, prompt)
        (picture,) = generate(base, prompt, (seed,), *sampling)
    s = concept_similarity(states, method)  # (tokens,)
    shares = {"words": s[1:-1], "start": s[:1], "end": s[-1:]}
    if len(padding):
        shares["padding"] = concept_similarity(padding, method).mean(0, keepdim=True)
    caption = f"{key_locking} keys, seed {seed}"
    word = method.placeholder_token
    return curve_figure(picture, caption, shares, labels[1:-1], word, beta, tau)


# -- two gates -------------------------------------------------------------------------


def two_gates(
    base: StableDiffusionPipeline,
    one: Perfusion,
    other: Perfusion,
    prompt: str | None = None,
    seeds: Sequence[int] = range(4),
    betas: Sequence[float] = BETAS,
    taus: Sequence[float] = TAUS,
    num_inference_steps: int = 10,
    guidance_scale: float = 4.0,
) -> Panel:
    """Turn the dials of two concepts, and choose how they are edited jointly.

    Args:
        base: the pipeline, without the concepts.
        one: a concept, as it is at that moment; its own dials stay as they are.
        other: another one, attached after the first.
        prompt: to start with; default: a photo of one next to the other.
        seeds: to choose from.
        betas: to choose from, with the concepts' own, where they start.
        taus: to choose from, for both, with the first one's own, where they start.
        num_inference_steps: few, for a preview (ours: 10).
        guidance_scale: of the pictures (ours: 4).

    Raises:
        PersoError: the two have the same placeholder.
    """
    words = [method.placeholder_token for method in (one, other)]
    if words[0] == words[1]:
        raise PersoError(
            f"Both concepts are called {words[0]}, but two gates need two concepts "
            "with words of their own. Give another concept, or read this one under "
            f'another name: load_method(path, base, "{words[0][:-1]}-2>").'
        )
    return Panel(
        partial(
            draw_two_gates, base, one, other, (num_inference_steps, guidance_scale)
        ),
        depends_on=lambda: (state_of(one), state_of(other)),
        prompt=text_box(prompt or f"a photo of a {words[0]} next to a {words[1]}"),
        beta_one=_dial(betas, one.beta),
        beta_other=_dial(betas, other.beta),
        tau=_dial(taus, one.tau),
        edit=choice(list(EDITS)),
        seed=slider(seeds),
    )


def draw_two_gates(
    base: StableDiffusionPipeline,
    one: Perfusion,
    other: Perfusion,
    sampling: Sampling,
    prompt: str,
    beta_one: float,
    beta_other: float,
    tau: float,
    edit: str,
    seed: int,
) -> Figure:
    """Both gates at every word of the prompt, and the picture, for these dials."""
    with (
        inference_parameters(one, beta=beta_one, tau=tau),
        inference_parameters(other, beta=beta_other, tau=tau),
        joint_edit(base, edit),
        attached(base, one, other),
    ):
        labels, states, _ = token_states(base, prompt)
        (picture,) = generate(base, prompt, (seed,), *sampling)
    inputs = torch.stack([one.target_input.cpu(), other.target_input.cpu()])
    inverse = one.covariance.inverse.cpu()
    beta, taus = torch.tensor([[beta_one, beta_other], [tau, tau]])
    _, gates = EDITS[edit](states, inputs, inverse, beta, taus)  # (tokens, 2)
    words = [method.placeholder_token for method in (one, other)]
    what = "share" if edit == "rome" else "gate"
    caption = f"{edit} edit, seed {seed}"
    return bars_figure(picture, caption, gates[1:-1], labels[1:-1], words, what)


def _dial(values: Sequence[float], start: float) -> SelectionSlider:
    """A slider over the values and the one it starts at."""
    start = round(start, 6)  # as the slider has its values
    return slider(sorted({start, *(round(float(v), 6) for v in values)}), start)
