"""Does the base draw what a prompt says? Ask `python -m perso_lite evaluate`.

A fixed list of scenes of one toy becomes prompts; the base draws them, the attribute
reader says what it sees, and both are compared. The same reader on true renders of the
same scenes gives the most that any base could reach.
"""

import argparse
import json
import random
from dataclasses import replace
from pathlib import Path

import torch
from tqdm.auto import tqdm

from perso_lite.base import load_base
from perso_lite.files import DATA_FOLDER
from perso_lite.pretrain.judges import (
    ATTRIBUTES,
    READER_FILE,
    bootstrap_interval,
    load_reader,
    right_or_wrong,
    truth_of,
)
from perso_lite.pretrain.unet import save_sheet
from perso_lite.sampling import generate
from perso_lite.world.captions import caption
from perso_lite.world.places import PLACES
from perso_lite.world.render import render
from perso_lite.world.scenes import COLORS, Scene, held_out, sample_scene


def evaluation_scenes(count: int) -> list[Scene]:
    """Scenes of one toy with a colour, always the same; three in four in a place."""
    scenes = []
    for i in range(count):
        rng = random.Random(f"evaluate/{i}")
        while True:
            scene = sample_scene(rng)
            thing = scene.things[0]
            if len(scene.things) == 1 and thing.class_word != "person":
                break
        thing = replace(thing, color=rng.choice(list(COLORS)), family=False)
        place = rng.choice(list(PLACES)) if rng.random() < 0.75 else None
        scenes.append(replace(scene, things=(thing,), place=place, augmentation=None))
    return scenes


def main(argv: list[str] | None = None) -> None:
    """Print a table, and write it as JSON beside a sheet of the first pictures."""
    p = argparse.ArgumentParser(prog="perso_lite evaluate", description=__doc__)
    p.add_argument("--base", help="folder or hub id; default: the shipped base")
    p.add_argument("--prompts", type=int, default=400)
    p.add_argument("--guidance", type=float, default=5.0)
    p.add_argument("--steps", type=int, default=25)
    p.add_argument("--out", type=Path, default=Path("evaluation"))
    options = p.parse_args(argv)
    base = load_base(options.base)
    reader = load_reader(DATA_FOLDER / "judges" / READER_FILE)
    scenes = evaluation_scenes(options.prompts)
    prompts = [caption(s, random.Random(f"say/{i}")) for i, s in enumerate(scenes)]
    drawn = torch.cat(
        [
            generate(
                base,
                prompts[start : start + 8],
                (start,),
                options.steps,
                options.guidance,
                output_type="pt",
            )
            for start in tqdm(range(0, len(prompts), 8), desc="drawing by eight")
        ]
    )
    painted, _ = render(scenes, drawn.shape[-1])
    options.out.mkdir(parents=True, exist_ok=True)
    table = judged(reader, scenes, drawn, painted)
    (options.out / "base.json").write_text(json.dumps(table, indent=1) + "\n")
    save_sheet(drawn[:96], options.out / "base.png", columns=12)
    print(f"{'attribute':<11}{'n':>5}  {'drawn':<24}{'true renders':<14}")
    for name, row in table.items():
        mean, low, high = row["drawn"]
        print(
            f"{name:<11}{row['n']:>5}  {mean:6.1%} [{low:.1%}, {high:.1%}]"
            f"{row['true renders']:>12.1%}"
        )


def judged(reader, scenes: list[Scene], drawn, painted) -> dict[str, dict]:
    """Accuracy by attribute, and of class, colour and place in held-out scenes."""
    truth = torch.tensor([truth_of(scene) for scene in scenes])
    ours = right_or_wrong(reader, drawn * 2 - 1, truth)
    theirs = right_or_wrong(reader, painted.clamp(0, 1) * 2 - 1, truth)
    never = torch.tensor(
        [
            held_out(s.things[0].class_word, s.place, s.things[0].accessory)
            for s in scenes
        ]
    )
    table = {
        name: {
            "n": len(ours[name]),
            "drawn": bootstrap_interval(ours[name]),
            "true renders": theirs[name].mean().item(),
        }
        for name in ATTRIBUTES
    }
    if never.any():
        for name in ("class", "color", "place"):
            table[f"{name} (new)"] = {
                "n": int(never.sum()),
                "drawn": bootstrap_interval(ours[name][never]),
                "true renders": theirs[name][never].mean().item(),
            }
    return table
