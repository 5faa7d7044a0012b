"""Prompt fidelity of the base: `python -m perso_lite evaluate base`.

The base draws the 1,000 fixed prompts of `data/prompts/base.json` with two seeds, and
the labels that the judges read are compared with the prompts. An attribute is judged
only where the prompt requests it: a prompt without an accessory does not test how well
the base draws hats. The same judges also read true renders of the prompts (the upper
limit for any base), and true renders that went through the autoencoder (its loss).
"""

import argparse
import functools
import json
import multiprocessing
import random
from collections import defaultdict

import torch
from diffusers import StableDiffusionPipeline
from torch import Tensor
from tqdm.auto import tqdm

from perso_lite.base import load_base
from perso_lite.commands.options import drawing_options, measuring_parser, whole
from perso_lite.evaluation.bootstrap import bootstrap_interval
from perso_lite.evaluation.ground_truth import only_requested, truth_of
from perso_lite.evaluation.judges import ATTRIBUTES, UNKNOWN, Judges, load_judges
from perso_lite.evaluation.metrics import read_attributes
from perso_lite.evaluation.prompts import base_prompts
from perso_lite.files.writing import check_writable, write_atomically
from perso_lite.pretrain.judge_measuring import first_of_each
from perso_lite.pretrain.pictures import VIEWS, subject_scene
from perso_lite.pretrain.unet import save_sheet
from perso_lite.sampling import generate
from perso_lite.world.oracle import scene_for
from perso_lite.world.people import people_names
from perso_lite.world.render import render
from perso_lite.world.scenes import Scene

# (row, kinds of prompt, attributes that must all be right); for people see `rows_of`
ROWS = (
    ("class", ("seen",), ("class",)),
    ("color", ("seen",), ("color",)),
    ("pattern", ("seen",), ("pattern",)),
    ("place", ("seen",), ("place",)),
    ("accessory", ("seen",), ("accessory",)),
    ("style", ("seen",), ("style",)),
    ("class, new", ("new",), ("class",)),
    ("color, new", ("new",), ("color",)),
    ("place, new", ("new",), ("place",)),
    ("accessory, new", ("new",), ("accessory",)),
    ("both of a pair", ("pair",), ("class", "second class")),
    ("both, with their colors", ("pair",), ("color", "second color")),
    ("augmentation", ("augmented",), ("augmentation",)),
)


def draw_chunk(job: tuple[argparse.Namespace, list[str], int]) -> Tensor:
    """Prompts drawn with the same noise, `(prompts, 3, height, width)` in [0, 1]."""
    options, prompts, noise = job
    if options.processes > 1:
        torch.set_num_threads(1)
    base = loaded_base(options.base)
    sampling = drawing_options(options, output_type="pt")
    return generate(base, prompts, (noise,), **sampling).cpu()


@functools.cache
def loaded_base(name: str | None) -> StableDiffusionPipeline:
    """The base, loaded once in each process."""
    return load_base(name)


def draw_all(prompts: list[str], options: argparse.Namespace) -> Tensor:
    """Pictures `(seeds * prompts, 3, height, width)` in [0, 1], seed by seed.

    Eight prompts share their noise. On a CPU, several processes with one thread each
    are faster than one process with several threads.
    """
    count = len(prompts)
    jobs = [
        (options, prompts[start : start + 8], seed * count + start)
        for seed in range(options.seeds)
        for start in range(0, count, 8)
    ]
    bar = {"desc": "drawing by eight", "total": len(jobs), "mininterval": 10}
    if options.processes == 1:
        return torch.cat([draw_chunk(job) for job in tqdm(jobs, **bar)])
    with multiprocessing.get_context("spawn").Pool(options.processes) as pool:
        return torch.cat(list(tqdm(pool.imap(draw_chunk, jobs), **bar)))


def judged(
    judges: Judges, pictures: Tensor, scenes: list[Scene]
) -> dict[str, tuple[Tensor, Tensor]]:
    """By attribute: whether each prompt requests it, and whether the picture shows it.

    Both are (pictures,) and boolean.
    """
    truth = torch.tensor([only_requested(truth_of(scene)) for scene in scenes])
    requested, right = truth != UNKNOWN, read_attributes(judges, pictures) == truth
    return {name: (requested[:, i], right[:, i]) for i, name in enumerate(ATTRIBUTES)}


def rows_of(judges: Judges, pictures: Tensor, entries: list[dict]) -> dict[str, Tensor]:
    """The values (pictures,) of every row of the table, 1: right, 0: wrong."""
    by_attribute = judged(judges, pictures, [e["scene"] for e in entries])
    kinds = [e["kind"] for e in entries]
    values = {}
    for row, wanted, attributes in ROWS:
        use = torch.tensor([kind in wanted for kind in kinds])
        for attribute in attributes:
            use &= by_attribute[attribute][0]
        right = torch.stack([by_attribute[a][1] for a in attributes]).all(0)
        if use.any():
            values[row] = right[use].float()
    people = [i for i, kind in enumerate(kinds) if kind == "person"]
    if people:
        names = [entries[i]["scene"].things[0].name for i in people]
        values["named person, first of 400"] = recognized(
            judges, pictures[people], names
        )
    return values


def recognized(judges: Judges, pictures: Tensor, names: list[str]) -> Tensor:
    """Whether the nearest true portrait has the same name, 1 or 0, (pictures,)."""
    everyone = people_names()
    scenes = [subject_scene("named", 0, i * VIEWS) for i in range(len(everyone))]
    gallery, _ = render(scenes, pictures.shape[-1])
    gallery = judges.faces.encode(gallery.clamp(0, 1) * 2 - 1)
    wanted = torch.tensor([everyone.index(name) for name in names])
    return first_of_each(judges.faces.encode(pictures * 2 - 1), gallery, wanted)


def load_entries(count: int) -> list[dict]:
    """The first prompts of the fixed list, each with a "scene" that shows it."""
    entries = base_prompts()[:count]
    for entry in entries:
        rng = random.Random(f"true render/{entry['prompt']}")
        entry["scene"] = scene_for(entry["prompt"], rng)
    return entries


@torch.no_grad()
def through_autoencoder(base: StableDiffusionPipeline, pictures: Tensor) -> Tensor:
    """Pictures `(n, 3, height, width)` in [0, 1], encoded and decoded again."""
    parts = [base.vae(part * 2 - 1).sample for part in pictures.split(32)]
    return (torch.cat(parts) / 2 + 0.5).clamp(0, 1)


def evaluate_base(options: argparse.Namespace) -> tuple[dict[str, dict], Tensor]:
    """The table, row by row, and the drawn pictures."""
    entries = load_entries(options.prompts)
    base, judges = loaded_base(options.base), load_judges()
    drawn = draw_all([e["prompt"] for e in entries], options)
    painted, _ = render([e["scene"] for e in entries], drawn.shape[-1])
    painted = painted.clamp(0, 1)
    table: dict[str, dict] = defaultdict(dict)
    for row, values in rows_of(judges, drawn, entries * options.seeds).items():
        prompts = torch.arange(len(values)) % (len(values) // options.seeds)
        table[row]["n"] = len(values)
        table[row]["drawn"] = bootstrap_interval(values, groups=prompts)
    for row, values in rows_of(judges, painted, entries).items():
        table[row]["true renders"] = values.mean().item()
    passed = through_autoencoder(base, painted)
    for row, values in rows_of(judges, passed, entries).items():
        table[row]["through the autoencoder"] = values.mean().item()
    return table, drawn


def main(argv: list[str] | None = None) -> None:
    """Print a table, and write it as JSON beside a sheet of the first pictures."""
    p = measuring_parser("base", __doc__, "evaluation", seeds=2, steps=20)
    p.add_argument("--prompts", type=whole(1), default=1000, help="the first so many")
    p.add_argument("--processes", type=whole(1), default=1, help="that draw, on a CPU")
    options = p.parse_args(argv)
    check_writable(options.out / "base.json")
    table, drawn = evaluate_base(options)
    text = json.dumps(table, indent=1) + "\n"
    write_atomically(options.out / "base.json", text.encode())
    save_sheet(drawn[:96], options.out / "base.png", columns=12)
    print(f"{'asked for':<28}{'n':>5}  {'drawn':<24}{'true':>8}{'decoded':>9}")
    for name, row in table.items():
        mean, low, high = row["drawn"]
        print(
            f"{name:<28}{row['n']:>5}  {mean:6.1%} [{low:.1%}, {high:.1%}]"
            f"{row['true renders']:>8.1%}{row['through the autoencoder']:>9.1%}"
        )
