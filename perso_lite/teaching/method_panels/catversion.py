"""A panel for CatVersion's prefixes: how strong, in which layers, whose, on which word.

A prefix is a few numbers beside a frozen text encoder, so it can be weakened, left out
of a layer, exchanged for another concept's or lent to another word, all while drawing
(`methods/catversion/`). The panel shows the picture with and without it, and which
tokens attend to it.
"""

import math
from collections.abc import Sequence
from functools import partial

from diffusers import StableDiffusionPipeline
from matplotlib.figure import Figure

from perso_lite.errors import PersoError
from perso_lite.figures.catversion import prefix_figure
from perso_lite.method import state_of
from perso_lite.methods.catversion.analysis import lent, residual_share
from perso_lite.methods.catversion.catversion import CatVersion
from perso_lite.sampling import generate, inference_parameters
from perso_lite.teaching.panel import Panel, choice, slider, text_box

BIASES = (-math.inf, -8.0, -6.0, -4.0, -3.0, -2.0, -1.0, 0.0, 1.0, 2.0)


def prefix_explorer(
    base: StableDiffusionPipeline,
    *methods: CatVersion,
    prompt: str | None = None,
    seeds: Sequence[int] = range(4),
    biases: Sequence[float] = BIASES,
    num_inference_steps: int = 10,
    guidance_scale: float = 4.0,
) -> Panel:
    """Vary a prefix's bias and layers, and swap concepts: see the picture and alpha.

    Args:
        base: the pipeline, without the concepts.
        methods: the concepts, with prefixes in the same layers; further training is
            noticed. Their own parameters do not change.
        prompt: the start value; default: a photo of the first concept on a beach. The
            chosen concept takes the place of any of them in it.
        seeds: stops of the slider.
        biases: stops of the slider, which starts at the first concept's own bias.
        num_inference_steps: denoising steps; few, for a preview (ours: 10).
        guidance_scale: of classifier-free guidance (ours: 4).

    Raises:
        PersoError: no concept was given, two have the same placeholder or other layers,
            or the first picture cannot be generated.
    """
    words = [method.placeholder_token for method in methods]
    layers = sorted({tuple(method.layers) for method in methods})
    if not words or len({*words}) < len(words) or len(layers) > 1:
        raise PersoError(
            "This panel needs one or several concepts of CatVersion with placeholders "
            f"of their own and prefixes in the same layers, not {words} in {layers}. "
            "load_method(path, base, placeholder_token) reads one under another name."
        )
    together = ", ".join(map(str, layers[0]))
    alone = [str(layer) for layer in layers[0] if len(layers[0]) > 1]
    return Panel(
        partial(draw_prefix, base, methods, (num_inference_steps, guidance_scale)),
        depends_on=lambda: tuple(map(state_of, methods)),
        prompt=text_box(prompt or f"a photo of a {words[0]} on a beach"),
        concept=choice(words),
        read_as=text_box(placeholder="its class word, or another one, such as cat"),
        layers=choice([together, *alone]),
        bias=slider(sorted({float(b) for b in biases}), methods[0].prefix_logit_bias),
        seed=slider(seeds),
    )


def draw_prefix(
    base: StableDiffusionPipeline,
    methods: Sequence[CatVersion],
    sampling: tuple[int, float],
    prompt: str,
    concept: str,
    read_as: str,
    layers: str,
    bias: float,
    seed: int,
) -> Figure:
    """Pictures without and with the prefix, and its share of each token's attention.

    Args:
        base: the pipeline, without the concepts.
        methods: the concepts; their own inference parameters do not change.
        sampling: denoising steps and guidance scale.
        prompt: the prompt; the concept takes the place of the other ones in it.
        concept: the placeholder of the one that is drawn.
        read_as: the word that it is read as; empty: its class word.
        layers: the numbers of the layers in which its prefix acts, with commas.
        bias: b, the prefix's logit bias; -inf for the base.
        seed: of the noise that both pictures start from.

    Raises:
        PersoError: the concept cannot be attached, or the prompt is so long that its
            word would be cut off.
    """
    chosen = next(m for m in methods if m.placeholder_token == concept)
    for other in methods:
        prompt = prompt.replace(other.placeholder_token, concept)
    method = lent(chosen, read_as.strip() or None, [int(i) for i in layers.split(",")])
    plain = prompt.replace(concept, method.class_word)
    acts = concept in prompt
    with inference_parameters(method, prefix_logit_bias=bias):
        with method.attach(base):
            drawn = generate(base, [plain, prompt], (seed,), *sampling)
        share = residual_share(base, method, prompt) if acts else None
    captions = (f"{method.class_word}, seed {seed}", f"{concept}, b = {bias:g}")
    pictures = dict(zip(captions, drawn, strict=True))
    return prefix_figure(pictures, share, method.layers, concept)
