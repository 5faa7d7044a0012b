"""A folder full of inputs that something is wrong with, each under a name."""

import json
import os
import pickle
import shutil
from pathlib import Path

import torch
from diffusers import UNet2DConditionModel
from PIL import Image
from safetensors.torch import load_file, save_file

from perso_lite import TextualInversion, load_concept
from perso_lite.checkpoints import DEFAULTS, picture_hash
from perso_lite.evaluation.prompts import toys
from perso_lite.files.tensors import read_tensors, write_tensors

DEEP = "[" * 100_000
DESCRIBED = {
    "name": "disc", "class_word": "teddy", "placeholder_token": "<disc>",
    "pictures": [{"file": "0.png", "mask": "0.png", "caption": "a {}"}],
}  # fmt: skip


def photos(folder: Path, *names: str) -> Path:
    """A folder with pictures of these names."""
    folder.mkdir()
    for name in names or ("0.png",):
        (folder / name).parent.mkdir(exist_ok=True)
        Image.new("RGB", (32, 32), "red").save(folder / name, "png")
    return folder


def picture_folders(root: Path) -> dict[str, Path]:
    """Folders of pictures by what is wrong with them."""
    texts = {
        "metadata_latin": b'{"file_name": "0.png", "text": "caf\xe9"}',
        "metadata_list": b'["0.png"]',
        "metadata_number": b'{"file_name": 5, "text": "a <toy>"}',
        "metadata_nameless": b'{"text": "a <toy>"}',
        "metadata_torn": b'{"file_name": "0.png", "te',
        "metadata_deep": DEEP.encode(),
        "metadata_endless": json.dumps(
            {"file_name": "0.png", "text": "a <new> " + "cat " * 100_000}
        ).encode(),
        "metadata_bom": b'\xef\xbb\xbf{"file_name": "0.png", "text": "a <new>"}',
    }
    places = {name: photos(root / name) for name in texts}
    for name, content in texts.items():
        (places[name] / "metadata.jsonl").write_bytes(content)
    described = {
        "described_list": "[]",
        "described_deep": DEEP,
        "described_empty": "",
        "described_nameless": json.dumps({"pictures": []}),
        "described_number": json.dumps(DESCRIBED | {"class_word": 5}),
        "described_token": json.dumps(DESCRIBED | {"placeholder_token": ["<a>"]}),
        "described_pictures": json.dumps(DESCRIBED | {"pictures": {"0.png": 1}}),
        "described_absent": json.dumps(DESCRIBED).replace("0.png", "1.png"),
        "described_device": json.dumps(DESCRIBED).replace("0.png", "/dev/zero"),
    }
    for name, text in described.items():
        places[name] = photos(root / name)
        (places[name] / "concept.json").write_text(text)
    places["described_latin"] = photos(root / "described_latin")
    (places["described_latin"] / "concept.json").write_bytes(b'{"name": "caf\xe9"}')

    places["photos"] = photos(root / "photos", "0.png", "1.png")
    places["nothing"] = root / "nothing"
    places["nothing"].mkdir()
    places["inner"] = photos(root / "inner", "sub/0.png")
    places["bare"] = photos(root / "bare", "one", "two")
    places["masks"] = photos(root / "masks", "0_mask.png", "1_Mask.png")
    places["damaged"] = photos(root / "damaged", "0.png", "1.png")
    for picture in places["damaged"].iterdir():
        picture.write_bytes(picture.read_bytes()[:40])
    for name, caption in (("txt", "0.txt"), ("csv", "metadata.csv")):
        places[f"captions_{name}"] = photos(root / f"captions_{name}")
        (places[f"captions_{name}"] / caption).write_text("a cat")
    places["one_damaged"] = photos(root / "one_damaged", "0.png", "1.png")
    (places["one_damaged"] / "1.png").write_bytes(b"")
    places["pipes"] = root / "pipes"
    places["pipes"].mkdir()
    os.mkfifo(places["pipes"] / "0.png")
    return places


def concept_files(root: Path, base) -> dict[str, Path]:
    """Concept files by what is wrong with them; `toy` is fine."""
    toy = root / "toy.safetensors"
    TextualInversion(base, "teddy", "<toy>").save(toy)
    tensors, header = read_tensors(toy)
    places = {"toy": toy}

    def changed(name: str, new: dict | None = None, **entries: str | None) -> None:
        places[name] = root / f"{name}.safetensors"
        entries = {f"perso_lite.{key}": value for key, value in entries.items()}
        kept = {k: v for k, v in (header | entries).items() if v is not None}
        write_tensors(places[name], new or tensors, kept)

    (vectors,) = tensors.values()
    key = "textual_inversion.vectors"
    settings = json.loads(header["perso_lite.settings"])
    changed("unknown_method", method="hypnosis")
    changed("future", format_version="99")
    changed("other_base", base_fingerprint="0" * 16)
    changed("other_method", method="neti")
    changed("no_settings", settings=None)
    changed("settings_list", settings="[]")
    changed("settings_deep", settings=DEEP)
    changed("settings_text", settings="not JSON")
    changed("settings_strange", settings='{"speed": 9}')
    changed("settings_typed", settings=json.dumps(settings | {"num_vectors": [1]}))
    changed("settings_word", settings=json.dumps(settings | {"initializer_token": 5}))
    changed("settings_vectors", settings=json.dumps(settings | {"num_vectors": 10**6}))
    changed("settings_rank", method="dreambooth_lora", settings='{"rank": 100000}')
    changed("settings_seed", method="neti", settings='{"seed": 1e400}')
    changed("settings_beta", method="perfusion", settings='{"beta": NaN}')
    changed("training_list", training="[1, 2]")
    changed("blank_token", placeholder_token="a toy")
    changed("no_class", class_word=" ")
    changed("not_finite", {key: vectors * float("nan")})
    changed("narrow", {key: vectors[:, :16]})
    changed("no_tensors", {"other": vectors})

    content = content_of_toy = toy.read_bytes()
    raw = {
        "torn": content[:-7],
        "altered": content[:-1] + bytes([content[-1] ^ 1]),
        "void": b"",
        "pickled": pickle.dumps({"a": 1}),
        "endless": (2**60).to_bytes(8, "little") + b"{}",
        "header_list": (2).to_bytes(8, "little") + b"[]",
        "header_deep": (10**5).to_bytes(8, "little") + DEEP.encode(),
        "binary_text": bytes(range(256)),
    }
    for name, payload in raw.items():
        places[name] = root / f"{name}.safetensors"
        places[name].write_bytes(payload)
    concept = load_concept(root / "photos", "teddy")
    record = {"concept": "photos", "pictures": picture_hash(concept), "seed": 0}
    record = json.dumps(DEFAULTS | record | {"batch_size": 4, "steps": 1})
    state = {key: vectors, "fit.generator": torch.zeros(3)}
    for name, content, entries in (
        ("finished", tensors, {}),
        ("unset", state, {"settings": None}),
        ("strange", state, {"training": "{}"}),
        ("listed", state, {"training": "[]"}),
        ("damaged_state", state, {"training": record}),
    ):
        changed(f"{name}.checkpoint", content, **entries)
        places[name] = root / f"{name}.safetensors"
    (root / "halved.checkpoint.safetensors").write_bytes(content_of_toy[:-7])
    places["halved"] = root / "halved.safetensors"
    places["code"] = root / "code.bin"
    places["code"].write_bytes(pickle.dumps(os.getcwd))
    places["foreign"] = root / "foreign.safetensors"
    save_file({"<toy>": torch.ones(1, 32)}, places["foreign"])
    return places


def bases(root: Path, tiny: Path) -> dict[str, Path]:
    """Folders of pipelines by what is wrong with them."""
    index = json.loads((tiny / "model_index.json").read_text())
    texts = {
        "index_list": "[]",
        "index_deep": DEEP,
        "index_number": "5",
        "index_torn": '{"_class_name": ',
        "index_types": json.dumps(index | {"unet": 5}),
        "index_absent": json.dumps(index | {"unet": [None, None]}),
        "index_library": json.dumps(index | {"unet": ["os", "system"]}),
    }
    names = [
        *texts,
        "index_latin",
        "text_torn",
        "text_config",
        "unet_torn",
        "unet_deep",
    ]
    names += ["words_torn", "bins", "xl"]
    places = {}
    for name in names:
        places[name] = root / name
        shutil.copytree(tiny, places[name])
    for name, text in texts.items():
        (places[name] / "model_index.json").write_text(text)
    (places["index_latin"] / "model_index.json").write_bytes(b'{"caf\xe9": 1}')

    weights = places["text_torn"] / "text_encoder" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    config = places["text_config"] / "text_encoder" / "config.json"
    wider = json.loads(config.read_text()) | {"hidden_size": 64}
    config.write_text(json.dumps(wider))
    weights = places["unet_torn"] / "unet" / "diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    (places["unet_deep"] / "unet" / "config.json").write_text(DEEP)
    for file in (places["words_torn"] / "tokenizer").glob("*.json"):
        file.write_text("{")

    for weights in places["bins"].glob("*/*.safetensors"):
        ending = (
            "pytorch_model.bin" if weights.stem == "model" else f"{weights.stem}.bin"
        )
        torch.save(load_file(weights), weights.with_name(ending))
        weights.unlink()
    xl = index | {"_class_name": "StableDiffusionXLPipeline"}
    (places["xl"] / "model_index.json").write_text(json.dumps(xl))
    config = places["xl"] / "unet" / "config.json"
    described = json.loads(config.read_text()) | {"cross_attention_dim": 64}
    config.write_text(json.dumps(described))
    (places["xl"] / "unet" / "diffusion_pytorch_model.safetensors").unlink()
    wide = UNet2DConditionModel.from_config(described)
    wide.save_pretrained(places["xl"] / "unet")
    return places


def all_places(root: Path, tiny: Path, base) -> dict[str, str]:
    """Every input by its name, and a few places that do not exist or cannot be used."""
    (root / "notes.txt").write_text("a cat\n")
    (root / "few.txt").write_text("a cat\n")
    (root / "latin.txt").write_bytes(b"caf\xe9\n")
    (root / "long.txt").write_text("cat" * 200_000)
    os.mkfifo(root / "pipe")
    os.mkfifo(root / "pipe.safetensors")
    (root / "scores").mkdir()
    for name in toys():
        (root / "scores" / f"{name}-ends.json").write_text('{"class prior": [1]}')
    places = {
        "tiny": tiny,
        "new": root / "new.safetensors",
        "out": root / "out",
        "file": root / "notes.txt",
        "few": root / "few.txt",
        "latin": root / "latin.txt",
        "endless_line": root / "long.txt",
        "below": root / "notes.txt" / "below.safetensors",
        "pipe": root / "pipe",
        "pipe_file": root / "pipe.safetensors",
        "absent": root / "absent",
        "scores": root / "scores",
        "name": "n" * 300,
        "long": "a <toy> " + "cat " * 100_000,
        "long_word": "<toy>" + "x" * 400_000,
        "surrogate": "caf\udce9",
    }
    places |= picture_folders(root) | concept_files(root, base) | bases(root, tiny)
    return {name: str(place) for name, place in places.items()}
