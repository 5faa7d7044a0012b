"""Pictures in bulk: processes lay scenes out as shapes, a device paints the shapes.

`world.render` paints each shape only where it can be seen, which suits a CPU, but waits
for the device once a batch. Here every shape of a batch is painted on the whole canvas,
one after the other, and on a GPU by a compiled kernel. The pictures are the same up to
rounding. On a GPU, the U-Net learns from more scenes than are kept as pictures: the
others are painted to be encoded, and only their latents are kept.
"""

import argparse
import multiprocessing
import os
from collections.abc import Iterator

import numpy as np
import torch
from accelerate import Accelerator
from diffusers import AutoencoderKL
from safetensors.torch import load_file, save_file
from torch import Tensor
from tqdm.auto import tqdm

from perso_lite.pretrain.autoencoder import encoded, scaling_factor
from perso_lite.pretrain.checkpoint_parts import weights_fingerprint
from perso_lite.pretrain.pictures import CHUNK, scene_by_kind
from perso_lite.world.render import finish, scene_shapes
from perso_lite.world.scenes import Scene
from perso_lite.world.shapes import COLUMN, coverage, pattern_amount

BATCH = 128  # pictures painted together; always so many, since a kernel is of one size

Job = tuple[str, int, range]  # kind of pictures, seed of their world, their numbers
Group = tuple[list[int], np.ndarray]  # rows of a job, shapes (rows, shapes, fields)
Layout = tuple[list[Group], dict[int, Scene]]


def lay_out(job: Job) -> Layout:
    """The shapes of a job's scenes, grouped by the number of their things.

    Args:
        job: kind, seed and numbers of the pictures.

    Returns:
        The groups, and by row those scenes whose style or augmentation comes after
        painting.
    """
    torch.set_num_threads(1)
    kind, seed, numbers = job
    scenes = [scene_by_kind(kind, seed, number) for number in numbers]
    groups = []
    for count in (1, 2, 3):
        rows = [i for i, scene in enumerate(scenes) if len(scene.things) == count]
        if rows:
            shapes = scene_shapes([scenes[i] for i in rows], torch.device("cpu"))
            groups.append((rows, shapes.numpy()))
    changed = {i: s for i, s in enumerate(scenes) if s.style or s.augmentation}
    return groups, changed


def add_shape(
    picture: Tensor, mask: Tensor, row: Tensor, x: Tensor, y: Tensor, pixel: float
) -> tuple[Tensor, Tensor]:
    """Put one more shape on top of each picture.

    Args:
        picture: (batch, 3, size, size) in [0, 1].
        mask: (batch, 1, size, size), the visible part of the first thing.
        row: (batch, fields), the numbers of the shape.
        x: of the pixel centers, (size, size).
        y: of the pixel centers, (size, size).
        pixel: width of a pixel.

    Returns:
        The new pictures and masks.
    """
    shape = {name: row[:, column, None, None] for name, column in COLUMN.items()}
    amount, u, v = coverage(shape, x, y, pixel)
    second = pattern_amount(shape, u, v)[:, None]
    red, red2 = COLUMN["red"], COLUMN["red2"]
    color = row[:, red : red + 3, None, None]
    color = color + second * (row[:, red2 : red2 + 3, None, None] - color)
    height = (y - shape["y"]) / torch.maximum(shape["a"], shape["b"])
    light = 1 - shape["shade"] * height.clamp(-1, 1)
    amount = amount[:, None]
    picture = picture + amount * ((color * light[:, None]).clamp(0, 1) - picture)
    owned = (shape["owner"] == 1).float()[:, None]
    return picture, mask + amount * (owned - mask)


class Painter:
    """Paints layouts on a device."""

    def __init__(self, size: int, device: torch.device | str, batch: int = BATCH):
        self.size, self.device, self.batch = size, torch.device(device), batch
        self.pixel = 2 / size
        line = (torch.arange(size, device=self.device) + 0.5) * self.pixel - 1
        self.y, self.x = torch.meshgrid(line, line, indexing="ij")
        compiled = self.device.type == "cuda"
        self.add = torch.compile(add_shape, dynamic=False) if compiled else add_shape

    def paint_batch(self, shapes: Tensor) -> tuple[Tensor, Tensor]:
        """Shapes `(batch, shapes, fields)` to pictures and masks of the first thing."""
        side = (self.size, self.size)
        picture = torch.ones(len(shapes), 3, *side, device=self.device)
        mask = torch.zeros(len(shapes), 1, *side, device=self.device)
        for row in shapes.unbind(1):
            row = row.contiguous()
            picture, mask = self.add(picture, mask, row, self.x, self.y, self.pixel)
        return picture, mask

    @torch.no_grad()
    def paint(self, layout: Layout) -> tuple[Tensor, Tensor]:
        """Pictures `(n, 3, size, size)` and masks `(n, 1, size, size)` in [0, 1]."""
        groups, changed = layout
        count = sum(len(rows) for rows, _ in groups)
        pictures = torch.empty(count, 3, self.size, self.size, device=self.device)
        masks = torch.empty(count, 1, self.size, self.size, device=self.device)
        for rows, shapes in groups:
            at = torch.tensor(rows, device=self.device)
            stored = torch.from_numpy(shapes).to(self.device)
            parts = zip(at.split(self.batch), stored.split(self.batch), strict=True)
            for place, part in parts:
                n = len(part)
                if n < self.batch:
                    part = torch.cat([part, part[:1].expand(self.batch - n, -1, -1)])
                picture, mask = self.paint_batch(part)
                pictures[place], masks[place] = picture[:n], mask[:n]
        for row, scene in changed.items():
            pictures[row], masks[row] = finish(scene, pictures[row], masks[row])
        return pictures.clamp(0, 1), masks


def bulk_pictures(
    kind: str, seed: int, parts: list[range], size: int, device: str
) -> Iterator[tuple[range, Tensor]]:
    """Paint pictures part by part, while processes lay out the next parts.

    Args:
        kind: "world", "toys" or "faces".
        seed: of the world.
        parts: numbers of the pictures.
        size: pixels per side.
        device: to paint on.

    Yields:
        Each part, and its pictures as bytes (len(part), channels, size, size) on the
        device: three colors, and the subject's mask if the kind is not "world".
    """
    painter = Painter(size, device)
    jobs = [(kind, seed, part) for part in parts]
    workers = min(len(jobs), os.cpu_count() or 1)
    with multiprocessing.get_context("spawn").Pool(workers) as pool:
        layouts = laid_out_soon(pool, jobs, 2 * workers)
        for part, layout in zip(parts, layouts, strict=True):
            pictures, masks = painter.paint(layout)
            if kind != "world":
                pictures = torch.cat([pictures, masks], dim=1)
            yield part, (pictures * 255).round().byte()


def laid_out_soon(pool, jobs: list[Job], ahead: int) -> Iterator[Layout]:
    """Layouts in order, of which at most `ahead` wait for the device in memory."""
    waiting = [pool.apply_async(lay_out, (job,)) for job in jobs[:ahead]]
    for following in range(ahead, ahead + len(jobs)):
        layout = waiting.pop(0).get()
        if following < len(jobs):
            waiting.append(pool.apply_async(lay_out, (jobs[following],)))
        yield layout


def parts_of(numbers: range) -> list[range]:
    """Ranges of at most `CHUNK` numbers."""
    return [numbers[i : i + CHUNK] for i in range(0, len(numbers), CHUNK)]


def pictures_to_encode(
    options: argparse.Namespace, kept: np.ndarray, numbers: range
) -> Iterator[Tensor]:
    """Pictures of the world as bytes, some hundred at a time, on the device.

    Args:
        options: of the command line.
        kept: the world's first pictures, painted earlier.
        numbers: of the pictures; those that are not kept are painted for the moment.
    """
    stored = [n for n in numbers if n < len(kept)]
    for i in range(0, len(stored), CHUNK):
        part = np.array(kept[stored[i : i + CHUNK]])
        yield torch.from_numpy(part).to(options.device)
    rest = parts_of(numbers[len(stored) :])
    if rest:
        for _, part in bulk_pictures("world", 0, rest, options.size, options.device):
            yield part


def encoded_world(
    options: argparse.Namespace,
    kept: np.ndarray,
    autoencoder: AutoencoderKL,
    accelerator: Accelerator,
) -> Tensor:
    """Latents of all scenes, encoded once; sets the scaling factor.

    Every process encodes its share of the scenes and reads those of the others.

    Args:
        options: of the command line.
        kept: the world's first pictures, painted earlier.
        autoencoder: encodes.
        accelerator: of the run.

    Returns:
        (scenes, 4, 16, 16) in half precision, on the device.
    """
    count, name = accelerator.num_processes, weights_fingerprint(autoencoder.encoder)
    name = f"latents-{name}-{options.scenes}"
    paths = [
        options.cache / f"{name}-{rank}-of-{count}.safetensors" for rank in range(count)
    ]
    mine = paths[accelerator.process_index]
    if not mine.exists():
        numbers = range(options.scenes)[accelerator.process_index :: count]
        parts, latents = pictures_to_encode(options, kept, numbers), []
        with accelerator.autocast():
            for part in tqdm(parts, "encoding", -(-len(numbers) // CHUNK)):
                latents += [encoded(autoencoder, few).cpu() for few in part.split(256)]
        save_file({"latents": torch.cat(latents)}, mine.with_suffix(".partial"))
        mine.with_suffix(".partial").replace(mine)
    accelerator.wait_for_everyone()
    shares = [load_file(path)["latents"] for path in paths]
    latents = torch.empty(options.scenes, *shares[0].shape[1:], dtype=torch.float16)
    for rank, share in enumerate(shares):
        latents[rank::count] = share
    autoencoder.register_to_config(scaling_factor=scaling_factor(latents))
    return latents.to(accelerator.device)
