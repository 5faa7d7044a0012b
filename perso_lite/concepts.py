"""A concept: a few pictures of one thing or person, and the everyday word for it.

`load_concept("dotty-teddy")` finds one we ship; `load_concept(folder, class_word=...)`
reads a folder of the user's own, whatever the camera or the drawing program made of it.
"""

import os
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from perso_lite.errors import PersoError, shortened
from perso_lite.files import DATA_FOLDER
from perso_lite.files.pictures import open_picture
from perso_lite.files.reading import parse_json, read_json, read_text

CONCEPTS_FOLDER = DATA_FOLDER / "concepts"
MASK = "_mask"  # at the end of a mask's name
OTHER_CAPTIONS = ("metadata.csv", "captions.txt")  # of other tools; not read
# Pillow cannot read these without a plug-in, but people have folders full of them.
UNREADABLE_SUFFIXES = {".heic", ".heif", ".cr2", ".nef", ".arw", ".dng"}

LEARNABLE_PROPERTIES = ("object", "style")


@dataclass
class Concept:
    """Pictures of one concept, square, with what is known about them.

    Attributes:
        name: the folder's name, or the shipped concept's.
        class_word: the everyday word, for example "teddy".
        images: square RGB pictures.
        masks: for each picture a square "L" mask, white on the concept, or None.
        captions: one per picture ("" where there is none), or None. Those of a
            shipped concept have "{}" in place of its word.
        placeholder_token: the word of a shipped concept, or None.
        truth: the parameters a shipped concept was painted with, or None.
        learnable_property: what of the pictures is meant, "object" (the thing in them)
            or "style" (how they are made); it chooses the neutral captions.

    Raises:
        PersoError: there is no such learnable property.
    """

    name: str
    class_word: str
    images: list[Image.Image]
    masks: list[Image.Image | None]
    captions: list[str] | None = None
    placeholder_token: str | None = None
    truth: dict[str, Any] | None = None
    learnable_property: str = "object"

    def __post_init__(self) -> None:
        if self.learnable_property not in LEARNABLE_PROPERTIES:
            raise PersoError(
                f'learnable_property is "{self.learnable_property}"; choose from '
                f"{', '.join(LEARNABLE_PROPERTIES)}."
            )

    def pixels(self, resolution: int) -> Tensor:
        """Pictures as (pictures, 3, resolution, resolution) in [-1, 1]."""
        size = (resolution, resolution)
        resized = [
            image.resize(size, Image.Resampling.BICUBIC) for image in self.images
        ]
        stacked = np.stack([np.asarray(image) for image in resized])
        return torch.from_numpy(stacked).permute(0, 3, 1, 2).float() / 127.5 - 1

    def pictures(self, resolution: int) -> Tensor:
        """Pictures as (pictures, 3, resolution, resolution) in [0, 1]."""
        return (self.pixels(resolution) + 1) / 2

    def mask_tensor(self, height: int, width: int) -> Tensor:
        """Masks as (pictures, 1, height, width) in [0, 1]; 1 where there is none."""
        whole = Image.new("L", (1, 1), 255)
        resized = [
            (mask or whole).resize((width, height), Image.Resampling.BOX)
            for mask in self.masks
        ]
        stacked = np.stack([np.asarray(mask) for mask in resized])
        return torch.from_numpy(stacked)[:, None].float() / 255


def shipped_concepts() -> list[str]:
    """Names of the concepts in `data/concepts`, in alphabetical order."""
    return sorted(path.parent.name for path in CONCEPTS_FOLDER.glob("*/concept.json"))


def load_concept(name_or_folder: str | Path, class_word: str | None = None) -> Concept:
    """Load a shipped concept by name, or a folder of pictures.

    Pictures are rotated as their EXIF data say, cropped to their middle square (never
    squashed) and reduced to 1024 pixels per side. A mask is read from
    `<picture>_mask.png` beside a picture, otherwise from its transparency, which is
    filled with white; without one the whole picture counts, or `automatic_mask` makes
    one. Captions are read from a `metadata.jsonl` with `file_name` and
    `text`; those with the placeholder are used in training. A picture that cannot be
    read is left out with a warning.

    Args:
        name_or_folder: for example "dotty-teddy", or "photos/my-cat".
        class_word: the everyday word; needed for a folder of your own.

    Raises:
        PersoError: no such concept, no class word, a damaged `concept.json` or
            `metadata.jsonl`, or no picture that can be read.
    """
    folder = Path(name_or_folder)
    if not os.path.isdir(folder):
        folder = CONCEPTS_FOLDER / name_or_folder
    if not os.path.isdir(folder):
        raise PersoError(
            f"{name_or_folder} is neither a folder nor a shipped concept. Give a "
            f"folder of pictures, or one of: {', '.join(shipped_concepts()) or 'none'}."
        )
    if os.path.exists(folder / "concept.json"):
        return _load_described(folder, class_word)
    if not class_word:
        raise PersoError(
            f"{folder} does not say what it shows: give class_word (--class-word), the "
            'everyday word for it, for example "cat".'
        )
    return _load_folder(folder, class_word)


def _load_described(folder: Path, class_word: str | None) -> Concept:
    """Read a folder that `concept.json` describes."""
    path = folder / "concept.json"
    described = read_json(path, dict)
    try:
        listed = list(described["pictures"])
        pictures = [
            (folder / entry["file"], folder / entry["mask"]) for entry in listed
        ]
        captions = [_text(entry["caption"]) for entry in listed]
        name, token = (_text(described[key]) for key in ("name", "placeholder_token"))
        word = _text(class_word or described["class_word"])
    except (KeyError, TypeError) as reason:
        raise PersoError(
            f"{path} cannot be read as a concept ({_because(reason)}): repair it, or "
            "remove it to load the folder's pictures as they are."
        ) from reason
    images, masks, kept = _open_all(folder, pictures)
    captions = [captions[index] for index in kept]
    truth = described.get("truth")
    return Concept(name, word, images, masks, captions, token, truth)


def _because(reason: KeyError | TypeError) -> str:
    """Why a JSON object is not what it should be."""
    missing = isinstance(reason, KeyError)
    return f"{reason} is missing" if missing else shortened(reason)


def _text(value: object) -> str:
    """A text from a JSON file, and nothing else."""
    if not isinstance(value, str):
        raise TypeError(f"{shortened(value, 40)} is no text")
    return value


def _load_folder(folder: Path, class_word: str) -> Concept:
    """Read a user's folder of pictures."""
    openable = {
        suffix
        for suffix, format_name in Image.registered_extensions().items()
        if format_name in Image.OPEN
    }
    files = sorted(path for path in _files_in(folder) if path.name[0] != ".")
    pictures = _with_masks(
        folder,
        [f for f in files if f.suffix.lower() in openable | UNREADABLE_SUFFIXES],
    )
    texts = _read_metadata(folder / "metadata.jsonl")
    unread = [path.name for path in files if path.name in OTHER_CAPTIONS
              or (path.suffix.lower() == ".txt" and path.stem in
                  {picture.stem for picture, _ in pictures})]  # fmt: skip
    if unread and not texts:
        warnings.warn(
            f"Captions are read from metadata.jsonl alone, not from {unread[0]}: write "
            'lines such as {"file_name": "cat.jpg", "text": "a photo of a <toy>"}.',
            stacklevel=3,
        )
    images, masks, kept = _open_all(folder, pictures)
    captions = [texts.get(pictures[index][0].name, "") for index in kept]
    name = folder.resolve().name
    return Concept(name, class_word, images, masks, captions if texts else None)


def _files_in(folder: Path) -> list[Path]:
    """The files in a folder, without its sub-folders."""
    try:
        return [path for path in folder.iterdir() if os.path.isfile(path)]
    except OSError as reason:
        raise PersoError(
            f"{folder} cannot be read ({reason.strerror}); choose a folder whose "
            "contents you may read."
        ) from reason


def _with_masks(folder: Path, files: list[Path]) -> list[tuple[Path, Path | None]]:
    """Pictures, each with its mask: `cat_mask.png` or `cat.jpg_mask.png`, in any case.

    A mask without a picture is named in a warning.
    """
    masks, pictures = {}, []
    for path in files:
        stem = path.stem.lower()
        if stem.endswith(MASK):
            masks[stem.removesuffix(MASK)] = path
        else:
            pictures.append(path)
    found = []
    for path in pictures:
        names = (path.name.lower(), path.stem.lower())
        mask = next((masks.pop(name) for name in names if name in masks), None)
        found.append((path, mask))
    if masks and pictures:  # else there is more to say
        left = ", ".join(sorted(path.name for path in masks.values()))
        warnings.warn(
            f"In {folder} there is no picture for {left}: a mask is named like its "
            "picture, for example cat.jpg and cat_mask.png. It is left out.",
            stacklevel=4,
        )
    return found


def _read_metadata(path: Path) -> dict[str, str]:
    """Captions by file name, from an ImageFolder's `metadata.jsonl`."""
    if not os.path.exists(path):
        return {}
    texts = {}
    lines = read_text(path).split("\n")  # a JSON text may hold other line ends
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        entry = parse_json(line, dict, f"Line {number} of {path}")
        try:
            texts[_text(entry["file_name"])] = _text(entry.get("text") or "")
        except (KeyError, TypeError) as reason:
            raise PersoError(
                f"Line {number} of {path} cannot be read as a caption "
                f"({_because(reason)}): it must be like "
                '{"file_name": "cat.jpg", "text": "a photo of a <toy>"}.'
            ) from reason
    return texts


def _open_all(
    folder: Path, pictures: list[tuple[Path, Path | None]]
) -> tuple[list[Image.Image], list[Image.Image | None], list[int]]:
    """Open the readable pictures: images, masks, and their indices in `pictures`."""
    images, masks, kept, refused = [], [], [], []
    for index, (path, mask_path) in enumerate(pictures):
        try:
            image, mask = open_picture(path, mask_path)
        except PersoError as reason:
            refused.append(reason)
            continue
        images.append(image)
        masks.append(mask)
        kept.append(index)
    if not images:
        tried = f"{len(pictures)} tried, none in sub-folders, without an extension or "
        first = f"; the first: {shortened(refused[0]).rstrip('.')}" if refused else ""
        raise PersoError(
            f"There is no readable picture in {folder} ({tried}named ..._mask{first}). "
            "Put 3 to 6 pictures of the concept there, for example as PNG or JPEG."
        )
    for reason in refused:
        warnings.warn(f"{reason} It is left out.", stacklevel=4)
    return images, masks, kept
