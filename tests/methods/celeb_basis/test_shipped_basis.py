"""The basis that is shipped for our base: what it knows of its people."""

import pytest
import torch

from perso_lite import encode_prompts
from perso_lite.conditioning.words import vectors_of
from perso_lite.evaluation.linear_probe import held_out_r2
from perso_lite.methods.celeb_basis.basis import SLOTS, basis_of
from perso_lite.methods.celeb_basis.celeb_basis import CelebBasis
from perso_lite.methods.celeb_basis.names import readable_names
from perso_lite.world.people import THETA, people_names, people_thetas


@pytest.fixture(scope="module")
def shipped(base):
    return basis_of(base)


def test_it_is_of_named_people_who_are_two_tokens_each(base, shipped):
    kept, rejected = readable_names(base, people_names())
    assert kept == list(people_names()) and not rejected
    assert {*shipped.names} | {*shipped.rejected} == {*people_names()}
    assert not {*shipped.names} & {*shipped.rejected}
    assert len(shipped.names) >= 350
    # words are reused, so more names than words; and the table is 192 wide
    words = [{name.split()[k] for name in shipped.names} for k in range(SLOTS)]
    assert all(len(each) < len(shipped.names) for each in words)
    assert shipped.ranks == (192, 192) and shipped.num_components == 192


def test_a_person_is_256_numbers(base, shipped):
    person = CelebBasis(base, "person", "<somebody>")
    assert person.num_components == 128
    assert sum(t.numel() for t in person.state_dict().values()) == 256


def test_a_named_person_is_that_name_in_all_directions(base, shipped):
    name = shipped.names[0]
    person = CelebBasis(
        base, "person", "<somebody>", 192, initializer_name=name, training_radius=None
    )
    with person.attach(base):
        own = encode_prompts(base, ["a photo of <somebody> in the snow"])
    named = encode_prompts(base, [f"a photo of {name} in the snow"])
    assert torch.allclose(own, named, atol=1e-4)


def test_coefficients_tell_what_is_large_in_a_face(base, shipped):
    pairs = torch.stack([vectors_of(base, name) for name in shipped.names])
    coefficients = shipped.first(128).encode(pairs).flatten(1)
    known = [people_names().index(name) for name in shipped.names]
    found = held_out_r2(coefficients, people_thetas()[known])
    r2 = dict(zip(THETA, found.tolist(), strict=True))
    for large in ("skin", "hair_hue", "hair_length", "face_width", "shirt_hue"):
        assert r2[large] > 0.5
    assert r2["nose_width"] < 0.2  # a nose is some pixels, and hardly linear
