"""Methods side by side, between the class prior and the oracle.

`python -m perso_lite evaluate methods` learns each shipped toy with each method, draws
it with the fixed prompts of `data/prompts/concepts.json`, and scores the pictures. With
the same prompts it scores pictures of the class word (the class prior: what the base
draws anyway) and true pictures of the toy (the oracle: no method can beat them).
"""

import argparse
import json

import torch
from tqdm.auto import tqdm

from perso_lite.base import load_base, picture_size
from perso_lite.commands.options import drawing_options, measuring_parser, whole
from perso_lite.concepts import load_concept
from perso_lite.evaluation.bootstrap import bootstrap_interval
from perso_lite.evaluation.judges import load_judges
from perso_lite.evaluation.prompts import concept_prompts, toys
from perso_lite.evaluation.scores import (
    ConceptScores,
    class_prior_scores,
    oracle_scores,
    score_concept,
)
from perso_lite.files.writing import check_writable, write_atomically
from perso_lite.methods import METHODS, method_named
from perso_lite.training import fit

FOR_PEOPLE = ("celeb_basis",)  # measured by `evaluate celeb`; toys have no names
SCORES = ("instance", "instance_masked", "clip_image", "clip_image_masked",
          "clip_text", "prompt_accuracy")  # fmt: skip


def evaluate_methods(options: argparse.Namespace) -> dict[str, list[ConceptScores]]:
    """Scores of every toy: class prior, each method, oracle, in this order."""
    kinds = {name: method_named(name) for name in options.methods}
    concepts = [load_concept(name) for name in options.concepts or toys()]
    base, judges = load_base(options.base), load_judges()
    prompts, seeds = concept_prompts(), list(range(options.seeds))
    drawing = drawing_options(options)
    scores: dict[str, list[ConceptScores]] = {"class prior": []}
    scores |= {name: [] for name in options.methods} | {"oracle": []}
    for concept in tqdm(concepts, desc="concepts"):
        shared = (judges, concept, prompts, seeds)
        scores["class prior"].append(class_prior_scores(base, *shared, **drawing))
        for method_name, kind in kinds.items():
            method = kind(base, concept.class_word, concept.placeholder_token)
            for _ in fit(method, concept, options.training_steps):
                pass
            with method.attach(base):
                drawn = score_concept(base, *shared, **drawing)
            scores[method_name].append(drawn)
        scores["oracle"].append(oracle_scores(*shared, picture_size(base)))
    return scores


def interval_table(
    scores: dict[str, list[ConceptScores]],
) -> dict[str, dict[str, tuple[float, float, float]]]:
    """Mean and 95 % interval of every score; toys are resampled first, then pictures.

    The rows "<method> - class prior" have differences of pictures with the same prompt
    and seed.
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


def main(argv: list[str] | None = None) -> None:
    """Measure, print a table, and write the same as JSON."""
    p = measuring_parser("methods", __doc__, "evaluation", steps=20)
    usual = [name for name in METHODS if name not in FOR_PEOPLE]
    p.add_argument("--methods", nargs="+", default=usual)
    p.add_argument("--concepts", nargs="+", help="default: the eight shipped toys")
    p.add_argument("--training-steps", type=whole(1), default=250)
    options = p.parse_args(argv)
    check_writable(options.out / "methods.json")
    table = interval_table(evaluate_methods(options))
    text = json.dumps(table, indent=1) + "\n"
    write_atomically(options.out / "methods.json", text.encode())
    print(f"{'':<34}" + "".join(f"{name:>24}" for name in SCORES))
    for row, intervals in table.items():
        cells = [f"{m:.3f} [{a:.3f}, {b:.3f}]" for m, a, b in intervals.values()]
        print(f"{row:<34}" + "".join(f"{cell:>24}" for cell in cells))
