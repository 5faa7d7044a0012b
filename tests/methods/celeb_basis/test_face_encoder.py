"""The face network: shapes, its file, and what it must not be."""

import pytest
import torch
from face_helpers import sees_one_face

from perso_lite import load_concept
from perso_lite.methods.celeb_basis.face_encoder import (
    FACE_ENCODER_FOLDER,
    FILE,
    FaceEncoder,
    feature_of,
    load_face_encoder,
    save_face_encoder,
)


@pytest.fixture(scope="module")
def shipped(base):
    encoder = load_face_encoder(base)
    if encoder is None:
        pytest.skip("data/face_encoder is not there yet")
    return encoder


def test_features_have_unit_length_and_pictures_any_size():
    encoder = sees_one_face()
    for side in (32, 64, 128):
        features = encoder.encode(torch.rand(3, 3, side, side) * 2 - 1)
        assert features.shape == (3, 64)
        assert torch.allclose(features.norm(dim=1), torch.ones(3))
    assert FaceEncoder.count(encoder, torch.zeros(2, 3, 64, 64)).shape == (2,)


def test_the_feature_of_a_person_is_the_mean_of_all_pictures(concept):
    encoder = sees_one_face()
    each = encoder.encode(concept.pixels(128))
    mean = each.mean(0)
    assert torch.allclose(feature_of(encoder, concept), mean / mean.norm(), atol=1e-6)


def test_it_is_read_for_the_base_whose_pictures_it_knows(tiny, own_tiny, tmp_path):
    encoder = FaceEncoder()
    save_face_encoder(encoder, tiny, tmp_path)
    found = load_face_encoder(tiny, tmp_path)
    for name, value in found.state_dict().items():
        assert torch.equal(value, encoder.state_dict()[name].half().float())
    assert not any(p.requires_grad for p in found.parameters())
    with torch.no_grad():
        own_tiny.text_encoder.get_input_embeddings().weight.neg_()
    assert load_face_encoder(own_tiny, tmp_path) is None
    assert load_face_encoder(tiny, tmp_path / "nowhere") is None


def test_the_shipped_one_is_small_and_sees_one_face_in_portraits(shipped, base):
    assert (FACE_ENCODER_FOLDER / FILE).stat().st_size < 2_000_000
    for name in ("person-a", "person-b", "person-c", "person-d"):
        pictures = load_concept(name).pixels(128)
        assert shipped.count(pictures).tolist() == [1]
    toy = load_concept("dotty-teddy").pixels(128)
    assert shipped.count(toy).tolist() == [0] * len(toy)
