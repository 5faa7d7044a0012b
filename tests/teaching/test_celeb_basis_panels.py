"""The panel of Celeb Basis: points in the space of names, people unchanged."""

import dataclasses

import numpy as np
import pytest
import torch
from before_and_after import changes, snapshot_of
from panel_helpers import pictures_after
from PIL import Image

from perso_lite import CelebBasis, PersoError, generate
from perso_lite.conditioning.words import vectors_of
from perso_lite.figures.celeb_people import person_figure
from perso_lite.method import state_of
from perso_lite.teaching import panels
from perso_lite.teaching.method_panels import celeb_basis
from perso_lite.teaching.method_panels.celeb_basis import MEAN, MIX, person_explorer

PROMPT = "a photo of {} on a beach"
QUICK = {
    "num_inference_steps": 1, "guidance_scale": 2.0, "class_word": "teddy",
    "prompt": PROMPT,
}  # fmt: skip


@pytest.fixture
def toy(tiny, name_basis):
    return CelebBasis(tiny, "teddy", num_components=5, basis=name_basis, seed=3)


@pytest.fixture
def panel(tiny, toy, name_basis):
    return person_explorer(tiny, toy, basis=name_basis, **QUICK)


@pytest.fixture
def points(monkeypatch):
    """The coefficients, in deviations, and other arguments of all figures drawn."""
    seen = []

    def person_figure(picture, deviations, moved, nearest, distance):
        seen.append((np.asarray(picture), deviations, moved, nearest, distance))
        return picture

    monkeypatch.setattr(celeb_basis, "person_figure", person_figure)
    return seen


def picture_of(tiny, word):
    (picture,) = generate(tiny, PROMPT.replace("{}", word), (0,), 1, 2.0)
    return np.asarray(picture)


def test_it_starts_at_a_learned_person_who_stays_as_is(tiny, toy, name_basis, points):
    before, state = snapshot_of(tiny), state_of(toy)
    panel = person_explorer(tiny, toy, basis=name_basis, **QUICK)
    panel.controls["radius"].value = 2.0
    panel.controls["first_1"].value = 1.0
    assert changes(tiny, before) == [] and state_of(toy) == state
    picture, deviations, moved, _, distance = points[0]
    with toy.attach(tiny):
        assert np.array_equal(picture, picture_of(tiny, "<toy>"))
    own = toy.coefficients() / name_basis.deviations[:, :5]
    assert torch.allclose(deviations[:, :5], own, atol=1e-4)
    assert not deviations[:, 5:].any() and not moved.any()
    assert points[1][4] == pytest.approx(2.0, abs=1e-4) and distance != 2.0


def test_a_slider_moves_its_coefficient_and_no_other(panel, points):
    panel.controls["start"].value = MEAN
    panel.controls["last_2"].value = -2.0
    _, deviations, moved, _, _ = points[-1]
    expected = torch.zeros_like(deviations)
    expected[1, 1] = -2.0
    assert torch.allclose(deviations, expected, atol=1e-4)
    assert torch.equal(moved, expected != 0)


def test_the_ends_of_a_mix_are_the_pictures_of_the_names(tiny, name_basis, points):
    names = list(name_basis.names[3:5])
    panel = person_explorer(tiny, basis=name_basis, names=names, **QUICK)
    panel.controls["start"].value = MIX
    halfway = points[-1]
    for mix, name in zip((0.0, 1.0), names, strict=True):
        panel.controls["mix"].value = mix
        picture, _, _, (nearest, cosine), _ = points[-1]
        assert nearest == name and cosine == pytest.approx(1, abs=1e-4)
        assert np.abs(picture - picture_of(tiny, name).astype(float)).max() <= 1
    ends = [name_basis.encode(vectors_of(tiny, name)) for name in names]
    middle = sum(ends) / 2 / name_basis.deviations
    assert torch.allclose(halfway[1], middle, atol=1e-3)


def test_radius_0_is_the_mean_person_from_everywhere(tiny, panel, points, name_basis):
    panel.controls["radius"].value = 0.0
    mean = CelebBasis(tiny, "teddy", "<mean>", radius=0, basis=name_basis)
    with mean.attach(tiny):
        assert np.array_equal(points[-1][0], picture_of(tiny, "<mean>"))
    assert points[-1][4] == 0


def test_every_control_changes_the_picture(panel, name_basis):
    changed = {
        "start": MIX, "one": name_basis.names[5], "other": name_basis.names[7],
        "mix": 0.25, "first_1": 3.0, "last_1": 3.0, "radius": 3.0, "seed": 2,
        "prompt": "a photo of {} in snow",
    }  # fmt: skip
    assert len(set(pictures_after(panel, changed))) == len(changed) + 1
    panel.controls["prompt"].value = "a beach"
    assert isinstance(panel.error, PersoError) and "no {}" in str(panel.error)


def test_the_title_names_the_nearest_name_and_the_distance():
    deviations = torch.tensor([[1.0, -2.5, 0.5], [0.0, 1.0, 3.0]])
    figure = person_figure(
        Image.new("RGB", (8, 8)), deviations, deviations == 1, ("bo ba", 0.512), 1.26
    )
    assert figure.get_suptitle() == (
        "1.3 times as far from the mean as half of the names; nearest: bo ba (0.51)"
    )


def test_bad_input_is_refused_in_a_sentence(tiny, toy, name_basis):
    others = dataclasses.replace(name_basis, vectors=name_basis.vectors.flip(1))
    stranger = dataclasses.replace(name_basis, text_fingerprint="0" * 16)
    for people, options, why in (
        ((), {"basis": stranger}, "text encoder"),
        ((toy,), {"basis": others}, "another basis"),
        ((toy, toy), {"basis": name_basis}, "same placeholder"),
        ((), {"basis": name_basis, "components": 10**4}, "num_components"),
        ((), {"basis": name_basis, "names": ["teddy"]}, "Two names"),
        ((), {"basis": name_basis, "names": ["a b c", "dog"]}, "two words"),
        ((), {"basis": name_basis, "prompt": "a beach"}, "no {}"),
    ):
        with pytest.raises(PersoError, match=why):
            person_explorer(tiny, *people, **QUICK | options)


def test_it_is_among_the_panels():
    assert "person_explorer" in panels.__all__
    assert panels.person_explorer is person_explorer
