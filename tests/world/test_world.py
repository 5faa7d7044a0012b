"""The toy world: exact shapes and masks, seeded pictures, captions that parse back."""

import json
import math
import random
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from perso_lite.files import DATA_FOLDER
from perso_lite.world.accessories import ACCESSORIES
from perso_lite.world.captions import altered, caption, parse, vocabulary, words_of
from perso_lite.world.people import THETA, people_names, people_thetas
from perso_lite.world.places import PLACES
from perso_lite.world.render import render
from perso_lite.world.scenes import (
    AUGMENTATIONS,
    COLORS,
    Scene,
    held_out,
    sample_instance,
    sample_scene,
    sample_thing,
)
from perso_lite.world.shapes import Drawing, paint, placed
from perso_lite.world.shipped_concepts import (
    PEOPLE_CONCEPTS,
    TOY_CONCEPTS,
    concept_scenes,
    thing_from_truth,
    write_concept,
)
from perso_lite.world.styles import STYLES
from perso_lite.world.toys import FAMILIES, TOYS
from perso_lite.world.words import RESERVED_WORDS


@pytest.fixture
def rng():
    return random.Random(7)


def thing(rng, **fields):
    plain = {"color": None, "pattern": None, "accessory": None, "family": False}
    return replace(sample_thing(rng), **{**plain, **fields})


def area(**shape):
    """The area of one white shape on nothing, in units of the coordinate system."""
    d = Drawing(1)
    d.add(0.1, -0.05, color=(1, 1, 1), shade=0, owner=1, **shape)
    _, masks = paint(d.shapes(), 256, owners=1)
    return masks.mean().item() * 4


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ({"a": 0.5}, math.pi * 0.25),
        ({"a": 0.6, "b": 0.3, "angle": 0.7}, math.pi * 0.18),
        ({"a": 0.6, "b": 0.3, "n": 1.0}, 2 * 0.18),
        ({"a": 0.5, "b": 0.4, "n": 24, "angle": 0.4}, 4 * 0.2),
        ({"a": 0.5, "bottom": 0}, math.pi * 0.125),
        ({"a": 0.5, "hollow": 0.1}, math.pi * (0.25 - 0.16)),
        ({"a": 0.4, "b": 0.4, "n": 24, "taper": 0.5}, 4 * 0.16),
    ],
)
def test_areas_of_shapes_are_what_geometry_says(shape, expected):
    assert area(**shape) == pytest.approx(expected, rel=0.03)


def test_later_shapes_hide_earlier_ones_in_picture_and_mask():
    d = Drawing(1)
    d.add(0, 0, 0.5, color=(1, 0, 0), shade=0, owner=1)
    d.add(0, 0, 0.5, color=(0, 0, 1), shade=0, owner=2)
    picture, masks = paint(d.shapes(), 64, owners=2)
    assert torch.equal(picture[0, :, 32, 32], torch.tensor([0.0, 0.0, 1.0]))
    assert masks[0, 0, 32, 32] == 0
    assert masks[0, 1, 32, 32] == 1


def test_placed_shapes_move_scale_and_mirror():
    d = Drawing(1)
    d.add(0.5, 0.0, 0.2, color=(0, 0, 0), owner=1)
    _, mask = paint(placed(d.shapes(), 0.1, 0.3, 0.5, -1.0), 128, owners=1)
    y, x = (mask[0, 0] > 0.5).nonzero().float().mean(0)
    assert (x + 0.5) / 64 - 1 == pytest.approx(0.1 - 0.25, abs=0.02)
    assert (y + 0.5) / 64 - 1 == pytest.approx(0.3, abs=0.02)
    assert mask.mean() * 4 == pytest.approx(math.pi * 0.01, rel=0.05)


def test_pictures_do_not_depend_on_their_batch(rng):
    scenes = [sample_scene(rng) for _ in range(24)]
    together, masks = render(scenes, 64)
    for i, scene in enumerate(scenes):
        alone, mask = render([scene], 64)
        assert torch.allclose(alone[0], together[i], atol=1e-5)
        assert torch.allclose(mask[0], masks[i], atol=1e-5)


def test_every_class_place_accessory_and_style_shows(rng):
    toy, place = thing(rng, class_word="cat"), (0.5,) * 8
    base = Scene((toy,), mood=place)
    variants = [base]
    variants += [replace(base, things=(replace(toy, class_word=c),)) for c in TOYS][2:]
    variants += [
        replace(base, things=(replace(toy, accessory=a),)) for a in ACCESSORIES
    ]
    variants += [replace(base, place=p) for p in PLACES]
    variants += [replace(base, style=s) for s in STYLES]
    variants += [replace(base, augmentation=a) for a in AUGMENTATIONS]
    pictures, _ = render(variants, 32)
    assert torch.isfinite(pictures).all()
    assert pictures.min() >= 0
    assert pictures.max() <= 1
    flat = pictures.flatten(1)
    distances = torch.cdist(flat, flat) + 9 * torch.eye(len(flat))
    assert distances.min() > 0.3


def test_same_seed_same_picture_and_other_resolution_same_scene():
    scenes = [sample_scene(random.Random("a")) for _ in range(2)]
    assert scenes[0] == scenes[1]
    plain = replace(scenes[0], style=None)
    small, _ = render([plain], 64)
    large, _ = render([plain], 256)
    shrunk = torch.nn.functional.avg_pool2d(large, 4)
    assert (small - shrunk).abs().mean() < 0.02


def test_mask_is_exactly_where_the_toy_changes_the_picture(rng):
    toy = thing(rng, class_word="mug")
    scene = Scene((toy,))
    other = replace(scene, things=(replace(toy, color="red"),))
    (a, b), masks = render([scene, other], 64)
    changed = (a - b).abs().sum(0) > 0.02
    assert changed.any()
    assert not (changed & (masks[0, 0] == 0)).any()


def test_asked_colours_replace_the_instance_colour(rng):
    toy = thing(rng, class_word="car")
    scenes = [Scene((replace(toy, color=c),)) for c in ("red", "blue")]
    (red, blue), masks = render(scenes, 64)
    inside = masks[0, 0] > 0.99
    assert (red[0] - red[2])[inside].mean() > (blue[0] - blue[2])[inside].mean() + 0.3


def test_left_and_right_are_as_said(rng):
    scene = Scene((thing(rng), thing(rng)), relation="next to")
    _, masks = render([scene], 64)
    columns = torch.arange(64.0)
    centres = [(m.sum(0) * columns).sum() / m.sum() for m in masks[0, :2]]
    assert centres[0] < centres[1]


def test_captions_parse_back_to_what_made_them(rng):
    for _ in range(3000):
        scene = sample_scene(rng)
        text = caption(scene, rng)
        assert parse(text) == words_of(scene), text


def test_altered_scenes_say_something_else(rng):
    for _ in range(500):
        scene = sample_scene(rng)
        assert words_of(altered(scene, rng)) != words_of(scene)


def test_held_out_combinations_never_occur_but_their_parts_do(rng):
    seen = set()
    for _ in range(8000):
        scene = sample_scene(rng)
        for t in scene.things:
            assert not held_out(t.class_word, scene.place, t.accessory)
            seen.add((t.class_word, scene.place))
    assert {(c, p) for c in TOYS for p in PLACES} <= seen
    triples = [(c, p, a) for c in TOYS for p in PLACES for a in ACCESSORIES]
    assert sum(held_out(*t) for t in triples) / len(triples) == pytest.approx(
        1 / 11, abs=0.02
    )


def test_the_world_is_as_large_as_promised():
    assert len(TOYS) >= 16
    assert sum(len(members) for members in FAMILIES.values()) == len(TOYS)
    assert (len(COLORS), len(PLACES)) == (11, 12)
    assert len(ACCESSORIES) >= 6
    assert len(STYLES) >= 4
    names = people_names()
    assert len(set(names)) == 400
    assert people_thetas().shape == (400, len(THETA))
    first = {name.split()[0] for name in names}
    last = {name.split()[1] for name in names}
    assert not first & last
    assert len(names) / len(first) == pytest.approx(646 / 409, abs=0.1)
    assert len(names) / len(last) == pytest.approx(646 / 542, abs=0.1)


def test_reserved_words_never_occur(rng):
    said = {w for _ in range(2000) for w in caption(sample_scene(rng), rng).split()}
    assert len(RESERVED_WORDS) == 16
    assert not said & set(RESERVED_WORDS)
    assert {word.strip(",") for word in said} - {"close-up"} <= set(vocabulary())


def test_two_people_differ_and_a_person_keeps_their_face(rng):
    faces = people_thetas()[:2]
    instance = sample_instance(rng)
    toy = thing(rng)
    person = replace(toy, class_word="person")
    things = [replace(person, theta=tuple(t.tolist())) for t in faces]
    things.append(replace(things[0], instance=instance))
    a, b, c = render([Scene((t,)) for t in things], 64)[0]
    assert (a - b).abs().mean() > 0.01
    assert torch.equal(a, c)


def test_shipped_concepts_are_what_the_world_paints(tmp_path):
    for name in (*TOY_CONCEPTS, *PEOPLE_CONCEPTS):
        shipped = json.loads(
            (DATA_FOLDER / "concepts" / name / "concept.json").read_text()
        )
        scenes = concept_scenes(name)
        assert thing_from_truth(shipped["truth"]) == scenes[0].things[0]
        assert len(shipped["pictures"]) == len(scenes)
    write_concept("dotty-teddy", tmp_path, 128)
    for file in ("0.png", "0_mask.png"):
        ours, theirs = tmp_path / file, DATA_FOLDER / "concepts" / "dotty-teddy" / file
        pixels = [np.asarray(Image.open(f).convert("L")) for f in (ours, theirs)]
        difference = np.abs(pixels[0].astype(int) - pixels[1])
        assert difference.max() <= 2
