"""What must hold for the base and the concepts in `data/`."""

import subprocess
import sys

import pytest
import torch
import torch.nn.functional as F

from perso_lite import (
    TextualInversion,
    encode_prompts,
    fit,
    generate,
    load_concept,
    load_method,
    shipped_concepts,
)
from perso_lite.base import BASE_FOLDER, picture_size
from perso_lite.conditioning.neutral_captions import (
    STYLE_TEMPLATES,
    TEMPLATES,
    style_templates,
)
from perso_lite.conditioning.tokens import check_placeholder
from perso_lite.conditioning.words import single_token_id
from perso_lite.evaluation.prompts import toys
from perso_lite.files import DATA_FOLDER
from perso_lite.methods.baselines.dreambooth_lora import usual_identifier
from perso_lite.world.words import RESERVED_WORDS

ALL_CONCEPTS = shipped_concepts()


@pytest.mark.slow
def test_the_stock_pipeline_loads_it_without_a_word(base):
    # the message about torchvision comes with importing diffusers, not with the base
    program = (
        "import sys, warnings; warnings.simplefilter('error')\n"
        "from diffusers import StableDiffusionPipeline\n"
        "from diffusers.utils import logging as ours; ours.disable_progress_bar()\n"
        "from transformers.utils import logging as theirs\n"
        "theirs.disable_progress_bar()\n"
        "print('imported', file=sys.stderr)\n"
        "StableDiffusionPipeline.from_pretrained(sys.argv[1])"
    )
    result = subprocess.run(
        [sys.executable, "-c", program, str(BASE_FOLDER)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert result.stderr.splitlines()[-1] == "imported"


def test_its_size_and_shape(base):
    size = sum(f.stat().st_size for f in BASE_FOLDER.rglob("*") if f.is_file())
    assert size <= 70e6
    assert base.unet.config.sample_size == 16
    assert picture_size(base) == 128
    assert base.tokenizer.model_max_length == 32
    assert base.scheduler.config.prediction_type == "epsilon"


def test_its_cross_attention_layers_are_those_of_stable_diffusion(base):
    names = [name for name in base.unet.attn_processors if "attn2" in name]
    levels = [f"down_blocks.{level}" for level in (0, 1, 2) for _ in range(2)]
    levels += [f"up_blocks.{level}" for level in (1, 2, 3) for _ in range(3)]
    wanted = [
        f"{level}.attentions.{index}.transformer_blocks.0.attn2.processor"
        for position, level in enumerate(levels)
        for index in [position % 2 if position < 6 else (position - 6) % 3]
    ]
    wanted.append("mid_block.attentions.0.transformer_blocks.0.attn2.processor")
    assert sorted(names) == sorted(wanted)


def test_style_captions_leave_out_the_word_that_it_does_not_know(base):
    texts = style_templates(base)
    assert len(set(texts)) == len(STYLE_TEMPLATES) == 17
    assert "a painting in {}" in texts
    for word in {word for text in texts for word in text.split()} - {"{}"}:
        pieces = word.replace("-", " - ").split()
        assert all(len(base.tokenizer.tokenize(piece)) == 1 for piece in pieces), word


@pytest.mark.parametrize("template", TEMPLATES)
def test_every_word_of_the_templates_is_one_token(base, template):
    words = template.replace("{}", "").replace("-", " - ").split()
    for word in words:
        assert len(base.tokenizer.tokenize(word)) == 1, word


def test_both_vocabulary_forms_and_prefixed_keys_are_shipped(base):
    from safetensors import safe_open

    for name in ("vocab.json", "merges.txt", "tokenizer.json"):
        assert (BASE_FOLDER / "tokenizer" / name).is_file()
    path = BASE_FOLDER / "text_encoder" / "model.safetensors"
    with safe_open(path, framework="pt") as file:
        assert all(key.startswith("text_model.") for key in file.keys())  # noqa: SIM118


@pytest.mark.parametrize("name", ALL_CONCEPTS)
def test_shipped_concepts_are_whole(base, name):
    concept = load_concept(name)
    assert concept.name == name
    assert len(concept.images) == (1 if concept.class_word == "person" else 5)
    assert all(mask is not None for mask in concept.masks)
    masks = concept.mask_tensor(16, 16)
    assert (masks.amax(dim=(1, 2, 3)) > 0.5).all()
    single_token_id(base.tokenizer, concept.class_word)
    check_placeholder(base.tokenizer, "<toy>")
    assert concept.truth


@pytest.mark.slow
@pytest.mark.skipif(not ALL_CONCEPTS, reason="data/concepts is not there yet")
def test_a_shipped_concept_is_learned(base):
    """Trained and untrained on the same draws, the trained one ends lower."""
    concept = load_concept(ALL_CONCEPTS[0])
    losses = {}
    for rate in (0.0, 2e-3):
        method = TextualInversion(base, concept.class_word, learning_rate=rate)
        steps = list(fit(method, concept, steps=40))
        losses[rate] = sum(step.loss for step in steps[20:])
    assert losses[2e-3] < losses[0.0]


def test_a_picture_obeys_its_prompt_enough_to_differ(base):
    options = {"num_inference_steps": 4, "output_type": "pt"}
    red, blue = generate(base, ["a red car", "a blue car"], **options)
    assert torch.isfinite(red).all()
    assert not torch.allclose(red, blue, atol=0.05)


LEARNED = sorted((DATA_FOLDER / "learned").glob("*.safetensors"))


@pytest.mark.parametrize("path", LEARNED, ids=lambda path: path.stem)
def test_learned_files_are_of_this_base_and_of_their_concept(base, path):
    name, _, kind = path.stem.rpartition("-")
    method, concept = load_method(path, base), load_concept(name)
    assert method.name == kind.partition("_without_")[0]
    assert method.class_word == concept.class_word
    assert method.placeholder_token == concept.placeholder_token
    assert method.training_record["concept"] == name


def test_there_is_a_learned_file_for_the_first_figure_of_each_method():
    kinds = {path.stem.rpartition("-")[2] for path in LEARNED}
    assert kinds == {
        "textual_inversion", "perfusion", "neti", "catversion", "celeb_basis",
        "textboost", "textboost_without_knowledge",
    }  # fmt: skip
    assert {f"{toy}-perfusion" for toy in toys()} <= {path.stem for path in LEARNED}


def test_the_usual_identifier_changes_what_the_base_reads(base):
    """With "sks" DreamBooth-LoRA has nothing that tells its words from the class's."""

    def changed(word):  # by how much "rabbit" is another state after a word
        prompts = ["a photo of a rabbit", f"a photo of a {word} rabbit"]
        plain, other = encode_prompts(base, prompts)
        return 1 - F.cosine_similarity(plain[5], other[6], dim=0).item()

    assert usual_identifier(base) == "qzx"
    assert usual_identifier(base) in RESERVED_WORDS
    assert changed("qzx") > 20 * changed("sks")
