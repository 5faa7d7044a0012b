"""What judges should say: of a scene, and of what a prompt asks for."""

import random
from dataclasses import replace

from perso_lite.evaluation.ground_truth import (
    requested_by_prompt,
    truth_of,
    truth_of_prompt,
)
from perso_lite.evaluation.judges import ATTRIBUTES, UNKNOWN
from perso_lite.world.captions import caption
from perso_lite.world.scenes import Scene, sample_scene, sample_thing


def named(labels: list[int]) -> dict[str, str | None]:
    """Labels by attribute, in words."""
    return {
        name: None if label == UNKNOWN else words[label]
        for (name, words), label in zip(ATTRIBUTES.items(), labels, strict=True)
    }


def test_truth_of_a_prompt_is_truth_of_its_scene():
    for index in range(400):
        rng = random.Random(index)
        scene = sample_scene(rng)
        if any(thing.family for thing in scene.things):
            continue
        assert truth_of_prompt(caption(scene, rng)) == truth_of(scene)


def test_colours_are_unknown_where_pictures_do_not_keep_them():
    thing = replace(sample_thing(random.Random(0)), color="red")
    scene = Scene((thing, thing), relation="and")
    assert named(truth_of(scene))["color"] == "red"
    assert named(truth_of(scene))["second color"] == "red"
    for change in (
        {"style": "sketch"},
        {"style": "neon"},
        {"augmentation": "grayscale"},
    ):
        truth = named(truth_of(replace(scene, **change)))
        assert truth["color"] is truth["second color"] is None
    kept = named(truth_of(replace(scene, style="watercolor")))
    assert kept["color"] == "red"


def test_truth_of_two_and_three_things():
    rng = random.Random(0)
    cat, mug = (
        replace(sample_thing(rng, simple=True), class_word=word, color=color)
        for word, color in (("cat", "red"), ("mug", None))
    )
    pair = named(truth_of(Scene((cat, mug), place="moon", relation="on")))
    assert (pair["class"], pair["second class"]) == ("cat", "mug")
    assert (pair["color"], pair["second color"]) == ("red", None)
    assert (pair["pattern"], pair["accessory"]) == ("plain", None)
    striped = replace(mug, pattern="striped")
    assert named(truth_of(Scene((cat, striped), relation="and")))["pattern"] is None
    three = named(truth_of(Scene((cat, mug, cat), style="pixel", relation="and")))
    assert {name for name, said in three.items() if said} == {
        "place", "style", "augmentation",
    }  # fmt: skip


def test_truth_of_a_prompt_leaves_a_placeholder_its_own_looks():
    asked = named(truth_of_prompt("a photo of a <toy>", "<toy>", "teddy"))
    assert asked["class"] == "teddy"
    assert asked["place"] == "studio"
    assert asked["accessory"] == asked["style"] == asked["second class"] == "none"
    assert asked["pattern"] is asked["color"] is None
    asked = named(truth_of_prompt("a blue spotted <toy>", "<toy>", "teddy"))
    assert (asked["color"], asked["pattern"]) == ("blue", "spotted")
    assert named(truth_of_prompt("a photo of a teddy"))["pattern"] == "plain"
    assert named(truth_of_prompt("a photo of a pet"))["class"] is None


def test_a_prompt_asks_for_what_it_mentions_beside_the_subject():
    def asked(prompt: str) -> dict[str, str]:
        found = named(requested_by_prompt(prompt, "<toy>", "teddy"))
        return {name: said for name, said in found.items() if said}

    assert asked("a photo of a <toy>") == {}
    assert asked("a photo of a teddy") == {}
    assert asked("a sketch of a red <toy> with a hat on the moon") == {
        "accessory": "hat", "place": "moon", "style": "sketch",
    }  # fmt: skip
    assert asked("a <toy> next to a blue mug") == {
        "second class": "mug", "second color": "blue",
    }  # fmt: skip
    assert asked("a blue mug next to a <toy>") == {"class": "mug", "color": "blue"}
    assert asked("a striped <toy>, upside down") == {
        "pattern": "striped", "augmentation": "upside down",
    }  # fmt: skip
