"""Transformations of a picture, and what captions say of them."""

import random
import re

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_pipeline import tiny_vocabulary

from perso_lite import PersoError, TextBoost, attached, encode_prompts
from perso_lite.method import View
from perso_lite.methods.textboost import transformations as transform
from perso_lite.methods.textboost.augmentation import (
    BEFORE,
    BEHIND,
    BEHIND_COMMA,
    WORDS,
    Augmentation,
)

SIZES = [(64, 64), (160, 120), (120, 160)]


def photo(size=(64, 64), seed=0):
    """Noise, so that no two places are alike."""
    random = np.random.default_rng(seed)
    return Image.fromarray(random.integers(0, 255, (*size[::-1], 3), dtype=np.uint8))


def values(image):
    return np.asarray(image).astype(int)


def make(base, kind="tokens", placeholder_token="<toy>", **options):
    options = {"probability": 0.8, "count": 64, "seed": 0, **options}
    return Augmentation(base, placeholder_token, kind, **options)


# -- transformations -------------------------------------------------------------------

SINGLE = {
    "zoom-in": lambda image: transform.scaled(image, 1.3),
    "zoom-out": lambda image: transform.scaled(image, 0.5),
    None: lambda image: transform.scaled(image, 0.8),
    "vflip": transform.flipped,
    "crop": lambda image: transform.cropped(image, 0.3, 0.2, 0.9),
    "left": lambda image: transform.shifted(image, -16),
    "right": lambda image: transform.shifted(image, 16),
    "grayscale": transform.gray,
    "bright": lambda image: transform.brightened(image, 1.4),
    "dimmed": lambda image: transform.brightened(image, 0.5),
    "cutout": lambda image: transform.cut_out(image, 0.25, 0.5, 0.5),
    "grid": lambda image: transform.tiled(image, 4),
}


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("name", SINGLE, ids=str)
def test_sizes_are_kept_and_the_name_says_what_was_done(name, size):
    image = photo(size)
    before = values(image)
    changed, said = SINGLE[name](image)
    assert said == name and changed.size == size and changed.mode == "RGB"
    assert (values(changed) != before).any() and (values(image) == before).all()


def test_factors_near_1_have_no_name():
    names = {factor: transform.scaled(photo(), factor)[1] for factor in
             (0.34, 0.59, 0.6, 1.0, 1.2, 1.21, 1.4)}  # fmt: skip
    assert [*names.values()] == ["zoom-out"] * 2 + [None] * 3 + ["zoom-in"] * 2


def test_flipping_twice_changes_nothing_and_gray_has_no_color():
    image = photo()
    twice, _ = transform.flipped(transform.flipped(image)[0])
    assert (values(twice) == values(image)).all()
    gray = values(transform.gray(image)[0])
    assert (gray == gray[..., :1]).all()


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_scaling_keeps_the_middle_and_continues_the_edge(size):
    image = Image.new("RGB", size, "white")
    width, height = size
    middle = (width // 4, height // 4, width - width // 4, height - height // 4)
    image.paste((0, 0, 0), middle)
    small, _ = transform.scaled(image, 0.5)
    dark = values(small)[..., 0] < 128
    rows, columns = np.nonzero(dark)
    assert abs(np.ptp(columns) + 1 - width / 4) <= 2
    assert abs(np.ptp(rows) + 1 - height / 4) <= 2
    assert abs(columns.mean() - (width - 1) / 2) <= 1
    assert (values(small)[0] == 255).all()
    large, _ = transform.scaled(image, 1.3)
    assert abs((values(large)[..., 0] < 128).mean() - 0.25 * 1.3**2) < 0.05


def test_shifting_moves_the_picture_and_repeats_its_edge():
    image = photo()
    left, right = (values(transform.shifted(image, n)[0]) for n in (-16, 16))
    assert (left[:, :-16] == values(image)[:, 16:]).all()
    assert (left[:, -16:] == values(image)[:, -1:]).all()
    assert (right[:, 16:] == values(image)[:, :-16]).all()
    assert (right[:, :16] == values(image)[:, :1]).all()


def test_a_hole_is_square_and_black_and_tiles_are_alike():
    white = Image.new("RGB", (160, 120), "white")
    rows, columns = np.nonzero(
        values(transform.cut_out(white, 0.25, 1, 0)[0])[..., 0] == 0
    )
    assert (np.ptp(rows), np.ptp(columns), len(rows)) == (29, 29, 900)
    assert rows.min() == 0 and columns.max() == 159
    tiles = values(transform.tiled(photo(), 2)[0])
    assert (tiles[:32, :32] == tiles[32:, 32:]).all()
    assert (tiles[:32, :32] == tiles[:32, 32:]).all()


def test_groups_are_drawn_as_often_as_they_should_be():
    image, rng, count = photo((8, 8)), random.Random(0), 4000
    found = [transform.transformed(image, 0.8, rng)[1] for _ in range(count)]
    often = {
        name: sum(name in names for names in found) / count
        for name in {name for names in found for name in names}
    }
    of_scale = 0.8 / 4 / (1.4 - 0.34)
    wanted = dict.fromkeys(("vflip", "crop"), 0.2)
    wanted |= {"left": 0.1, "right": 0.1, "grayscale": 0.4, "bright": 0.2}
    wanted |= {"dimmed": 0.2, "cutout": 0.4, "grid": 0.4}
    wanted |= {"zoom-in": of_scale * 0.2, "zoom-out": of_scale * 0.26}
    assert often == pytest.approx(wanted, abs=0.025)
    assert {*often} == {*WORDS}
    unchanged = 0
    for seed in range(count):
        changed, _ = transform.transformed(image, 0.8, random.Random(seed))
        unchanged += changed is image
    assert unchanged / count == pytest.approx(0.2**3, abs=0.004)


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_whatever_is_drawn_keeps_the_size(size):
    rng = random.Random(0)
    for _ in range(60):
        assert transform.transformed(photo(size), 1.0, rng)[0].size == size


# -- words and tokens ------------------------------------------------------------------


def test_tokens_start_as_their_words_each_as_its_own(base):
    """In the released code, both of "far away" started as "away"."""
    method = TextBoost(base, "teddy")
    table = base.text_encoder.get_input_embeddings().weight
    own, vocabulary = method.own_vectors(), base.tokenizer.get_vocab()
    for token, words in (
        ("<toy>", "teddy"), ("<toy-zoom-out>", "far away"),
        ("<toy-left>", "on the left"), ("<toy-zoom-in>", "zoomed in"),
        ("<toy-grayscale>", "gray"),
    ):  # fmt: skip
        rows = [vocabulary[f"{word}</w>"] for word in words.split()]
        assert torch.equal(own[token], table[rows])
    assert len(own) == 12 and len(method.vectors) == sum(map(len, own.values()))


def test_there_are_18_vectors_in_words_that_clip_knows(tiny, monkeypatch):
    class Knowing:
        unk_token = "?"

        def tokenize(self, text):
            return [text]

    parts = {"text_encoder": tiny.text_encoder, "unet": tiny.unet}
    own = type("Base", (), parts | {"tokenizer": Knowing()})()
    words = Augmentation(own, "<toy>", "tokens", 0.8, 1, 0).words
    assert sum(len(text.split()) for text in words.values()) == 18
    assert words == {name: texts[0] for name, texts in WORDS.items()}


@pytest.mark.parametrize("name", WORDS)
def test_a_token_is_one_id_a_vector_also_next_to_words_and_commas(tiny, name):
    method = TextBoost(tiny, "teddy")
    count = len(method.own_vectors()[method.augmentation_tokens[name]])
    with method.attach(tiny):
        first = tiny.tokenizer.convert_tokens_to_ids(method.augmentation_tokens[name])
        for place in (BEFORE, BEHIND, BEHIND_COMMA):
            text = place.format("a <toy> in snow", method.augmentation_tokens[name])
            ids = tiny.tokenizer(text, add_special_tokens=False).input_ids
            assert [i for i in ids if i >= first][:count] == [
                *range(first, first + count)
            ]
            assert len(ids) == 5 + count + (place == BEHIND_COMMA)
            again = text.replace("> ", ">")  # as the released code writes some
            assert first in tiny.tokenizer(again, add_special_tokens=False).input_ids


def test_before_training_tokens_are_read_as_their_words(base):
    said = [("zoom-out", BEFORE), ("left", BEHIND), ("dimmed", BEHIND_COMMA)]
    in_tokens, in_words = TextBoost(base, "teddy"), make(base, "words")
    texts = [
        kind.caption("a photo of a <toy>", said)
        for kind in (in_tokens.transformations, in_words, make(base, "silent"))
    ]
    assert texts == [
        "<toy-zoom-out> a photo of a <toy> <toy-left>, <toy-dimmed>",
        "far away a photo of a <toy> on the left, dark",
        "a photo of a <toy>",
    ]
    with torch.no_grad(), attached(base, in_tokens):
        states = encode_prompts(base, texts)
    assert torch.equal(states[0], states[1]) and not torch.equal(states[1], states[2])


def test_prompts_without_tokens_have_none_of_their_ids(tiny):
    method = TextBoost(tiny, "teddy")
    with method.attach(tiny):
        vocabulary = tiny.tokenizer.get_added_vocab()
        ours = [i for token, i in vocabulary.items() if token.startswith("<toy-")]
        ids = tiny.tokenizer("a photo of a <toy> on a beach").input_ids
    assert len(ours) == len(method.vectors) - 1 and not {*ours} & {*ids}


def test_two_concepts_have_tokens_of_their_own(tiny):
    one, two = TextBoost(tiny, "teddy", "<one>"), TextBoost(tiny, "dog", "<two>")
    tokens = {*one.augmentation_tokens.values(), *two.augmentation_tokens.values()}
    assert len(tokens) == 2 * len(WORDS)
    with attached(tiny, one, two):
        assert tokens <= {*tiny.tokenizer.get_vocab()}
    with one.attach(tiny), pytest.raises(PersoError, match=r"<one-crop>.*already in"):
        TextBoost(tiny, "teddy", "<one-crop>").attach(tiny).__enter__()


# -- views -----------------------------------------------------------------------------


def test_views_say_in_every_caption_what_was_done(tiny):
    view = View(photo(), Image.new("L", (64, 64)), ["a <toy>", "a photo of a <toy>"])
    augmentation = make(tiny)
    views, again = augmentation.views(view), augmentation.views(view)
    assert len(views) == 64
    assert all((values(a.image) == values(b.image)).all() and a.captions == b.captions
               for a, b in zip(views, again, strict=True))  # fmt: skip
    for each in views:
        named = [re.findall(r"<toy-[a-z-]+>", text) for text in each.captions]
        assert named[0] == named[1] and len(each.captions) == 2
        unchanged = (values(each.image) == values(view.image)).all()
        assert not (unchanged and named[0])
    assert {*make(tiny).tokens.values()} == {
        token
        for each in views
        for token in re.findall(r"<toy-[a-z-]+>", each.captions[0])
    }


def test_kinds_change_the_captions_alone(tiny):
    view = View(photo(), None, ["a <toy>"])
    tokens, words, silent = (
        make(tiny, k).views(view) for k in ("tokens", "words", "silent")
    )
    for one, two, three in zip(tokens, words, silent, strict=True):
        assert (values(one.image) == values(two.image)).all()
        assert (values(one.image) == values(three.image)).all()
        assert three.captions == ["a <toy>"]
        assert (one.captions == two.captions) == (one.captions == three.captions)
    assert make(tiny, "none").views(view) == [view]
    for kind in ("words", "silent", "none"):
        method = TextBoost(tiny, "teddy", augmentation=kind)
        assert method.augmentation_tokens == {} and len(method.vectors) == 1
        assert method.tokens.tokens == ["<toy>", "<toy>_1"]


def test_the_tiny_vocabulary_lacks_some_words():
    """So the tests above see words that fall into pieces, too."""
    vocabulary, _ = tiny_vocabulary()
    assert "dark</w>" in vocabulary and "gray</w>" not in vocabulary
