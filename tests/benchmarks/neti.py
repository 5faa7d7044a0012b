"""What NeTI costs: a training step, the text of all layers, a first and a next picture.

    OMP_NUM_THREADS=2 python tests/benchmarks/neti.py [--out cost.json]

The opponent is the structure of the released code: a call of the text encoder for every
layer (and, before drawing, for every layer and timestep). "From the word on" is a
floor: only what comes before the word is the same for all layers and could be encoded
once. As in `perfusion.py`, all is measured in one process, in turn, and ratios are
compared.
"""

import argparse
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from diffusers import StableDiffusionPipeline
from perfusion import ratios, training_ways, words
from torch import Tensor
from torch.nn import functional as F

from perso_lite import generate, load_base, load_concept
from perso_lite.concepts import Concept
from perso_lite.conditioning.cross_attention import shared_by
from perso_lite.conditioning.tokens import injected_vectors
from perso_lite.methods.space_time.analysis import states_by_layer
from perso_lite.methods.space_time.hooks import KEY
from perso_lite.methods.space_time.neti import NeTI

PROMPT = "a photo of a {} on a beach"
STEPS = 10  # of denoising
TRAINING_BAR, TEXT_BAR = 1.5, 0.2


def main() -> None:
    """Print the ratios with their intervals, and keep them as JSON."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--base")
    options.add_argument("--rounds", type=int, default=15)
    options.add_argument("--out", type=Path)
    options = options.parse_args()
    base, concept = load_base(options.base), load_concept("dotty-teddy")
    method = NeTI(base, *words(concept))
    print(f"{torch.get_num_threads()} threads on {base.device}")
    found = {}
    for name, ways, bar in (
        ("training", training_ways(method, concept), TRAINING_BAR),
        ("text of a training step", training_texts(method), TEXT_BAR),
        ("text beside the U-Net", texts_beside(method, concept), TRAINING_BAR - 1),
        ("text of a picture", drawing_texts(method), TEXT_BAR),
        ("drawing", drawing_ways(base, method), 1.5),
    ):
        print(name)
        found[name] = ratios(ways, options.rounds, bar)
    if options.out:
        options.out.write_text(json.dumps(found, indent=1) + "\n")


def looped(method: NeTI, ids: Tensor, timesteps: Tensor) -> tuple[Tensor, Tensor]:
    """Keys' and values' states of texts (batch, tokens), layer after layer.

    Both are (batch, layers, tokens, dim).
    """
    encoder, keys, values = method.base.text_encoder, [], []
    number = method.tokens.first_id(method.base.tokenizer)
    own = ids == number
    for layer in range(method.num_layers):
        points = torch.stack([timesteps, torch.full_like(timesteps, layer)], dim=-1)
        word, bypass = method.rescaled(method.mapper(points))
        with injected_vectors(encoder, number, 1, partial(word.unsqueeze, 1)):
            state = encoder(ids, output_hidden_states=True).hidden_states[-1]
        step = F.normalize(bypass, dim=-1)[:, None] * state.norm(dim=-1, keepdim=True)
        moved = torch.where(own[..., None], state + method.bypass_alpha * step, state)
        keys.append(encoder.final_layer_norm(state))
        values.append(encoder.final_layer_norm(moved))
    return torch.stack(keys, 1), torch.stack(values, 1)


def training_texts(method: NeTI) -> dict[str, Callable[[], None]]:
    """The text of a step with four pictures, forwards and back to the mapper."""
    timesteps = method.draw_timesteps(4, 1000, torch.Generator().manual_seed(0))
    prompts = [PROMPT.format(method.placeholder_token)] * 4

    def loop() -> None:
        with method.attach(method.base):
            _, values = looped(method, ids_of(method, prompts), timesteps)
            values.square().mean().backward()

    def ours() -> None:
        with method.attach(method.base):
            _, values = states_by_layer(method, prompts, timesteps)
            values.square().mean().backward()

    return {"a call for each layer": loop, "one call": ours}


def texts_beside(method: NeTI, concept: Concept) -> dict[str, Callable[[], None]]:
    """The bare U-Net's step; its text, and of that what cannot be shared."""
    bare = training_ways(method, concept)["bare U-Net"]
    timesteps = method.draw_timesteps(4, 1000, torch.Generator().manual_seed(0))

    def encode(first: int) -> None:
        with method.attach(method.base):
            ids = ids_of(method, [PROMPT.format(method.placeholder_token)] * 4)
            known = shared_by(method.base.unet, KEY)
            _, values = known.encoded(ids[:, first:], timesteps)
            values.square().mean().backward()

    with method.attach(method.base):
        ids = ids_of(method, [PROMPT.format(method.placeholder_token)])
        place = int(method.tokens.places(method.base.tokenizer, ids).nonzero()[0, 1])
    return {
        "bare U-Net": bare,
        "whole text": partial(encode, 0),
        f"from the word on, {place} of {ids.shape[1]} left out": partial(encode, place),
    }


def drawing_texts(method: NeTI) -> dict[str, Callable[[], None]]:
    """The text of all timesteps of a picture."""
    timesteps = torch.linspace(981, 1, STEPS).long()
    prompt = PROMPT.format(method.placeholder_token)

    @torch.no_grad()
    def loop() -> None:
        with method.attach(method.base):
            for timestep in timesteps:
                looped(method, ids_of(method, [prompt]), timestep[None])

    @torch.no_grad()
    def ours() -> None:
        with method.attach(method.base):
            states_by_layer(method, [prompt] * STEPS, timesteps)

    return {"a call for each": loop, "batches": ours}


def ids_of(method: NeTI, prompts: list[str]) -> Tensor:
    """Token ids (batch, tokens), with the word attached."""
    given = method.base.tokenizer(prompts, padding="max_length", return_tensors="pt")
    return given.input_ids


def drawing_ways(
    base: StableDiffusionPipeline, method: NeTI
) -> dict[str, Callable[[], None]]:
    """A guided picture of the class word, of the word at first, and of it again."""

    def plain() -> None:
        generate(base, PROMPT.format("teddy"), (0,), STEPS, 4.0)

    def draw(times: int) -> None:
        with method.attach(base):
            for seed in range(times):
                prompt = PROMPT.format(method.placeholder_token)
                generate(base, prompt, (seed,), STEPS, 4.0)

    return {
        "class word": plain,
        "first picture": lambda: draw(1),
        "first and next picture": lambda: draw(2),
    }


if __name__ == "__main__":
    main()
