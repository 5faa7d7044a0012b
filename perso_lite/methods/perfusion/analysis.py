"""A concept's gate, looked at word by word.

How far a word opens the gate of Perfusion depends on its similarity s to the concept's
i*, which the text encoder decides, and on beta and tau, which can be changed without
any training (`rank_one.py`). `teaching/method_panels/perfusion.py` has sliders for
them.
"""

import torch
from diffusers import StableDiffusionPipeline
from torch import Tensor

from perso_lite.conditioning.words import encode_prompts
from perso_lite.methods.perfusion.perfusion import Perfusion
from perso_lite.methods.perfusion.rank_one import similarities


@torch.no_grad()
def token_states(
    base: StableDiffusionPipeline, prompt: str
) -> tuple[list[str], Tensor, Tensor]:
    """The text states of a prompt's tokens and of its padding, float32 on the CPU.

    Returns:
        Labels "start", the words (long ones in pieces) and "end"; the states of these,
        (tokens, dim); those of the padding, (paddings, dim).
    """
    text = base.maybe_convert_prompt(prompt, base.tokenizer)
    ids = base.tokenizer(text, truncation=True).input_ids
    words = base.tokenizer.convert_ids_to_tokens(ids[1:-1])
    labels = ["start", *(word.removesuffix("</w>") for word in words), "end"]
    states = encode_prompts(base, [prompt])[0].float().cpu()
    return labels, states[: len(ids)], states[len(ids) :]


def token_similarities(
    base: StableDiffusionPipeline, method: Perfusion, prompt: str
) -> tuple[list[str], Tensor]:
    """How much of a concept is in each token of a prompt, with the concept attached.

    Args:
        base: the pipeline, without the concept.
        method: the concept.
        prompt: with or without its word.

    Returns:
        Labels as of `token_states`, and shares s of i*, (tokens,) float32; the padding
        is left out.
    """
    with method.attach(base):
        labels, states, _ = token_states(base, prompt)
    return labels, concept_similarity(states, method)


def concept_similarity(states: Tensor, method: Perfusion) -> Tensor:
    """How much of i* is in text states (tokens, dim): (tokens,)."""
    target_input, inverse = method.target_input.cpu(), method.covariance.inverse.cpu()
    return similarities(states, target_input[None], inverse)[:, 0]
