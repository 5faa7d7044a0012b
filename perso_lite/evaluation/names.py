"""Which people a base knows by name: the automatic filter of Celeb Basis.

The authors looked at what the model paints for a name and kept it if a human appears,
the likeness is fair, and it combines with other words. Judges can do that: one picture
of each name, in a scene that the prompt asks for.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from diffusers import StableDiffusionPipeline
from torch import Tensor

from perso_lite.errors import PersoError
from perso_lite.evaluation.judges import Judges
from perso_lite.evaluation.metrics import for_judge, prompt_accuracy, read_attribute
from perso_lite.sampling import generate
from perso_lite.world.oracle import scene_for
from perso_lite.world.render import PICTURE_SIZE, render

# each name gets the next one (ours)
SCENES = (
    "a photo of {} on a beach", "a photo of {} in the snow", "{} on the moon",
    "a picture of {} in a library",
)  # fmt: skip
NOBODY, DISOBEYED = "no person is drawn", "the scene of the prompt is not drawn"


@dataclass(frozen=True)
class FilteredNames:
    """Names that a base knows, and others.

    Attributes:
        kept: a person is drawn, the right one, in the scene that was asked for.
        rejected: by name, the first of the three that fails.
    """

    kept: list[str]
    rejected: dict[str, str]


@torch.no_grad()
def filter_names(
    base: StableDiffusionPipeline,
    judges: Judges,
    names: Sequence[str],
    portraits: Tensor,
    seed: int = 0,
    **generate_options,
) -> FilteredNames:
    """Keep the names of people whom a base draws well, by one picture of each.

    Three criteria: the attribute reader sees a person; of all portraits, the face
    reader finds that person's nearest; and the reader sees what the prompt asks for.

    Args:
        base: the pipeline, with nothing attached.
        judges: as loaded.
        names: of people.
        portraits: what they look like, (names, 3, height, width) in [0, 1].
        seed: of the pictures.
        generate_options: as for `generate`, for example `num_inference_steps`.

    Raises:
        PersoError: another number of portraits than of names.
    """
    if len(portraits) != len(names):
        raise PersoError(
            f"There are {len(portraits)} portraits for {len(names)} names: give one "
            "for each, in the same order."
        )
    scenes = [SCENES[index % len(SCENES)] for index in range(len(names))]
    prompts = [s.format(name) for s, name in zip(scenes, names, strict=True)]
    pictures = generate(base, prompts, (seed,), output_type="pt", **generate_options)
    nearest = face_similarity(judges, pictures, portraits).argmax(1).tolist()
    classes = read_attribute(judges, pictures, "class")
    asked = [scene.format("a person") for scene in scenes]
    obeyed = (prompt_accuracy(judges, pictures, asked) == 1).tolist()
    kept, rejected = [], {}
    for index, name in enumerate(names):
        reason = None if obeyed[index] else DISOBEYED
        if nearest[index] != index:
            reason = f"{names[nearest[index]]} is drawn"
        if classes[index] != "person":
            reason = NOBODY
        if reason is None:
            kept.append(name)
        else:
            rejected[name] = reason
    return FilteredNames(kept, rejected)


@torch.no_grad()
def face_similarity(judges: Judges, pictures: Tensor, portraits: Tensor) -> Tensor:
    """Cosines of faces by the judge of people, (pictures, portraits).

    Both are (count, 3, height, width) in [0, 1].
    """
    found, known = (
        judges.faces.encode(for_judge(shown, judges.faces))
        for shown in (pictures, portraits)
    )
    return found @ known.T


def true_portraits(names: Sequence[str], size: int = PICTURE_SIZE) -> Tensor:
    """Portraits of named people of our world, (names, 3, size, size) in [0, 1]."""
    scenes = [scene_for(f"a photo of {n}", random.Random(n)) for n in names]
    pictures = [render(scenes[i : i + 32], size)[0] for i in range(0, len(scenes), 32)]
    return torch.cat(pictures).clamp(0, 1)
