"""Methods side by side, between the class prior and the oracle.

`python -m perso_lite evaluate methods` teaches the base each shipped toy with each
method, draws it under the fixed prompts of `data/prompts/concepts.json`, and scores the
pictures next to those of the bare class word (what the base would draw anyway) and next
to true pictures of the toy under the same prompts (what nobody can beat).
"""

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers import StableDiffusionPipeline
from torch import Tensor
from tqdm.auto import tqdm

from perso_lite import import_quietly
from perso_lite.base import load_base
from perso_lite.concepts import Concept, load_concept, shipped_concepts
from perso_lite.errors import PersoError
from perso_lite.files import DATA_FOLDER
from perso_lite.judges import Judges, load_judges
from perso_lite.methods import METHODS
from perso_lite.metrics import (
    bootstrap_interval,
    clip_image_similarity,
    clip_text_similarity,
    instance_similarity,
    prompt_accuracy,
)
from perso_lite.sampling import generate
from perso_lite.training import fit
from perso_lite.world.oracle import read_prompt, true_pictures

SLOT = "{}"  # where a prompt has room for a word


@dataclass(frozen=True, eq=False)
class ConceptScores:
    """Pictures of one concept and their scores, prompt by prompt and seed by seed.

    Two of these with the same prompts and seeds can be subtracted value by value. All
    scores are (pictures,), similarities in [-1, 1].
    """

    prompts: list[str]  # one a picture, with its slot
    seeds: list[int]  # one a picture
    pictures: Tensor  # (pictures, 3, height, width) in [0, 1]
    instance: Tensor
    instance_masked: Tensor
    clip_image: Tensor
    clip_image_masked: Tensor
    clip_text: Tensor  # to the prompt with the class word
    prompt_accuracy: Tensor  # in [0, 1]; NaN where a prompt asks for nothing


def score_pictures(
    judges: Judges,
    concept: Concept,
    pictures: Tensor,
    prompts: Sequence[str],
    seeds: Sequence[int],
) -> ConceptScores:
    """Score pictures (prompts * seeds, 3, height, width) drawn in the order of both.

    The references are the concept's own pictures, so a background learnt along raises
    what is not masked.

    Raises:
        PersoError: a prompt has no slot "{}", or is not in the world's words.
    """
    _check_slots(prompts)
    of_picture = [prompt for prompt in prompts for _ in seeds]
    word, size = concept.class_word, pictures.shape[-1]
    references = (concept.pixels(size) + 1) / 2
    masks = None if None in concept.masks else concept.mask_tensor(size, size)
    words, _ = read_prompt(word)
    person = words.things[0][0] == "person"
    shown = (judges, pictures, references)
    return ConceptScores(
        of_picture,
        list(seeds) * len(prompts),
        pictures,
        instance_similarity(*shown, False, person=person),
        instance_similarity(*shown, True, masks, person),
        clip_image_similarity(*shown),
        clip_image_similarity(*shown, True, masks, person),
        clip_text_similarity(
            judges, pictures, [p.replace(SLOT, word) for p in of_picture]
        ),
        prompt_accuracy(judges, pictures, of_picture, SLOT, word),
    )


def _check_slots(prompts: Sequence[str]) -> None:
    for prompt in prompts:
        if SLOT not in prompt:
            raise PersoError(
                f'The prompt "{prompt}" has no slot for the concept: write "{{}}" in '
                'its place, for example "a photo of a {} in the snow".'
            )


def score_concept(
    base: StableDiffusionPipeline,
    judges: Judges,
    concept: Concept,
    prompts: Sequence[str],
    seeds: Sequence[int],
    placeholder_token: str | None = None,
    **generate_options,
) -> ConceptScores:
    """Draw a concept and score the pictures; attach the method to `base` before.

    Args:
        base: draws, with the concept attached.
        judges: who looks.
        concept: what was learnt.
        prompts: with "{}" where the concept's word goes.
        seeds: one picture of each prompt for every seed.
        placeholder_token: the concept's word (default: the shipped concept's).
        generate_options: as for `generate`, for example `guidance_scale`.

    Raises:
        PersoError: the base does not know the word, or a prompt cannot be judged.
    """
    word = placeholder_token or concept.placeholder_token
    if word is None or (word[0] == "<" and word not in base.tokenizer.get_vocab()):
        raise PersoError(
            f"The base does not know {word or 'a word for ' + concept.name}: score "
            "inside `with method.attach(base):`, with the method's placeholder_token."
        )
    return _drawn_scores(base, judges, concept, prompts, seeds, word, generate_options)


def class_prior_scores(
    base: StableDiffusionPipeline,
    judges: Judges,
    concept: Concept,
    prompts: Sequence[str],
    seeds: Sequence[int],
    **generate_options,
) -> ConceptScores:
    """The lower end: as `score_concept`, for pictures of any thing of its class."""
    word = concept.class_word
    return _drawn_scores(base, judges, concept, prompts, seeds, word, generate_options)


def _drawn_scores(
    base, judges, concept, prompts, seeds, word: str, options: dict
) -> ConceptScores:
    """Draw every prompt with `word` in its slot, and score."""
    _check_slots(prompts)
    said = [prompt.replace(SLOT, word) for prompt in prompts]
    pictures = generate(base, said, tuple(seeds), output_type="pt", **options)
    return score_pictures(judges, concept, pictures, prompts, seeds)


def oracle_scores(
    judges: Judges,
    concept: Concept,
    prompts: Sequence[str],
    seeds: Sequence[int],
    size: int = 64,
) -> ConceptScores:
    """The upper end: as `score_concept`, for true pictures of a shipped concept.

    Raises:
        PersoError: nobody knows the concept's truth, or a prompt cannot be painted.
    """
    _check_slots(prompts)
    painted = [
        true_pictures(prompt, 1, seed, size, concept, SLOT)[0]
        for prompt in prompts
        for seed in seeds
    ]
    return score_pictures(judges, concept, torch.cat(painted), prompts, seeds)


# -- the command ---------------------------------------------------------------------

SCORES = ("instance", "instance_masked", "clip_image", "clip_image_masked",
          "clip_text", "prompt_accuracy")  # fmt: skip


def concept_prompts() -> list[str]:
    """The fixed prompts that shipped concepts are drawn under."""
    return json.loads((DATA_FOLDER / "prompts" / "concepts.json").read_text())


def toys() -> list[str]:
    """Names of the shipped concepts that are no people."""
    return [n for n in shipped_concepts() if load_concept(n).class_word != "person"]


def evaluate_methods(options: argparse.Namespace) -> dict[str, list[ConceptScores]]:
    """Scores of every toy: class prior, each method, oracle, in this order."""
    base, judges = load_base(options.base), load_judges()
    prompts, seeds = concept_prompts(), list(range(options.seeds))
    drawing = {"guidance_scale": options.guidance, "num_inference_steps": options.steps}
    scores: dict[str, list[ConceptScores]] = {"class prior": []}
    scores |= {name: [] for name in options.methods} | {"oracle": []}
    for name in tqdm(options.concepts or toys(), desc="concepts"):
        concept = load_concept(name)
        told = (judges, concept, prompts, seeds)
        scores["class prior"].append(class_prior_scores(base, *told, **drawing))
        for method_name in options.methods:
            kind = METHODS[method_name.replace("-", "_")]
            method = kind(base, concept.class_word, concept.placeholder_token)
            for _ in fit(method, concept, options.training_steps):
                pass
            with method.attach(base):
                drawn = score_concept(base, *told, **drawing)
            scores[method_name].append(drawn)
        scores["oracle"].append(oracle_scores(*told))
    return scores


def interval_table(
    scores: dict[str, list[ConceptScores]],
) -> dict[str, dict[str, tuple[float, float, float]]]:
    """Mean and 95 % interval of every score, toys resampled before pictures.

    The rows "<method> - class prior" are of differences picture by picture: same
    prompt, same seed.
    """
    groups = torch.cat(
        [torch.full((len(s.seeds),), i) for i, s in enumerate(scores["class prior"])]
    )
    values = {
        row: {n: torch.cat([getattr(s, n) for s in of_row]) for n in SCORES}
        for row, of_row in scores.items()
    }
    prior = values["class prior"]
    for row in list(values)[1:-1]:
        gain = {name: values[row][name] - prior[name] for name in SCORES}
        values[f"{row} - class prior"] = gain
    return {
        row: {n: bootstrap_interval(v, groups=groups) for n, v in of_row.items()}
        for row, of_row in values.items()
    }


def methods_parser() -> argparse.ArgumentParser:
    """The command line of `python -m perso_lite evaluate methods`."""
    p = argparse.ArgumentParser(prog="perso_lite evaluate methods", description=__doc__)
    p.add_argument("--methods", nargs="+", default=list(METHODS))
    p.add_argument("--concepts", nargs="+", help="default: the eight shipped toys")
    p.add_argument("--training-steps", type=int, default=250)
    p.add_argument("--seeds", type=int, default=4, help="pictures of each prompt")
    p.add_argument("--base", help="folder or hub id; default: the shipped base")
    p.add_argument("--guidance", type=float, default=4.0)
    p.add_argument("--steps", type=int, default=20)
    p.add_argument("--out", type=Path, default=Path("evaluation"))
    return p


def main(argv: list[str] | None = None) -> None:
    """`evaluate base`, or `evaluate methods`: a table, and the same as JSON."""
    arguments = list(argv or [])
    if arguments[:1] == ["base"]:
        import_quietly("pretrain.evaluate").main(arguments[1:])
        return
    if arguments[:1] != ["methods"]:
        raise PersoError(
            "Say what to evaluate: `evaluate base` (does it draw what prompts say?) or "
            "`evaluate methods` (is it the concept, and still what prompts say?)."
        )
    options = methods_parser().parse_args(arguments[1:])
    table = interval_table(evaluate_methods(options))
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "methods.json").write_text(json.dumps(table, indent=1) + "\n")
    print(f"{'':<34}" + "".join(f"{name:>24}" for name in SCORES))
    for row, intervals in table.items():
        cells = [f"{m:.3f} [{a:.3f}, {b:.3f}]" for m, a, b in intervals.values()]
        print(f"{row:<34}" + "".join(f"{cell:>24}" for cell in cells))
