import copy
import dataclasses
import random

import pytest
import torch
from tiny_pipeline import WORDS

from perso_lite import PersoError, TextualInversion, encode_prompts
from perso_lite.base import text_fingerprint
from perso_lite.methods.perfusion.common_captions import (
    ACTIONS,
    LOOKS,
    SUBJECTS,
    common_captions,
)
from perso_lite.methods.perfusion.covariance import (
    TextCovariance,
    covariance_of,
    estimate_covariance,
)

CAPTIONS = [" ".join(random.Random(i).choices(WORDS, k=1 + i % 8)) for i in range(300)]


@pytest.fixture(scope="module")
def full(tiny):
    """With text states in all directions, as a trained encoder has them.

    In a new one the last norm makes the numbers of each state add up to nothing.
    """
    base = copy.deepcopy(tiny)
    parameters = dict(base.text_encoder.named_parameters())
    for name, middle in (("weight", 1.0), ("bias", 0.0)):
        (norm,) = (
            parameters[k] for k in parameters if k.endswith(f"final_layer_norm.{name}")
        )
        noise = torch.randn(len(norm), generator=torch.Generator().manual_seed(0))
        norm.copy_(middle + 0.3 * noise)
    return base


@pytest.fixture(scope="module")
def covariance(full):
    return estimate_covariance(full, CAPTIONS)


def states_of(base, captions):
    """All text states without the padding, each caption by itself, (states, dim)."""
    kept = []
    for caption in captions:
        words = 1 + len(caption.split()) + 1  # every word is one token; start and end
        kept.append(encode_prompts(base, [caption])[0, :words].double())
    return torch.cat(kept)


def test_it_is_the_inverse_of_the_mean_outer_product(full, covariance):
    states = states_of(full, CAPTIONS)
    product = (states.T @ states / len(states)) @ covariance.inverse.double()
    assert torch.allclose(product, torch.eye(32, dtype=torch.float64), atol=1e-3)
    # so on average a state's own energy <e, e> is the number of directions
    energies = (states @ covariance.inverse.double() * states).sum(1)
    assert energies.mean().item() == pytest.approx(32, rel=1e-4)


def test_it_is_a_metric(covariance):
    assert covariance.inverse.dtype == torch.float32
    assert torch.equal(covariance.inverse, covariance.inverse.T)
    assert torch.linalg.eigvalsh(covariance.inverse.double())[0] > 0
    assert covariance.captions == 300


def test_more_of_the_same_captions_and_other_batches_change_nothing(full, covariance):
    for captions, batch_size in ((CAPTIONS * 2, 64), (CAPTIONS, 7), (CAPTIONS, 300)):
        other = estimate_covariance(full, captions, batch_size)
        error = (other.inverse - covariance.inverse).abs().max()
        assert error < 1e-3 * covariance.inverse.abs().max()


def test_the_padding_does_not_count(full, covariance):
    other = copy.deepcopy(full)
    other.tokenizer.pad_token = "!"  # another vector in all padded places
    states = (encode_prompts(base, ["a cat"]) for base in (full, other))
    assert not torch.equal(*states)
    assert torch.equal(estimate_covariance(other, CAPTIONS).inverse, covariance.inverse)


def test_long_captions_are_cut_as_the_pipeline_cuts_them(tiny):
    captions = [" ".join([caption] * 30) for caption in CAPTIONS[:50]]
    cut = [" ".join(caption.split()[:22]) for caption in captions]
    one, other = (estimate_covariance(tiny, texts) for texts in (captions, cut))
    assert torch.equal(one.inverse, other.inverse)


@pytest.mark.parametrize("captions", [[], CAPTIONS[:4]])
def test_too_few_captions_are_refused(tiny, captions):
    with pytest.raises(PersoError, match=rf"{len(captions)} captions have \d+ tokens"):
        estimate_covariance(tiny, captions)


def test_a_ridge_makes_few_different_captions_invertible(full, covariance):
    few = estimate_covariance(full, ["a cat", "a dog"] * 20)
    assert few.inverse.isfinite().all()
    values = torch.linalg.eigvalsh(few.inverse.double())
    assert values[0] > 0
    # the ridge is a millionth of the largest eigenvalue of C
    assert values[-1] / values[0] == pytest.approx(1e6, rel=0.1)
    values = torch.linalg.eigvalsh(covariance.inverse.double())
    assert values[-1] / values[0] < 1e5  # none was needed here


def test_it_is_kept_for_its_text_encoder(full, covariance, tmp_path):
    path = covariance.save(tmp_path / "some" / "where")
    assert path.name == f"{text_fingerprint(full)}.safetensors"
    back = covariance_of(full, path.parent)
    assert torch.equal(back.inverse, covariance.inverse)
    assert back.text_fingerprint == covariance.text_fingerprint
    assert back.captions == covariance.captions
    assert back.fingerprint == covariance.fingerprint


def test_another_one_has_another_fingerprint(covariance):
    inverse = covariance.inverse.clone()
    inverse[3, 3] *= 1.001
    other = TextCovariance(inverse, covariance.text_fingerprint, covariance.captions)
    assert other.fingerprint != covariance.fingerprint


def test_for_another_text_encoder_none_is_found(full, own_tiny, covariance, tmp_path):
    covariance.save(tmp_path)
    with torch.no_grad():
        own_tiny.text_encoder.get_input_embeddings().weight[5] += 0.1
    with pytest.raises(PersoError, match="No covariance is kept"):
        covariance_of(own_tiny, tmp_path)
    assert covariance_of(full, tmp_path).fingerprint == covariance.fingerprint


def test_on_first_use_it_is_estimated_from_our_captions_and_kept(
    full, tmp_path, monkeypatch, capsys
):
    module = "perso_lite.methods.perfusion.covariance"
    monkeypatch.setenv("PERSO_LITE_CACHE", str(tmp_path))
    monkeypatch.setattr(f"{module}.common_captions", lambda: CAPTIONS)
    first = covariance_of(full)
    assert "text states for Perfusion" in capsys.readouterr().err
    assert torch.equal(first.inverse, estimate_covariance(full, CAPTIONS).inverse)
    (kept,) = (tmp_path / "covariance").iterdir()
    assert kept.stem == text_fingerprint(full)
    monkeypatch.setattr(f"{module}.estimate_covariance", None)  # not a second time
    again = covariance_of(full)
    assert torch.equal(again.inverse, first.inverse)
    assert again.fingerprint == first.fingerprint
    # another machine's rounding makes no other C of the same captions
    rounded = dataclasses.replace(first, inverse=first.inverse * (1 + 1e-6))
    assert rounded.fingerprint == first.fingerprint
    assert dataclasses.replace(rounded, source="").fingerprint != first.fingerprint


def test_a_cache_that_cannot_be_written_is_no_obstacle(full, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("PERSO_LITE_CACHE", str(tmp_path / "file"))
    module = "perso_lite.methods.perfusion.covariance"
    monkeypatch.setattr(f"{module}.common_captions", lambda: CAPTIONS)
    with pytest.warns(UserWarning, match="estimated again next time"):
        assert covariance_of(full).captions == len(CAPTIONS)


def test_our_captions_are_many_and_different_and_always_the_same():
    captions = common_captions()
    assert len(captions) == len(set(captions)) == 20_000
    assert captions == common_captions() and common_captions(9, seed=1) != captions[:9]
    words = {word for text in captions for word in text.replace(",", "").split()}
    assert {*SUBJECTS, *ACTIONS, *LOOKS} <= words and len(words) > 350
    assert not any("<" in text or "  " in text for text in captions)


def test_a_damaged_file_is_refused(full, covariance, tmp_path):
    path = covariance.save(tmp_path)
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(PersoError, match="not a whole safetensors file"):
        covariance_of(full, tmp_path)


def test_the_fingerprint_is_of_the_text_encoder_alone(own_tiny):
    before = text_fingerprint(own_tiny)
    with torch.no_grad():
        own_tiny.unet.conv_in.weight += 1
    with TextualInversion(own_tiny, "teddy").attach(own_tiny):
        assert text_fingerprint(own_tiny) == before
    own_tiny.text_encoder.half()
    assert text_fingerprint(own_tiny) == before
    parameters = own_tiny.text_encoder.named_parameters()
    (last,) = (w for name, w in parameters if name.endswith("layers.1.mlp.fc2.weight"))
    last.add_(0.1)
    assert text_fingerprint(own_tiny) != before


def test_the_shipped_base_has_its_covariance(base):
    covariance = covariance_of(base)
    dim = base.text_encoder.config.hidden_size
    assert covariance.inverse.shape == (dim, dim)
    # estimated from what its world says: a typical state has an energy of about dim
    states = encode_prompts(base, ["a photo of a red car", "a blue cat on a beach"])
    energies = (states[:, 1:6] @ covariance.inverse * states[:, 1:6]).sum(-1)
    assert 0.2 * dim < energies.mean() < 5 * dim
