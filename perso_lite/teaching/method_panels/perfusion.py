"""Panels for Perfusion's beta and tau: the gate of one concept, and of two at once.

How far a word opens a concept's gate depends on its share s of the concept's i*, which
the text encoder determines, and on the inference parameters beta and tau, which can be
changed without training (`methods/perfusion/rank_one.py`). Both panels show the gates
of a prompt's words beside the picture.
"""

from collections.abc import Sequence
from functools import partial

import torch
from diffusers import StableDiffusionPipeline
from matplotlib.figure import Figure

from perso_lite.errors import PersoError
from perso_lite.figures.perfusion import bars_figure, curve_figure
from perso_lite.method import attached, state_of
from perso_lite.methods.perfusion.analysis import concept_similarity, token_states
from perso_lite.methods.perfusion.joint_edit import joint_edit
from perso_lite.methods.perfusion.perfusion import Perfusion
from perso_lite.methods.perfusion.rank_one import EDITS
from perso_lite.sampling import generate, inference_parameters
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
    """Vary a concept's inference parameters: see its gate at each word, and a picture.

    Args:
        base: the pipeline, without the concept.
        method: the concept; further training is noticed. Its own parameters do not
            change.
        prompt: the start value; default: a photo of the concept on a beach.
        seeds: stops of the slider.
        betas: stops of the slider, which starts at the concept's own beta.
        taus: stops of the slider, which starts at the concept's own tau.
        num_inference_steps: denoising steps; few, for a preview (ours: 10).
        guidance_scale: of classifier-free guidance (ours: 4).

    Raises:
        PersoError: the first picture cannot be generated, for example because the
            concept is still attached to the pipeline.
    """
    betas, taus = _sorted_floats(betas), _sorted_floats(taus)
    locked = "trained" if method.trained_keys else "local"
    return Panel(
        partial(draw_gate, base, method, (num_inference_steps, guidance_scale)),
        depends_on=lambda: state_of(method),
        prompt=text_box(
            prompt or f"a photo of a {method.placeholder_token} on a beach"
        ),
        beta=slider(betas, method.beta),
        tau=slider(taus, method.tau),
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
    """The gate with the prompt's tokens on it, and the picture.

    Args:
        base: the pipeline, without the concept.
        method: the concept; its own inference parameters do not change.
        sampling: denoising steps and guidance scale.
        prompt: the prompt.
        beta: the share at which the gate is half open.
        tau: the temperature of the gate.
        key_locking: "local", "trained" or "global"; see `Perfusion`.
        seed: of the noise that the picture starts from.

    Raises:
        PersoError: a parameter is out of range, the concept cannot be attached, or the
            prompt is so long that its word would be cut off.
    """
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
    """Vary the inference parameters of two concepts, and choose the joint edit.

    Args:
        base: the pipeline, without the concepts.
        one: a concept; further training is noticed. Its own parameters do not change.
        other: another concept, attached after the first.
        prompt: the start value; default: a photo of one concept next to the other.
        seeds: stops of the slider.
        betas: stops of the two sliders, which start at the concepts' own beta.
        taus: stops of the slider for both, which starts at the first concept's tau.
        num_inference_steps: denoising steps; few, for a preview (ours: 10).
        guidance_scale: of classifier-free guidance (ours: 4).

    Raises:
        PersoError: the two have the same placeholder, or the first picture cannot be
            generated.
    """
    betas, taus = _sorted_floats(betas), _sorted_floats(taus)
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
        beta_one=slider(betas, one.beta),
        beta_other=slider(betas, other.beta),
        tau=slider(taus, one.tau),
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
    """Both gates at every word of the prompt, and the picture.

    Args:
        base: the pipeline, without the concepts.
        one: a concept; its own inference parameters do not change.
        other: another concept, attached after the first.
        sampling: denoising steps and guidance scale.
        prompt: the prompt.
        beta_one: the share at which the first gate is half open.
        beta_other: the share at which the second gate is half open.
        tau: the temperature of both gates.
        edit: a key of `EDITS`, for example "exact".
        seed: of the noise that the picture starts from.

    Raises:
        PersoError: a parameter is out of range, the concepts cannot be attached
            together, or the prompt is so long that a learned word would be cut off.
    """
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


def _sorted_floats(values: Sequence[float]) -> list[float]:
    """The values in ascending order, each once."""
    return sorted({float(value) for value in values})
