"""Notebook 10 with choices as for Stable Diffusion, on its classes at random."""

import pathlib
import sys
import types

import matplotlib.pyplot as plt
import pytest
from notebook_rules import ROOT, numbered, read
from tiny_pipeline import tiny_clipseg

import perso_lite
from perso_lite.methods.perfusion import common_captions, covariance

pytestmark = pytest.mark.slow
NOTEBOOK = ROOT / "notebooks" / "10_your_own_pictures.ipynb"
CHOICES = "base_name = None"  # how the cell of choices starts
DRIVE = "/content/drive/MyDrive"


@pytest.fixture
def photo_folder(tmp_path, concept):
    """A user's photos, one of them with a mask."""
    folder = tmp_path / "cup"
    folder.mkdir()
    for number, image in enumerate(concept.images):
        image.save(folder / f"{number}.png")
    concept.masks[0].save(folder / "0_mask.png")
    return folder


@pytest.fixture
def colab(monkeypatch):
    """What of Colab the notebook asks for; the list of places it mounted."""
    mounted = []
    drive = types.SimpleNamespace(mount=mounted.append)
    monkeypatch.setitem(sys.modules, "google.colab", types.ModuleType("google.colab"))
    monkeypatch.setattr(sys.modules["google.colab"], "drive", drive, raising=False)
    return mounted


def run_with(choices, drive):
    """Run the notebook with other choices and another Drive; returns its names."""
    names = {"perso_lite": perso_lite, "pathlib": pathlib, "sys": sys}
    _, *cells = [cell.source for _, cell in numbered(read(NOTEBOOK), "code")]
    for cell in cells:
        exec(cell.replace(DRIVE, str(drive)), names)
        if cell.startswith(CHOICES):
            assert choices.keys() <= names.keys()
            names |= choices
    plt.close("all")
    assert names["base_name"] == choices["base_name"]
    return names


@pytest.mark.parametrize(
    ("method", "settings", "stock"),
    [
        (
            "dreambooth-lora",
            {"identifier_token": "weird", "prior_pictures": 0},
            "pipe.load_lora_weights",
        ),
        ("catversion", {}, "none for this method"),
        ("perfusion", {}, "none for this method"),
    ],
)
def test_on_another_base_with_photos_on_colab(
    tiny_folder, photo_folder, colab, tmp_path, monkeypatch, capsys, method, settings,
    stock,
):  # fmt: skip
    captions = common_captions.common_captions(200)  # as 20,000 would be, but sooner
    monkeypatch.setattr(covariance, "common_captions", lambda: captions)
    monkeypatch.setenv("PERSO_LITE_CACHE", str(tmp_path / "cache"))
    (tmp_path / "clipseg").mkdir()
    choices = {
        "base_name": str(tiny_folder),
        "photo_folder": str(photo_folder),
        "class_word": "teddy",
        "method_name": method,
        "settings": settings,
        "steps": 3,
        "drawing": {"num_inference_steps": 2, "guidance_scale": 7.5},
        "segmentation_model": str(tiny_clipseg(tmp_path / "clipseg")),
    }
    (tmp_path / "drive").mkdir()
    names = run_with(choices, tmp_path / "drive")
    said = capsys.readouterr().out
    assert names["base"].unet.config.cross_attention_dim == 32
    assert names["concept"].masks[1] is not None
    assert "maps from the segmentation model" in said
    assert "✓ the file draws the same picture" in said
    assert "✓ the stock pipeline draws the same picture" in said
    assert f"stock file: {stock}" in said
    assert colab == ["/content/drive"]
    written = {path.name for path in (tmp_path / "drive" / "perso_lite").iterdir()}
    assert {"mine.safetensors", "word"} <= written
    assert ("stock" in written) == (method == "dreambooth-lora")
    assert ("without masks" in names["arms"]) == (method == "perfusion")
