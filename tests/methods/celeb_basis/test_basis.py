"""The basis of names: exact identities, mostly in double precision."""

import copy
import dataclasses
import random

import pytest
import torch
from tiny_pipeline import invented_names

from perso_lite import PersoError, build_basis
from perso_lite.base import text_fingerprint
from perso_lite.conditioning.words import vectors_of
from perso_lite.files.tensors import read_tensors, write_tensors
from perso_lite.methods.celeb_basis import basis as module
from perso_lite.methods.celeb_basis.basis import (
    NameBasis,
    basis_of,
    principal_directions,
    rank_of,
)
from perso_lite.methods.celeb_basis.names import readable_names, token_slots

COUNT, DIM, P = 40, 24, 16


@pytest.fixture(scope="module")
def rows():
    """Forty vectors of width 24, more spread along the first axes."""
    generator = torch.Generator().manual_seed(0)
    spread = torch.linspace(2, 0.1, DIM, dtype=torch.float64)
    return torch.randn(COUNT, DIM, generator=generator, dtype=torch.float64) * spread


@pytest.fixture(scope="module")
def double(rows):
    """A basis in double precision, the second slot of other rows."""
    found = [principal_directions(part, P) for part in (rows, rows.flip(1).exp())]
    parts = map(torch.stack, zip(*found, strict=True))
    return NameBasis(*parts, (DIM, DIM), "none")


def near(one, other, tolerance=1e-10):
    return torch.allclose(one, other, rtol=0, atol=tolerance)


# -- principal directions --------------------------------------------------------------


def test_mean_and_directions_are_those_of_the_covariance(rows):
    mean, directions, deviations, _ = principal_directions(rows, P)
    assert near(mean, rows.mean(0))
    assert near(directions @ directions.T, torch.eye(P, dtype=torch.float64))
    covariance = torch.cov(rows.T)
    values, vectors = torch.linalg.eigh(covariance)
    values, vectors = values.flip(0)[:P], vectors.flip(1).T[:P]
    assert near(deviations.square(), values)
    assert (deviations.diff() <= 0).all()
    assert near((directions * vectors).sum(1).abs(), torch.ones(P, dtype=torch.float64))


def test_signs_do_not_depend_on_the_order_of_the_rows(rows):
    shuffled = rows[torch.randperm(COUNT, generator=torch.Generator().manual_seed(1))]
    one, other = principal_directions(rows, P), principal_directions(shuffled, P)
    assert all(near(a, b) for a, b in zip(one, other, strict=True))
    largest = one[1].abs().argmax(1)
    assert (one[1][torch.arange(P), largest] > 0).all()


def test_the_rank_is_one_less_than_there_are_different_rows(rows):
    assert rank_of(rows) == DIM
    few = rows[[0, 1, 2, 3, 0, 0, 1, 2, 3, 3]]
    assert rank_of(few) == 3
    assert rank_of(rows[:1].repeat(5, 1)) == 0


def test_half_of_the_names_are_nearer_than_the_length(rows):
    mean, directions, _, lengths = principal_directions(rows, P)
    for p in (1, 7, P):
        own = ((rows - mean) @ directions[:p].T).norm(dim=1)
        assert (own <= lengths[p - 1] + 1e-12).sum() == COUNT // 2
    assert (lengths.diff() >= 0).all()


# -- coefficients ----------------------------------------------------------------------


def test_coefficients_and_vectors_are_exchanged_exactly(double):
    a = torch.randn(5, 2, P, dtype=torch.float64)
    b, t = torch.randn(5, 2, P, dtype=torch.float64), 0.3
    assert near(double.encode(double.decode(a)), a)
    assert near(double.decode(torch.zeros_like(a[0])), double.mean)
    moved = double.decode(a) - double.decode(b)
    assert near(moved.norm(dim=-1), (a - b).norm(dim=-1))
    mixed = t * double.decode(a) + (1 - t) * double.decode(b)
    assert near(double.decode(t * a + (1 - t) * b), mixed)


def test_the_error_of_a_name_is_what_is_left_out(double, rows):
    pairs = torch.stack([rows, rows.flip(1).exp()], 1)  # (names, 2, dim)
    errors = []
    for p in (1, 4, P):
        basis = double.first(p)
        again = basis.decode(basis.encode(pairs))
        errors.append((again - pairs).norm(dim=-1))
        inside = basis.encode(pairs).square().sum(-1)
        whole = (pairs - double.mean).square().sum(-1)
        assert near(errors[-1].square(), whole - inside, 1e-6)
    assert (errors[0] >= errors[1]).all() and (errors[1] >= errors[2]).all()


def test_fewer_directions_are_the_first_ones(double):
    fewer = double.first(5)
    assert fewer.num_components == 5
    assert torch.equal(fewer.vectors, double.vectors[:, :5])
    assert fewer.fingerprint != double.fingerprint
    with pytest.raises(PersoError, match="num_components is 17, but"):
        double.first(P + 1)


# -- names -----------------------------------------------------------------------------


def test_a_name_of_the_basis_comes_back_as_it_is(tiny, name_basis):
    words = len(name_basis.names)  # all different, in both slots
    assert name_basis.ranks == (words - 1, words - 1)
    for name in name_basis.names[:5]:
        vectors = vectors_of(tiny, name)
        again = name_basis.decode(name_basis.encode(vectors))
        assert torch.allclose(again, vectors, atol=1e-5)


def test_order_and_repetitions_of_names_do_not_matter(tiny, name_basis):
    names = invented_names() * 2
    random.Random(0).shuffle(names)
    again = build_basis(tiny, [f" {name} " for name in names])
    assert again.fingerprint == name_basis.fingerprint
    assert torch.equal(again.lengths, name_basis.lengths)


def test_the_second_words_do_not_change_the_first_slot(tiny, name_basis):
    pairs = [name.split() for name in invented_names()]
    seconds = [b for _, b in pairs]
    others = [f"{a} {b}" for (a, _), b in zip(pairs, seconds[::-1], strict=True)]
    again = build_basis(tiny, others)
    assert torch.equal(again.vectors[0], name_basis.vectors[0])
    few = build_basis(tiny, others[:12])
    assert not torch.equal(few.mean[1], name_basis.mean[1])


REUSED = ["cat hat", "cat snow", "cat beach", "dog snow", "hat beach", "teddy on"]


def test_more_directions_than_names_have_are_refused(tiny):
    assert build_basis(tiny, REUSED).ranks == (3, 3)  # four different words in each
    with pytest.raises(
        PersoError, match=r"num_components is 4, but .* 3 .* 3 .* most 3"
    ):
        build_basis(tiny, REUSED, 4)
    with pytest.warns(UserWarning, match="above the rank are of no name"):
        above = build_basis(tiny, REUSED, 5, as_released=True)
    gram = above.vectors @ above.vectors.mT
    assert torch.allclose(gram, torch.eye(5).expand(2, -1, -1), atol=1e-5)


def test_a_word_counts_once_or_as_often_as_names_have_it(tiny):
    cat, dog, hat, teddy = (vectors_of(tiny, w)[0] for w in "cat dog hat teddy".split())
    once = build_basis(tiny, REUSED).mean[0]
    often = build_basis(tiny, REUSED, 2, as_released=True)
    assert torch.allclose(once, (cat + dog + hat + teddy) / 4, atol=1e-6)
    assert torch.allclose(often.mean[0], (3 * cat + dog + hat + teddy) / 6, atol=1e-6)
    assert torch.equal(often.lengths, torch.ones(2, 2))


def test_names_that_are_not_two_tokens_are_refused_or_cut(tiny):
    for name in ("cat", "cat hat snow", "cat zqx", "zqx"):
        with pytest.raises(PersoError, match=f'The name "{name}" is'):
            build_basis(tiny, [*REUSED, name])
    kept, rejected = readable_names(tiny, [*REUSED, "cat", "cat zqx"])
    assert kept == REUSED
    assert rejected == {"cat": "1 words, 1 tokens", "cat zqx": "2 words, 4 tokens"}
    first, second = token_slots(tiny, ["cat", "cat hat snow", "dog hat"], True)
    assert len(first) == 3 and len(second) == 2 and second[0] == second[1]
    with pytest.raises(PersoError, match="2 names are too few"):
        build_basis(tiny, REUSED[:2])


def test_a_flat_basis_is_one_for_both_slots(tiny):
    flat = build_basis(tiny, invented_names(), flatten=True)
    assert torch.equal(flat.vectors[0], flat.vectors[1])
    assert torch.equal(flat.mean[0], flat.mean[1])


def test_sizes_of_stable_diffusion():
    """2 x 513 x 768, from which 1,024 numbers make a person."""
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(600, 768, generator=generator)
    found = [principal_directions(rows, 512)] * 2
    basis = NameBasis(*map(torch.stack, zip(*found, strict=True)), (599, 599), "none")
    stacked = torch.cat([basis.mean[:, None], basis.vectors], 1)
    assert stacked.shape == (2, 513, 768)
    assert torch.allclose(
        basis.vectors @ basis.vectors.mT, torch.eye(512).expand(2, -1, -1), atol=1e-5
    )
    assert basis.encode(torch.zeros(2, 768)).numel() == 1024


# -- files -----------------------------------------------------------------------------


def test_a_kept_basis_is_found_by_the_text_encoder(tiny, name_basis, tmp_path):
    kept = dataclasses.replace(name_basis, rejected={"cat": "no person is drawn"})
    path = kept.save(tmp_path)
    assert path.stem == text_fingerprint(tiny)
    found = basis_of(tiny, tmp_path)
    assert found.fingerprint == name_basis.fingerprint
    for name in module.TENSORS:
        assert torch.equal(getattr(found, name), getattr(kept, name))
    assert (found.names, found.ranks) == (kept.names, kept.ranks)
    assert found.rejected == kept.rejected


def test_a_basis_of_another_encoder_is_refused(tiny, own_tiny, name_basis, tmp_path):
    with torch.no_grad():
        own_tiny.text_encoder.get_input_embeddings().weight.neg_()
    with pytest.raises(PersoError, match=r"of the text encoder .* mean nothing"):
        name_basis.checked(own_tiny)
    name_basis.save(tmp_path)
    with pytest.raises(PersoError, match="No basis of names is kept"):
        basis_of(own_tiny, tmp_path)


def test_a_damaged_file_is_refused(tiny, name_basis, tmp_path):
    path = name_basis.save(tmp_path)
    tensors, header = read_tensors(path)
    write_tensors(path, tensors, header | {"names": "{"})
    with pytest.raises(PersoError, match="cannot be read as JSON"):
        basis_of(tiny, tmp_path)
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(PersoError, match="whole safetensors"):
        basis_of(tiny, tmp_path)


def test_the_table_is_read_and_not_changed(tiny):
    before = copy.deepcopy(tiny.text_encoder.get_input_embeddings().weight)
    build_basis(tiny, REUSED)
    assert torch.equal(tiny.text_encoder.get_input_embeddings().weight, before)
