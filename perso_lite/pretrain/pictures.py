"""Stage 0: the pictures of the pretraining world, painted once and kept on disk.

Picture i of a world is made from its own seed, so its scene (and a fresh caption for
it) can be had at any time without storing anything but pixels.
"""

import hashlib
import json
import multiprocessing
import os
import random
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm.auto import tqdm

from perso_lite.world.captions import caption
from perso_lite.world.render import render
from perso_lite.world.scenes import Scene, sample_scene

CHUNK = 512


def scene_of(seed: int, index: int) -> Scene:
    """The scene of picture `index` of the world with this seed."""
    return sample_scene(random.Random(f"{seed}/{index}"))


def world_fingerprint(seed: int) -> str:
    """A short hash of the first scenes: it changes when the world's sampling does.

    Painted pictures are matched with captions through their index alone, so pictures of
    an older world must not be used with captions of a newer one.
    """
    scenes = repr([scene_of(seed, index) for index in range(64)])
    return hashlib.sha256(scenes.encode()).hexdigest()[:8]


def captions_of(seed: int, indices: list[int], rng: random.Random) -> list[str]:
    """Freshly worded captions for the pictures with these indices."""
    return [caption(scene_of(seed, index), rng) for index in indices]


def _paint_chunk(job: tuple[int, int, int, int, str]) -> tuple[int, np.ndarray]:
    seed, start, stop, size, device = job
    torch.set_num_threads(1)
    scenes = [scene_of(seed, i) for i in range(start, stop)]
    pictures, _ = render(scenes, size, device, chunk=64 if device == "cpu" else 512)
    return start, (pictures.clamp(0, 1) * 255).round().byte().cpu().numpy()


def painted_pictures(
    folder: Path, count: int, size: int, seed: int = 0, device: str = "cpu"
) -> np.ndarray:
    """Pictures `(count, 3, size, size)` as bytes, memory-mapped, painted if missing.

    Painting is resumed after any interruption: a small file beside the pictures lists
    the finished chunks.
    """
    folder.mkdir(parents=True, exist_ok=True)
    world = world_fingerprint(seed)
    path = folder / f"pictures-{size}px-seed{seed}-{count}-{world}.npy"
    done_path = path.with_suffix(".done.json")
    done = set(json.loads(done_path.read_text())) if done_path.exists() else set()
    mode = "r+" if path.exists() else "w+"
    pictures = np.lib.format.open_memmap(
        path, mode, dtype=np.uint8, shape=(count, 3, size, size)
    )
    jobs = [
        (seed, start, min(start + CHUNK, count), size, device)
        for start in range(0, count, CHUNK)
        if start not in done
    ]
    if jobs:
        with tqdm(total=count, initial=count - sum(j[2] - j[1] for j in jobs)) as bar:
            bar.set_description("painting")
            for start, chunk in _painted(jobs, device):
                pictures[start : start + len(chunk)] = chunk
                pictures.flush()
                done.add(start)
                partial = done_path.with_suffix(".part")
                partial.write_text(json.dumps(sorted(done)))
                os.replace(partial, done_path)
                bar.update(len(chunk))
    return np.load(path, mmap_mode="r")


def _painted(jobs: list[tuple], device: str):
    if device != "cpu" or len(jobs) == 1:
        yield from map(_paint_chunk, jobs)
        return
    with multiprocessing.get_context("spawn").Pool(os.cpu_count()) as pool:
        yield from pool.imap_unordered(_paint_chunk, jobs)


def as_tensor(pictures: np.ndarray, device: torch.device | str = "cpu") -> Tensor:
    """Bytes `(batch, 3, size, size)` as floats in [-1, 1]."""
    return torch.from_numpy(np.array(pictures)).to(device).float() / 127.5 - 1
