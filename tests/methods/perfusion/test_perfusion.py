import copy
import functools

import pytest
import torch
from before_and_after import changes, disturbed, snapshot_of, state_hash
from diffusers import UNet2DConditionModel
from one_batch import batch_of, losses_of
from tiny_pipeline import WORDS

from perso_lite import (
    Perfusion,
    PersoError,
    attached,
    covariance_of,
    encode_prompts,
    estimate_covariance,
    fit,
    generate,
    load_method,
)
from perso_lite.conditioning.cross_attention import cross_attention_layers
from perso_lite.conditioning.neutral_captions import TEMPLATES
from perso_lite.conditioning.words import single_token_id
from perso_lite.files.tensors import write_tensors
from perso_lite.methods.perfusion.covariance import TextCovariance
from perso_lite.methods.perfusion.perfusion import projected_text

PROMPT = "a <toy> on a beach"
OPTIONS = {"num_inference_steps": 2, "output_type": "pt"}


@pytest.fixture
def kept(covariance, tmp_path, monkeypatch):
    """The folder where methods find the covariance."""
    covariance.save(tmp_path / "covariance")
    found = functools.partial(covariance_of, folder=tmp_path / "covariance")
    monkeypatch.setattr("perso_lite.methods.perfusion.perfusion.covariance_of", found)
    return tmp_path / "covariance"


@pytest.fixture
def make(tiny, covariance):
    def of(base=tiny, seed=None, **options):
        """A concept; with a seed, as if it had learned something."""
        options = {"class_word": "teddy", "covariance": covariance, **options}
        method = Perfusion(base, **options)
        return method if seed is None else disturbed(method, 0.5, seed)

    return of


# -- what it holds ---------------------------------------------------------------------


def test_it_starts_as_its_class_word(tiny, make):
    method = make()
    row = single_token_id(tiny.tokenizer, "teddy")
    start = tiny.text_encoder.get_input_embeddings().weight[row]
    assert torch.equal(method.embedding, start[None])
    with method.attach(tiny):
        states = encode_prompts(tiny, [PROMPT, "a <toy>"])
    # to the last bit; so local keys are those of the class word but for the gate
    assert torch.equal(states, encode_prompts(tiny, ["a teddy on a beach", "a teddy"]))
    found = []
    for template in TEMPLATES:
        words = template.replace("close-up", "close - up").split()
        position = 1 + words.index("{}")  # the start token is before all words
        found.append(encode_prompts(tiny, [template.format("teddy")])[0, position])
    mean = torch.stack(found).mean(0)
    assert torch.allclose(method.target_input, mean, atol=1e-5)
    layers = cross_attention_layers(tiny.unet)
    modules = [tiny.unet.get_submodule(layer.name) for layer in layers]
    keys, values = (
        torch.cat([getattr(module, kind)(mean) for module in modules])
        for kind in ("to_k", "to_v")
    )
    assert torch.allclose(method.target_keys, keys, atol=1e-5)
    assert torch.allclose(method.target_values, values, atol=1e-5)


def test_the_word_it_starts_from_can_be_chosen(tiny, make):
    several, chosen = make(class_word="snow teddy"), make(initializer_token="cat")
    assert several.class_word == "snow teddy"
    assert several.initializer_token == "teddy"
    assert state_hash(several) == state_hash(make())
    row = single_token_id(tiny.tokenizer, "cat")
    start = tiny.text_encoder.get_input_embeddings().weight[row]
    assert torch.equal(chosen.embedding[0], start)
    assert state_hash(chosen) != state_hash(make())


def test_counts_for_stable_diffusion(make, tmp_path):
    with torch.device("meta"):
        unet = UNet2DConditionModel(
            block_out_channels=(320, 640, 1280, 1280),
            cross_attention_dim=768,
            attention_head_dim=8,
            layers_per_block=2,
        )
    state = torch.zeros(768, device="meta")
    sizes = {k: projected_text(unet, state, k) for k in ("to_k", "to_v")}
    assert len(cross_attention_layers(unet)) == 16
    assert [target.shape for target in sizes.values()] == [(12_480,)] * 2
    assert sum(target.nbytes for target in sizes.values()) == 99_840
    method = make(seed=1)
    shapes = {
        "perfusion.embedding": (1, 768),
        "perfusion.target_input": (768,),
        "perfusion.target_keys": (12_480,),
        "perfusion.target_values": (12_480,),
    }
    assert shapes.keys() == method.tensors().keys()
    trained = [name for name, value in method.named_parameters() if value.requires_grad]
    assert sorted(trained) == ["embedding", "target_values"]  # 13,248 numbers
    path = tmp_path / "sd.safetensors"
    tensors = {name: torch.zeros(shape) for name, shape in shapes.items()}
    write_tensors(path, tensors, method.header())
    assert 105_984 < path.stat().st_size < 110_000


# -- training --------------------------------------------------------------------------


@pytest.mark.parametrize("key_locking", ["local", "trained", "global"])
def test_keys_move_only_if_trained(make, concept, key_locking):
    method = make(key_locking=key_locking)
    start = copy.deepcopy(method.state_dict())
    for _ in fit(method, concept, steps=2, batch_size=2):
        pass
    moved = {k for k, v in method.state_dict().items() if not torch.equal(v, start[k])}
    trained = {"target_keys"} if key_locking == "trained" else set()
    assert moved == {"embedding", "target_input", "target_values"} | trained
    # Adam's first two steps, with the learning rates of the paper's readers
    step = (method.target_values - start["target_values"]).abs()
    assert 0 < step.max() <= 0.0601
    assert 0 < (method.embedding - start["embedding"]).abs().max() <= 0.01201


@pytest.mark.parametrize("key_locking", ["local", "trained"])
def test_gradients_reach_exactly_what_learns(tiny, make, concept, key_locking):
    method = make(key_locking=key_locking, seed=1)
    batch = batch_of(method, concept)
    method.train()
    with method.attach(tiny):
        losses_of(method, batch).mean().backward()
        states = encode_prompts(tiny, batch.captions).detach()
    assert method.embedding.grad.abs().min() > 0
    assert method.target_values.grad.abs().min() > 0
    if key_locking == "trained":
        assert method.target_keys.grad.abs().max() > 0
    else:
        assert method.target_keys.grad is None
    assert method.target_input.grad is None
    # the word learns through the text encoder and in no other way
    method.zero_grad()
    with method.attach(tiny):
        predicted = tiny.unet(batch.noisy, batch.timesteps, states).sample
        predicted.square().mean().backward()
    assert method.embedding.grad is None
    assert method.target_values.grad.abs().max() > 0


def test_the_target_input_follows_the_word(tiny, make):
    method, timesteps = make(seed=1), torch.tensor([1, 2])
    captions, places = ["a photo of a <toy>", "<toy> on a <toy>"], [5, 1]
    start = method.target_input.clone()
    with method.attach(tiny):
        states = method.encoder_hidden_states(captions, timesteps).detach()
        for index in range(20):
            method.after_step(index, captions, states)
    mean = states[range(2), places].mean(0)  # one more than the word for the start
    wanted = mean + 0.99**20 * (start - mean)
    assert torch.allclose(method.target_input, wanted, atol=1e-5)
    assert (mean - start).abs().max() > 0.1
    before = method.target_input.clone()
    with method.attach(tiny):
        generate(tiny, PROMPT, **OPTIONS)
    assert torch.equal(method.target_input, before)


def test_dials_of_drawing_do_not_matter_in_training(tiny, make, concept):
    method = make(seed=1)
    batch = batch_of(method, concept)

    @torch.no_grad()
    def losses():
        method.train()
        with method.attach(tiny):
            drawn = losses_of(method, batch)
        method.eval()
        return drawn

    before = losses()
    method.beta, method.tau, method.key_locking = 0.4, 0.3, "global"
    assert torch.equal(losses(), before)
    assert method.gate_settings == (0.4, 0.3)
    method.training_tau = 0.2
    assert not torch.equal(losses(), before)


@torch.no_grad()
def test_the_loss_is_weighted_with_masks_of_maximum_one(tiny, make, concept):
    method = make(seed=1)
    batch = batch_of(method, concept)
    left = torch.zeros_like(batch.masks)
    left[..., :3] = 1

    def losses(masks):
        batch.masks = masks
        with method.attach(tiny):
            return losses_of(method, batch)

    whole, of_left, of_right = (losses(m) for m in (left * 0 + 1, left, 1 - left))
    method.masked_loss = False
    assert torch.equal(losses(left), whole)
    method.masked_loss = True
    # the weight is m, not its square
    assert torch.allclose(of_left + of_right, whole)
    halved = losses(left + 0.5 * (1 - left))
    assert torch.allclose(halved, of_left + 0.5 * of_right)
    # each by its own maximum; a picture without a mask counts everywhere
    assert torch.allclose(losses(0.2 * left), of_left)
    uneven = torch.stack([0.3 * left[0], 0 * left[1]])
    assert torch.allclose(losses(uneven), torch.stack([of_left[0], whole[1]]))
    batch.target = batch.target + 5 * (1 - left)
    assert torch.equal(losses(left), of_left)  # what has no weight does not count


# -- drawing ---------------------------------------------------------------------------


def test_two_untrained_concepts_of_one_class_are_refused_and_nothing_is_left(
    tiny, make
):
    before, twin = snapshot_of(tiny), make(placeholder_token="<twin>")
    parallel = pytest.raises(PersoError, match=r"<toy> and <twin> .* are parallel")
    with parallel, attached(tiny, make(), twin):
        pass
    assert changes(tiny, before) == []
    twin.target_input += 0.3 * torch.randn(32)
    with attached(tiny, make(), twin):  # now they can be told apart
        generate(tiny, "a <toy> next to a <twin>", **OPTIONS)


def test_two_covariances_cannot_be_joined(tiny, make, covariance):
    other = TextCovariance(2 * covariance.inverse, covariance.text_fingerprint, 9)
    pet = make(placeholder_token="<pet>", class_word="dog", covariance=other)
    refused = pytest.raises(PersoError, match="different covariances")
    before = snapshot_of(tiny)
    with refused, attached(tiny, make(), pet):
        pass
    assert changes(tiny, before) == []


# -- files -----------------------------------------------------------------------------


def test_trained_keys_stay_trained_in_a_file(tiny, make, kept, tmp_path):
    path, method = tmp_path / "toy.safetensors", make(key_locking="trained")
    method.key_locking = "global"
    method.save(path)
    assert load_method(path, tiny).key_locking == "trained"


def test_another_bases_file_is_carried_over_only_when_asked(
    own_tiny, make, kept, tmp_path
):
    path, method = tmp_path / "toy.safetensors", make(seed=1)
    method.save(path)
    generator = torch.Generator().manual_seed(0)
    for weight in own_tiny.unet.parameters():  # fine-tuned
        weight.add_(0.01 * torch.randn(weight.shape, generator=generator))
    with pytest.raises(PersoError, match="say transfer=True"):
        load_method(path, own_tiny)
    moved = load_method(path, own_tiny, transfer=True)
    assert state_hash(moved) == state_hash(method)
    with moved.attach(own_tiny):
        generate(own_tiny, PROMPT, **OPTIONS)


def test_another_architecture_is_refused(own_tiny, make, kept, tmp_path):
    path, method = tmp_path / "toy.safetensors", make(seed=1)
    method.save(path)
    config = {**own_tiny.unet.config, "block_out_channels": (16, 32, 32, 32)}
    own_tiny.unet = UNet2DConditionModel.from_config(config)
    with pytest.raises(PersoError, match="trained on another architecture"):
        load_method(path, own_tiny, transfer=True)
    before = snapshot_of(own_tiny)
    refused = pytest.raises(PersoError, match=r"512 values, but the layers .* take 432")
    with refused, method.attach(own_tiny):
        pass
    assert changes(own_tiny, before) == []


def test_a_covariance_of_another_text_encoder_is_refused(own_tiny, covariance):
    own_tiny.text_encoder.get_input_embeddings().weight.add_(1)
    with pytest.raises(PersoError, match="but this base has"):
        Perfusion(own_tiny, "teddy", covariance=covariance)


def test_a_file_of_another_covariance_is_refused(tiny, make, kept, tmp_path):
    path = tmp_path / "toy.safetensors"
    make(seed=1).save(path)
    load_method(path, tiny)
    estimate_covariance(tiny, WORDS * 20).save(kept)
    with pytest.raises(PersoError, match="was trained with the covariance"):
        load_method(path, tiny)
    load_method(path, tiny, transfer=True)


# -- mistakes --------------------------------------------------------------------------


def test_trained_keys_cannot_be_locked(make):
    with pytest.raises(PersoError, match="trained or global"):
        make(key_locking="trained").key_locking = "local"


def test_a_caption_that_cuts_its_placeholder_off_is_refused(tiny, make):
    method = make()
    long = "a photo of " * 10 + "<toy>"
    with method.attach(tiny), pytest.raises(PersoError, match="cut off"):
        method.encoder_hidden_states([long], torch.tensor([1]))
