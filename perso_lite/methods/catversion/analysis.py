"""What a prefix does: how much attention it takes, and how far it moves what follows.

`residual_share` looks at alpha and at the residual itself, head by head and token by
token. `random_prefix_effect` asks how much a layer passes on to the U-Net, with a
prefix that has learned nothing: the paper calls the last layers feature-dense, and how
it measured that is not known to us, so this measure is ours.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from diffusers import DDPMScheduler, StableDiffusionPipeline
from torch import Tensor, nn

from perso_lite.conditioning.cross_attention import call_argument
from perso_lite.conditioning.restored import restored
from perso_lite.conditioning.words import encode_prompts
from perso_lite.errors import PersoError
from perso_lite.methods.catversion.catversion import CatVersion
from perso_lite.methods.catversion.prefix import (
    causal,
    in_heads,
    prefix_shares,
    queries_and_keys,
    self_attention_layers,
    with_prefixes,
)
from perso_lite.sampling import noise_from


@dataclass(frozen=True)
class ResidualShare:
    """What a prefix adds to the attention of a prompt; float32 on the CPU.

    Attributes:
        tokens: the prompt's tokens, padding included, as the tokenizer names them.
        alpha: the prefix's share of the attention, (layers, heads, tokens), in [0, 1].
        relative_size: |alpha (P_V - Attn)| / |Attn|, of the same shape.
    """

    tokens: list[str]
    alpha: Tensor
    relative_size: Tensor


@torch.no_grad()
def residual_share(
    base: StableDiffusionPipeline, method: CatVersion, prompt: str
) -> ResidualShare:
    """How much attention a concept's prefix takes, and how large its residual is.

    Args:
        base: the pipeline, with no other prefix attached.
        method: the concept, not attached.
        prompt: one that says its placeholder.

    Returns:
        Over the layers in which the concept has a prefix, in their order.

    Raises:
        PersoError: the prompt does not say the placeholder.
    """
    layers = self_attention_layers(base.text_encoder)
    with method.attach(base), _watched(layers, method.layers) as seen:
        tokens = _tokens_of(base, method, prompt)
        encode_prompts(base, [prompt])
    of_layers = [
        _share_in(method, place, layers[index], *seen[index])
        for place, index in enumerate(method.layers)
    ]
    alpha, size = (torch.stack(parts).cpu() for parts in zip(*of_layers, strict=True))
    return ResidualShare(tokens, alpha, size)


def _share_in(
    method: CatVersion, place: int, layer: nn.Module, states: Tensor, attention: Tensor
) -> tuple[Tensor, Tensor]:
    """Alpha and the relative size of the residual in a layer, (heads, tokens) each.

    Args:
        method: the concept.
        place: of the layer among those of the concept.
        layer: of the text encoder.
        states: what it is given, (1, tokens, dim).
        attention: what its tokens alone give, (1, tokens, dim).
    """
    query, key = queries_and_keys(layer, states)
    prefix = (method.prefix_keys[:, place], method.prefix_values[:, place])
    keys, values = (in_heads(part, layer) for part in prefix)
    bias = keys.new_full((1, len(prefix[0])), method.prefix_logit_bias)
    shares = prefix_shares(query, key, keys, bias, causal(key.shape[-2], key.device))
    plain = in_heads(attention, layer)  # (1, heads, tokens, dim of a head)
    residual = with_prefixes(plain, shares, values) - plain
    return shares.sum(-1)[0], (residual.norm(dim=-1) / plain.norm(dim=-1))[0]


def _tokens_of(
    base: StableDiffusionPipeline, method: CatVersion, prompt: str
) -> list[str]:
    """The names of the tokens of a prompt that says the attached concept's word."""
    tokenizer = base.tokenizer
    ids = tokenizer(
        prompt, padding="max_length", truncation=True, return_tensors="pt"
    ).input_ids
    if not method.tokens.places(tokenizer, ids).any():
        raise PersoError(
            f'"{prompt}" does not say {method.placeholder_token}, so the prefix does '
            "not act in it: write the placeholder where the class word would be."
        )
    return tokenizer.convert_ids_to_tokens(ids[0])


Seen = dict[int, tuple[Tensor, Tensor]]  # by layer, its states and its plain attention


@contextmanager
def _watched(layers: list[nn.Module], which: Sequence[int]) -> Iterator[Seen]:
    """Inside, layers note what they are given and what their tokens alone give.

    Both are (texts, tokens, dim).
    """
    states: dict[int, Tensor] = {}
    seen: Seen = {}
    with restored() as at_exit:
        for index in which:

            def given(_, args: tuple, kwargs: dict, index: int = index) -> None:
                states[index] = call_argument(args, kwargs, 0, "hidden_states")

            def found(_, args: tuple, index: int = index) -> None:
                seen[index] = states[index], args[0]

            layer = layers[index]
            at_exit(layer.register_forward_pre_hook(given, with_kwargs=True).remove)
            # before the prefix is added, though attached later
            register = layer.out_proj.register_forward_pre_hook
            at_exit(register(found, prepend=True).remove)
        yield seen


# -- the same prefix elsewhere ---------------------------------------------------------


def lent(
    method: CatVersion,
    class_word: str | None = None,
    layers: Sequence[int] | None = None,
) -> CatVersion:
    """A copy of a concept, with its prefix on another word or in some of its layers.

    Args:
        method: the concept; it does not change.
        class_word: what the placeholder is read as; default: the concept's own word.
        layers: some of those in which it has a prefix; default: all of them.

    Raises:
        PersoError: the concept has no prefix in such a layer, or a word is unknown.
    """
    layers = method.layers if layers is None else [*layers]
    if unknown := [layer for layer in layers if layer not in method.layers]:
        raise PersoError(
            f"The concept has no prefix in layer {unknown[0]}, only in "
            f"{', '.join(map(str, method.layers))}: give some of these."
        )
    settings = {**method.settings(), "layers": layers}
    if class_word is not None:
        settings["initializer_token"] = None  # it would be read as that
    word = class_word or method.class_word
    copy = CatVersion(method.base, word, method.placeholder_token, **settings)
    places = [method.layers.index(layer) for layer in layers]
    kept = {name: value[:, places] for name, value in method.state_dict().items()}
    copy.load_state_dict(kept)
    return copy.train(method.training)


# -- how much a layer passes on --------------------------------------------------------


@dataclass(frozen=True)
class PrefixEffect:
    """How far a random prefix in one layer moves what follows; on the CPU.

    Attributes:
        text_states: |c' - c| / |c| of the text states, (prompts,).
        noise: |eps' - eps| / |eps| of what the U-Net predicts, (prompts, timesteps).
    """

    text_states: Tensor
    noise: Tensor

    def spread(self) -> float:
        """Standard deviation over mean of the effect on the text states."""
        return (self.text_states.std() / self.text_states.mean()).item()


@torch.no_grad()
def random_prefix_effect(
    base: StableDiffusionPipeline,
    layer: int,
    prompts: Sequence[str],
    class_word: str = "teddy",
    timesteps: Sequence[int] = (200, 500, 800),
    seed: int = 0,
) -> PrefixEffect:
    """Put one prefix of unit variance, which has learned nothing, into one layer.

    Args:
        base: the pipeline.
        layer: of the text encoder, from 0.
        prompts: with "{}" in place of the class word.
        class_word: the everyday word.
        timesteps: at which the U-Net predicts the noise on a gray picture.
        seed: of the prefix and of that noise.

    Raises:
        PersoError: the text encoder has no such layer, or a prompt has no "{}".
    """
    if slotless := [prompt for prompt in prompts if "{}" not in prompt]:
        raise PersoError(
            f'The prompt "{slotless[0]}" has no slot: write "{{}}" in place of the '
            'class word, for example "a photo of a {}".'
        )
    method = CatVersion(
        base, class_word, "<prefixed>", layers=[layer], init_std=1.0, seed=seed
    )
    plain = encode_prompts(base, [p.replace("{}", class_word) for p in prompts])
    with method.attach(base):
        moved = encode_prompts(base, [p.replace("{}", "<prefixed>") for p in prompts])
    scheduler = DDPMScheduler.from_config(base.scheduler.config)
    noise = noise_from(base, torch.Generator().manual_seed(seed))

    def predicted(states: Tensor, timestep: int) -> Tensor:
        time = torch.tensor([timestep], device=noise.device)
        noisy = scheduler.add_noise(torch.zeros_like(noise), noise, time)
        noisy = noisy.expand(len(prompts), -1, -1, -1)
        return base.unet(noisy, time, encoder_hidden_states=states).sample

    effects = [
        _relative_change(predicted(plain, time), predicted(moved, time))
        for time in timesteps
    ]
    return PrefixEffect(_relative_change(plain, moved), torch.stack(effects, 1))


def _relative_change(before: Tensor, after: Tensor) -> Tensor:
    """|after - before| / |before| of each row, (rows,)."""
    before, after = before.float().flatten(1), after.float().flatten(1)
    return ((after - before).norm(dim=1) / before.norm(dim=1)).cpu()
