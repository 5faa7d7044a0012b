"""Which moment of a training to keep: like the concept, and still true to the prompt.

The longer a concept is trained, the more it looks like its pictures and the less it
listens. Perfusion's authors are reported to draw a few prompts every 25 steps and to
keep the checkpoint whose two scores have the largest harmonic mean. The text score is
divided by that of the class word first: CLIP's similarities to text are all about 0.3,
and a mean of raw scores would listen to little else.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from perso_lite.concepts import Concept
from perso_lite.errors import PersoError
from perso_lite.evaluation import ConceptScores, class_prior_scores, score_concept
from perso_lite.judges import Judges
from perso_lite.method import Method
from perso_lite.training import fit


@dataclass(frozen=True)
class Validation:
    """What was found after so many steps.

    Attributes:
        step: how many were done.
        image: mean likeness to the concept.
        text: mean score of the prompts, as a share of the class word's.
        harmonic: the harmonic mean of both.
    """

    step: int
    image: float
    text: float
    harmonic: float


def harmonic_mean(image: float, text: float) -> float:
    """2 / (1 / image + 1 / text); 0 where a score is not above 0."""
    if min(image, text) <= 0:
        return 0.0
    return 2 * image * text / (image + text)


def validated(
    scores: ConceptScores, prior: ConceptScores, step: int, names: tuple[str, str]
) -> Validation:
    """Summarise scores, the text score normalised by that of the class word."""
    image, text, of_class = (
        getattr(of, name).nanmean().item()
        for of, name in ((scores, names[0]), (scores, names[1]), (prior, names[1]))
    )
    of_class = max(of_class, 1e-6)  # a class word that shows nothing asked for
    return Validation(
        step, image, text / of_class, harmonic_mean(image, text / of_class)
    )


def fit_and_choose(
    method: Method,
    concept: Concept,
    judges: Judges,
    prompts: Sequence[str],
    steps: int = 200,
    every: int = 25,
    seeds: Sequence[int] = (0,),
    names: tuple[str, str] = ("instance_masked", "prompt_accuracy"),
    drawing: dict[str, Any] | None = None,
    **fit_options: Any,
) -> list[Validation]:
    """Train, look every few steps, and leave the method as it was at its best.

    Args:
        method: what learns, with the dials it will be used with.
        concept: what from; a shipped one, or one whose prompts the judges understand.
        judges: who look.
        prompts: a few, with "{}" in the concept's place (paper, as reported: 8).
        steps: optimizer steps.
        every: steps between looks (paper, as reported: 25).
        seeds: pictures of each prompt.
        names: the image and the text score, fields of `ConceptScores` (ours: of our
            judges; paper: "clip_image" and "clip_text").
        drawing: arguments of `generate` (ours: 10 steps, guidance 4).
        fit_options: of `fit`.

    Returns:
        What was found at each look; the best one is what the method now holds.

    Raises:
        PersoError: there are fewer steps than lie between two looks.
    """
    if steps < every:
        raise PersoError(
            f"{steps} training steps with a look every {every} are never looked at; "
            "train longer or look more often."
        )
    drawing = {"num_inference_steps": 10, "guidance_scale": 4.0} | (drawing or {})
    judged, base = (judges, concept, prompts, seeds), method.base
    prior = class_prior_scores(base, *judged, **drawing)
    looks: list[Validation] = []
    best: dict[str, Tensor] = {}
    for step in fit(method, concept, steps, **fit_options):
        if (step.index + 1) % every == 0:
            with method.attach(base):
                scores = score_concept(
                    base, *judged, method.placeholder_token, **drawing
                )
            looks.append(validated(scores, prior, step.index + 1, names))
            if looks[-1].harmonic >= max(look.harmonic for look in looks):
                best = {k: v.clone() for k, v in method.state_dict().items()}
    if not best:
        raise PersoError(
            f"The training ended before its next look (every {every} steps), or no "
            "prompt asks for anything that could be scored. Train on, or add prompts "
            'such as "a {} in the snow".'
        )
    method.load_state_dict(best)
    method.training_record["steps"] = max(looks, key=lambda look: look.harmonic).step
    return looks
