"""The oracle: prompts become scenes that say the same, and concepts stay themselves."""

import random
from dataclasses import replace

import pytest
import torch

from perso_lite.concepts import load_concept
from perso_lite.errors import PersoError
from perso_lite.world.captions import caption, parse
from perso_lite.world.oracle import scene_for, true_pictures
from perso_lite.world.people import people_names, people_thetas
from perso_lite.world.render import render
from perso_lite.world.scenes import Scene, sample_instance, sample_scene
from perso_lite.world.shipped_concepts import person_concept, toy_concept
from perso_lite.world.toys import FAMILY_OF

TOY = toy_concept("dotty-teddy")


def painted(prompt: str, thing=TOY, token="<toy>", class_word=None) -> Scene:
    return scene_for(prompt, random.Random(0), thing, token, class_word)


def test_a_scene_says_what_its_prompt_says():
    for index in range(400):
        rng = random.Random(index)
        prompt = caption(sample_scene(rng), rng)
        again = caption(scene_for(prompt, rng), rng)
        assert parse(again) == parse(prompt), (prompt, again)


def test_what_a_prompt_leaves_open_is_drawn_at_random():
    scenes = [scene_for("an animal", random.Random(i)) for i in range(60)]
    classes = {scene.things[0].class_word for scene in scenes}
    assert len(classes) == sum(f == "animal" for f in FAMILY_OF.values())
    assert len({scene.things[0].instance for scene in scenes}) == 60
    assert len({scene.mood for scene in scenes}) == 60
    assert len({scene.framing for scene in scenes}) == 60
    assert all(s.place is s.style is s.things[0].accessory is None for s in scenes)


def test_named_people_have_their_face_and_strangers_any():
    name = people_names()[7]
    (thing,) = scene_for(f"a photo of smiling {name}", random.Random(0)).things
    assert thing.theta == tuple(people_thetas()[7].tolist())
    assert thing.expression == "smiling"
    a, b = (scene_for("a photo of a person", random.Random(i)) for i in (0, 1))
    assert a.things[0].theta != b.things[0].theta


def test_a_concept_is_painted_as_itself():
    scene = painted("a photo of a <toy> wearing a hat in the snow")
    assert scene.things == (replace(TOY, accessory="hat"),)
    assert scene.place == "snow"
    said = painted("a photo of a red striped <toy>").things[0]
    assert said == replace(TOY, color="red", pattern="striped")
    someone = person_concept("person-a")
    (thing,) = painted("a photo of sleeping <toy>", someone).things
    assert thing == replace(someone, expression="sleeping")


@pytest.mark.parametrize(
    ("prompt", "which"),
    [
        ("a <toy> next to a teddy", 0),
        ("a teddy next to a <toy>", 1),
        ("a photo of a blue teddy sitting on a <toy> in the snow", 1),
        ("a teddy next to a <toy> teddy on the moon", 1),
        ("a teddy wearing a hat and a <toy>", 1),
        ("a teddy, a <toy> and a teddy", 1),
    ],
)
def test_the_placeholder_is_the_right_one_of_two(prompt, which):
    things = painted(prompt).things
    assert [thing.instance == TOY.instance for thing in things] == [
        i == which for i in range(len(things))
    ]


def test_a_family_word_or_a_synonym_may_stand_for_the_concept():
    assert painted("a <toy> and a mug", class_word="bear").things[0] == TOY
    (thing,) = painted("a photo of a <toy>", class_word="animal").things
    assert thing == replace(TOY, family=True)


def test_pictures_of_a_concept_are_those_of_its_scene():
    concept = load_concept("dotty-teddy")
    prompt = "a photo of a <dotty-teddy> in a forest"
    pictures, masks = true_pictures(prompt, 3, seed=5, concept=concept)
    assert pictures.shape == (3, 3, 128, 128)
    assert masks.shape == (3, 1, 128, 128)
    assert 0 <= pictures.min() < pictures.max() <= 1
    again, _ = true_pictures(prompt, 3, seed=5, concept=concept)
    assert torch.equal(pictures, again)
    assert not torch.equal(pictures[0], pictures[1])
    other, _ = true_pictures(prompt, 3, seed=6, concept=concept)
    assert not torch.equal(pictures, other)
    # its own mark and pattern: nearer to its own colours than sisters' are
    main = torch.tensor(TOY.instance.main)[:, None, None]
    sisters, theirs = true_pictures("a photo of a teddy in a forest", 3, seed=5)
    near, far = (
        ((p - main).abs().mean(1, keepdim=True) * m).sum() / m.sum()
        for p, m in ((pictures, masks), (sisters, theirs))
    )
    assert near < far


def test_the_mask_is_that_of_the_placeholder():
    concept = load_concept("dotty-teddy")
    columns = torch.arange(128.0)

    def middle(prompt: str) -> float:
        _, masks = true_pictures(prompt, 4, concept=concept, placeholder_token="<toy>")
        return ((masks.sum((0, 1, 2)) * columns).sum() / masks.sum()).item()

    assert middle("a <toy> next to a teddy") < 56
    assert middle("a teddy next to a <toy>") > 72
    first, masks = true_pictures("a mug next to a teddy", 1, seed=2)
    assert first.shape[0] == 1
    assert (masks.sum((0, 1, 2)) * columns).sum() / masks.sum() < 56


@pytest.mark.parametrize(
    ("prompt", "reason"),
    [
        ("a photo of a zebra", '"zebra"'),
        ("a photo of", "with a class"),
        ("a photo of a teddy", "which of its things"),
        ("a photo of a <other>", '"<other>"'),
        ("a cat, a cat, a cat and a <toy>", "one to three things"),
    ],
)
def test_prompts_that_cannot_be_painted_are_refused(prompt, reason):
    with pytest.raises(PersoError, match=reason):
        painted(prompt)


def test_a_concept_without_truth_is_refused(concept):
    with pytest.raises(PersoError, match="Only shipped concepts"):
        true_pictures("a photo of a <toy>", 1, concept=concept)


def test_a_true_mask_covers_what_changes_with_the_thing():
    """Another toy in the same scene changes the picture mostly under the masks."""
    scene = painted("a photo of a <toy> in the snow")
    sister = replace(TOY, instance=sample_instance(random.Random(3)), pattern=None)
    pictures, masks = render([scene, replace(scene, things=(sister,))])
    changed = (pictures[0] - pictures[1]).abs().mean(0)
    covered = masks[:, 0].amax(0)
    assert (changed * covered).sum() > 0.9 * changed.sum()
