"""A panel that draws two methods, or two settings of one, from the same noise.

Only what is compared differs: prompt, noise and guidance are the same at both sides. A
true picture of a shipped concept and the judges' scores can stand beside them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from diffusers import StableDiffusionPipeline
from PIL import Image
from torch import Tensor

from perso_lite.base import picture_size
from perso_lite.concepts import Concept
from perso_lite.errors import PersoError
from perso_lite.evaluation.judges import Judges
from perso_lite.evaluation.scores import SLOT, score_pictures
from perso_lite.figures.pictures import SheetRow, as_images, contact_sheet
from perso_lite.method import Method, state_of
from perso_lite.sampling import generate
from perso_lite.teaching.choices import Attached, check_choices, chosen, methods_of
from perso_lite.teaching.panel import Panel, choice, slider, text_box
from perso_lite.teaching.prompt_panel import remark_on_words
from perso_lite.world.oracle import read_prompt, true_pictures

PLAIN = "a photo of a {}"  # can be painted if the concept's class can
TRUE = "true picture"


@dataclass(frozen=True)
class Comparison:
    """What can be compared, and what it is compared with.

    Attributes:
        base: the pipeline, with nothing attached.
        choices: what to attach, by label.
        class_word: stands in a prompt where nothing is attached.
        seeds: those of "all".
        num_inference_steps: denoising steps.
        concept: what the pictures should show, or None.
        judges: score the pictures if there is a concept; or None.
    """

    base: StableDiffusionPipeline
    choices: Mapping[str, Attached]
    class_word: str
    seeds: Sequence[int]
    num_inference_steps: int = 12
    concept: Concept | None = None
    judges: Judges | None = None


def compare(
    base: StableDiffusionPipeline,
    choices: Mapping[str, Attached],
    prompt: str = "a photo of a {} on a beach",
    judges: Judges | None = None,
    concept: Concept | None = None,
    seeds: Sequence[int] = range(4),
    guidance_scales: Sequence[float] = (1, 2, 3, 5, 8, 12),
    num_inference_steps: int = 12,
) -> Panel:
    """Compare two methods, or two settings of one, on the same prompt and noise.

        choices = {"class word": [], "learned": ti, "beta 0.3": (tuned, {"beta": 0.3})}
        compare(base, choices)

    Args:
        base: the pipeline, with nothing attached.
        choices: what to attach, by label: a method, a method with its inference
            parameters, or a list of these ([] for none). Further training is noticed.
        prompt: the start value, with "{}" for the word of the first method attached;
            where none is, the class word is put there.
        judges: write subject and prompt fidelity below each picture; they need a
            concept.
        concept: what the pictures should show; a shipped one is also painted.
        seeds: stops of the slider; its last stop, "all", shows all of them at once.
        guidance_scales: stops of the slider.
        num_inference_steps: denoising steps; few, for a preview (ours: 12).

    Raises:
        PersoError: no choices, one that is no method or list of methods, nothing that
            gives a class word, judges without a concept, a parameter that a method
            lacks or refuses, or the first pictures cannot be drawn.
    """
    check_choices(choices)
    methods = [method for given in choices.values() for method in methods_of(given)]
    word = _class_word(methods, concept, judges)
    given = (base, choices, word, seeds, num_inference_steps, concept, judges)
    labels = list(choices)
    return Panel(
        partial(draw_comparison, Comparison(*given)),
        depends_on=lambda: tuple(state_of(method) for method in methods),
        prompt=text_box(prompt, 'with "{}" for the concept'),
        left=choice(labels),
        right=choice(labels, labels[min(1, len(labels) - 1)]),
        guidance_scale=slider(guidance_scales, 5 if 5 in guidance_scales else None),
        seed=slider([*seeds, "all"]),
    )


def _class_word(
    methods: list[Method], concept: Concept | None, judges: Judges | None
) -> str:
    if judges is not None and concept is None:
        raise PersoError(
            "Judges compare pictures with those of a concept: give concept, for "
            'example load_concept("dotty-teddy"), or leave the judges out.'
        )
    if concept is None and not methods:
        raise PersoError(
            "Nothing says which class word belongs in the prompt: give a choice with a "
            'method, or a concept, for example load_concept("dotty-teddy").'
        )
    return methods[0].class_word if concept is None else concept.class_word


def draw_comparison(
    of: Comparison,
    prompt: str,
    left: str,
    right: str,
    guidance_scale: float,
    seed: int | str,
) -> Image.Image:
    """Pictures of both sides from the same noise, and true ones where there are any.

    Args:
        of: what can be compared.
        prompt: with "{}" in place of the concept's word.
        left: a label of the choices.
        right: another one, or the same.
        guidance_scale: of classifier-free guidance.
        seed: of the noise, or "all" for one row of pictures per side.

    Raises:
        PersoError: methods cannot be attached together, or the prompt is so long that
            a learned word in it would be cut off.
    """
    seeds = list(of.seeds) if seed == "all" else [seed]
    painted = _can_be_painted(of, prompt)
    shown = {
        label: _drawn(of, label, prompt, seeds, guidance_scale)
        for label in dict.fromkeys((left, right))
    }
    columns = [(label, shown[label]) for label in (left, right)]
    if painted and of.concept.truth is not None:
        columns.append((TRUE, _painted(of, prompt, seeds)))
    noted = [(*column, _notes(of, column[1], prompt, seeds)) for column in columns]
    caption = f'"{prompt}", ' + ("" if seed == "all" else f"seed {seed}, ")
    caption += f"guidance {guidance_scale:g} {_remark(of, prompt, painted)}"
    return _sheet(noted, caption, seeds)


# -- pictures --------------------------------------------------------------------------


def _drawn(
    of: Comparison, label: str, prompt: str, seeds: list[int], guidance_scale: float
) -> Tensor:
    """Pictures of one choice, (seeds, 3, height, width) in [0, 1]."""
    given = of.choices[label]
    words = [method.placeholder_token for method in methods_of(given)]
    prompt = prompt.replace(SLOT, words[0] if words else of.class_word)
    sampling = (tuple(seeds), of.num_inference_steps, guidance_scale)
    with chosen(of.base, given):
        return generate(of.base, prompt, *sampling, output_type="pt")


def _painted(of: Comparison, prompt: str, seeds: list[int]) -> Tensor:
    """True pictures, (seeds, 3, size, size) in [0, 1]."""
    size = picture_size(of.base)
    given = (size, of.concept, SLOT)
    return torch.cat([true_pictures(prompt, 1, seed, *given)[0] for seed in seeds])


def _can_be_painted(of: Comparison, prompt: str) -> bool:
    """Whether the world's words are enough for the prompt, with its concept."""
    if of.concept is None or SLOT not in prompt:
        return False
    try:
        _, ours = read_prompt(prompt, SLOT, of.concept.class_word)
    except PersoError:
        return False
    return bool(ours)


# -- scores and words ------------------------------------------------------------------


def _notes(
    of: Comparison, pictures: Tensor, prompt: str, seeds: list[int]
) -> list[str]:
    """The scores of each picture in words; [] if there is nothing to score."""
    if of.judges is None or SLOT not in prompt or not _can_be_painted(of, PLAIN):
        return []
    painted = _can_be_painted(of, prompt)
    # subject fidelity does not depend on the prompt, so any will do
    prompts = [prompt if painted else PLAIN]
    scores = score_pictures(of.judges, of.concept, pictures, prompts, seeds)
    notes = [f"subject {score:.2f}" for score in scores.instance_masked.tolist()]
    if not painted or scores.prompt_accuracy.isnan().any():  # nothing was requested
        return notes
    accuracies = scores.prompt_accuracy.tolist()
    return [f"{n}\nprompt {a:.0%}" for n, a in zip(notes, accuracies, strict=True)]


def _remark(of: Comparison, prompt: str, painted: bool) -> str:
    """What is missing in the figure, and why; "" if nothing is."""
    if SLOT not in prompt:
        return f'(no "{SLOT}" in it for the concept)'
    remarks = [remark_on_words(of.base, prompt.replace(SLOT, of.class_word))]
    if of.concept is not None and not painted and (of.judges or of.concept.truth):
        remarks.append("the world cannot paint it")
    text = "; ".join(filter(None, remarks))
    return f"({text})" if text else ""


def _sheet(
    columns: list[tuple[str, Tensor, list[str]]], caption: str, seeds: list[int]
) -> Image.Image:
    """Columns of one picture each, or rows of several, under a caption."""
    if len(seeds) == 1:
        labels, pictures, notes = zip(*columns, strict=True)
        images = as_images(torch.cat([p.cpu().float() for p in pictures]))
        row = SheetRow(caption, images, [*labels], [n for note in notes for n in note])
        return contact_sheet([row], cell=192)
    rows = [
        SheetRow(label, as_images(pictures), notes=notes)
        for label, pictures, notes in columns
    ]
    rows[0].titles = [f"seed {seed}" for seed in seeds]
    return contact_sheet(rows, caption, cell=152, label_width=110)
