"""Stage 0: the pictures of the pretraining world, painted once and kept on disk.

Picture i of a world is made from its own seed, so its scene, and a new caption, can be
computed at any time; only pixels are stored. Besides the world there are pictures of
subjects, `VIEWS` of each in different scenes, for the encoders that distinguish toys
or faces.
"""

import hashlib
import json
import multiprocessing
import os
import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm.auto import tqdm

from perso_lite.errors import PersoError, shortened
from perso_lite.files.reading import read_json
from perso_lite.world.accessories import ACCESSORIES
from perso_lite.world.backdrops import MOOD_NUMBERS
from perso_lite.world.captions import caption
from perso_lite.world.people import EXPRESSIONS, THETA, people_thetas
from perso_lite.world.places import PLACES
from perso_lite.world.render import render
from perso_lite.world.scenes import Scene, Thing, sample_instance, sample_scene
from perso_lite.world.shapes import PATTERNS
from perso_lite.world.toys import TOYS

CHUNK = 512
VIEWS = 4  # pictures of each subject


def scene_of(seed: int, index: int) -> Scene:
    """The scene of picture `index` of the world with this seed."""
    return sample_scene(random.Random(f"{seed}/{index}"))


def subject_of(kind: str, seed: int | str, subject: int) -> Thing:
    """A toy, a stranger or one of the named people (whatever the seed), by number."""
    rng = random.Random(f"{kind}/{seed}/{subject}")
    if kind == "toys":
        pattern = rng.choice(PATTERNS[1:]) if rng.random() < 0.4 else None
        class_word = list(TOYS)[subject % len(TOYS)]
        return Thing(class_word, sample_instance(rng), pattern=pattern)
    theta = tuple(rng.random() for _ in THETA)
    if kind == "named":
        theta = tuple(people_thetas()[subject].tolist())
    return Thing("person", sample_instance(rng), theta=theta)


def subject_scene(kind: str, seed: int, index: int) -> Scene:
    """View `index % VIEWS` of subject `index // VIEWS`, in a scene of its own."""
    thing = subject_of(kind, seed, index // VIEWS)
    rng = random.Random(f"{kind}/{seed}/view/{index}")
    person = thing.class_word == "person"
    accessories = [a for a in ACCESSORIES if not (person and a == "balloon")]
    thing = replace(
        thing,
        accessory=rng.choice(accessories) if rng.random() < 0.3 else None,
        expression=rng.choice(EXPRESSIONS) if person and rng.random() < 0.5 else None,
    )
    return Scene(
        (thing,),
        place=rng.choice(list(PLACES)) if rng.random() < 0.7 else None,
        mood=tuple(rng.random() for _ in range(MOOD_NUMBERS)),
        framing=tuple(rng.random() for _ in range(4)),
    )


def pair_scene(seed: int, index: int) -> Scene:
    """Two strangers side by side."""
    scene = subject_scene("faces", seed, index)
    other = subject_of("faces", f"{seed}/other", index)
    return replace(scene, things=(*scene.things, other), relation="and")


def scene_by_kind(kind: str, seed: int, index: int) -> Scene:
    """The scene of picture `index` of the "world", "toys", "faces" or "pairs"."""
    if kind == "world":
        return scene_of(seed, index)
    if kind == "pairs":
        return pair_scene(seed, index)
    return subject_scene(kind, seed, index)


def world_fingerprint(seed: int, kind: str = "world") -> str:
    """A short hash of the first scenes: it changes when the world's sampling does.

    Painted pictures are matched with captions through their index alone, so pictures of
    an older world must not be used with captions of a newer one.
    """
    scenes = repr([scene_by_kind(kind, seed, index) for index in range(64)])
    return hashlib.sha256(scenes.encode()).hexdigest()[:8]


def captions_of(seed: int, indices: list[int], rng: random.Random) -> list[str]:
    """Captions in new wordings for the pictures with these indices."""
    return [caption(scene_of(seed, index), rng) for index in indices]


def _paint_chunk(job: tuple[str, int, range, int]) -> tuple[range, np.ndarray]:
    torch.set_num_threads(1)
    kind, seed, part, size = job
    pictures, masks = render([scene_by_kind(kind, seed, i) for i in part], size)
    if kind != "world":
        pictures = torch.cat([pictures, masks[:, :1]], dim=1)
    return part, (pictures.clamp(0, 1) * 255).round().byte().numpy()


def painted_pictures(
    folder: Path,
    count: int,
    size: int,
    seed: int = 0,
    device: str = "cpu",
    kind: str = "world",
) -> np.ndarray:
    """Pictures as bytes, memory-mapped; painted if missing.

    Painting can be interrupted at any time: a small file beside the pictures lists the
    finished chunks.

    Args:
        folder: of the file.
        count: number of pictures.
        size: pixels per side.
        seed: of the world.
        device: to paint on.
        kind: "world", "toys", "faces" or "pairs".

    Returns:
        (count, 3, size, size) in 0 to 255; all but the "world" have the (first)
        subject's mask as a fourth channel.
    """
    folder.mkdir(parents=True, exist_ok=True)
    world = world_fingerprint(seed, kind)
    prefix = "pictures" if kind == "world" else kind
    path = folder / f"{prefix}-{size}px-seed{seed}-{count}-{world}.npy"
    channels = 3 if kind == "world" else 4
    done_path = path.with_suffix(".done.json")
    done = set(read_json(done_path, list)) if done_path.exists() else set()
    shape = (count, channels, size, size)
    pictures = _kept(path, shape)
    every = [range(i, min(i + CHUNK, count)) for i in range(0, count, CHUNK)]
    parts = [part for part in every if part.start not in done]
    if parts:
        with tqdm(total=count, initial=count - sum(map(len, parts))) as bar:
            bar.set_description("painting")
            for part, chunk in _painted(kind, seed, parts, size, device):
                pictures[part.start : part.stop] = chunk
                pictures.flush()
                done.add(part.start)
                partial = done_path.with_suffix(".part")
                partial.write_text(json.dumps(sorted(done)))
                os.replace(partial, done_path)
                bar.update(len(part))
    return np.load(path, mmap_mode="r")


def _kept(path: Path, shape: tuple[int, ...]) -> np.ndarray:
    """The array of bytes in a file, to read and write; a new one if there is none.

    Raises:
        PersoError: the file is of another shape, or damaged.
    """
    mode = "r+" if path.exists() else "w+"
    try:
        array = np.lib.format.open_memmap(path, mode, dtype=np.uint8, shape=shape)
    except (ValueError, OSError) as reason:
        raise PersoError(
            f"{path} cannot be used ({shortened(reason)}): remove it and the "
            ".done.json beside it, and its pictures are painted again."
        ) from reason
    if array.shape != shape:
        raise PersoError(
            f"{path} holds pictures of the shape {array.shape}, not {shape}: remove it "
            "and the .done.json beside it, and they are painted again."
        )
    return array


def _painted(kind: str, seed: int, parts: list[range], size: int, device: str):
    """Parts with their pictures: from processes that paint, or from the GPU."""
    if device == "cuda":
        from perso_lite.pretrain.bulk import bulk_pictures

        for part, pictures in bulk_pictures(kind, seed, parts, size, device):
            yield part, pictures.cpu().numpy()
        return
    jobs = [(kind, seed, part, size) for part in parts]
    if len(jobs) == 1:
        yield _paint_chunk(jobs[0])
        return
    with multiprocessing.get_context("spawn").Pool(os.cpu_count()) as pool:
        yield from pool.imap_unordered(_paint_chunk, jobs)


def as_tensor(pictures: np.ndarray, device: torch.device | str = "cpu") -> Tensor:
    """Bytes `(batch, 3, size, size)` as floats in [-1, 1]."""
    return torch.from_numpy(np.array(pictures)).to(device).float() / 127.5 - 1
