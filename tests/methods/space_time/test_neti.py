import copy

import pytest
import torch
from one_batch import batch_of, losses_of
from per_layer_helpers import OPTIONS, PROMPT
from tiny_pipeline import tiny_pipeline, weights_hash
from torch import nn

from perso_lite import (
    ExtendedTextualInversion,
    NeTI,
    PersoError,
    TextualInversion,
    fit,
    generate,
    load_method,
)
from perso_lite.conditioning.tokens import single_token_id
from perso_lite.files import read_tensors

TIMES = torch.tensor([10, 700])


@pytest.fixture
def make(tiny):
    def of(base=tiny, **options):
        torch.manual_seed(0)
        return NeTI(base, "teddy", **options)

    return of


def draw(base, method):
    with method.attach(base):
        return generate(base, PROMPT, **OPTIONS)


# -- vectors ---------------------------------------------------------------------------


@pytest.mark.parametrize("norm_mode", ["joint", "word"])
@pytest.mark.parametrize("bypass", [True, False])
def test_what_has_the_length_of_the_class_word(tiny, make, norm_mode, bypass):
    row = single_token_id(tiny.tokenizer, "cat")
    length = tiny.text_encoder.get_input_embeddings().weight[row].norm()
    method = make(norm_mode=norm_mode, bypass=bypass, initializer_token="cat")
    word, second = method.rescaled(torch.randn(2, 16, 64 if bypass else 32))
    assert word.shape == (2, 16, 32)
    assert (second is not None) == bypass
    both = bypass and norm_mode == "joint"
    scaled = torch.cat([word, second], dim=-1) if both else word
    assert torch.allclose(scaled.norm(dim=-1), length.expand(2, 16), rtol=1e-5)
    assert method.vectors(TIMES)[0].norm(dim=-1).max() <= length + 1e-5
    if bypass:  # a step in units of the state's length
        step = method.vectors(TIMES)[1]
        assert torch.allclose(step.norm(dim=-1), torch.full((2, 16), 0.2), atol=1e-6)


@torch.no_grad()
def test_without_units_it_is_the_bias_everywhere(make):
    method = make(truncation_idx=0, start_at_class=False)
    word, bypass = method.vectors(TIMES)
    bias = method.mapper.output.bias
    wanted = bias / bias.norm() * method.target_norm
    assert torch.allclose(word, wanted[:32].expand_as(word), atol=1e-6)
    step = 0.2 * torch.nn.functional.normalize(bias[32:], dim=0)
    assert torch.allclose(bypass, step.expand_as(bypass), atol=1e-6)


@torch.no_grad()
def test_what_the_mapper_does_not_know_makes_no_difference(make):
    word, _ = make().vectors(TIMES)
    assert not torch.allclose(word[0], word[1])
    assert not torch.allclose(word[:, 0], word[:, 1])
    timeless, _ = make(over_time=False).vectors(TIMES)
    assert torch.allclose(timeless[0], timeless[1])
    middle, _ = make().vectors(torch.tensor([500]))
    assert torch.allclose(timeless[:1], middle, atol=1e-6)
    one, _ = make(over_layers=False).vectors(TIMES)
    assert one.shape == (2, 1, 32)
    assert torch.allclose(one, word[:, 8:9], atol=1e-6)


class Lookup(nn.Module):
    """A mapper that is a table over layers."""

    nested_dropout = 0.5

    def __init__(self, table):
        super().__init__()
        self.table = table

    def forward(self, points, truncation_idx=None):
        return self.table[points[:, 1].long()]


def test_a_constant_mapper_is_textual_inversion_and_a_table_is_xti(tiny, make):
    method = make(bypass=False)
    rows = torch.randn(16, 32, generator=torch.Generator().manual_seed(0))
    rows = rows / rows.norm(dim=1, keepdim=True) * method.target_norm
    single, table = (
        TextualInversion(tiny, "teddy"),
        ExtendedTextualInversion(tiny, "teddy"),
    )
    with torch.no_grad():
        single.vectors.copy_(rows[:1])
        table.table.copy_(rows)
    method.mapper = Lookup(rows[:1].expand(16, -1))
    assert torch.allclose(draw(tiny, method), draw(tiny, single), atol=1e-5)
    method.mapper = Lookup(rows)
    assert torch.allclose(draw(tiny, method), draw(tiny, table), atol=1e-5)


# -- dials -----------------------------------------------------------------------------


@torch.no_grad()
def test_the_dials_can_be_turned_while_attached(tiny, make):
    method, drawn = make(), []
    nn.init.normal_(method.mapper.output.weight)
    dials = ({"bypass_alpha": 1.0}, {"truncation_idx": 8}, {"norm_mode": "word"})
    with method.attach(tiny):
        for changed in ({}, *dials):
            before = {name: getattr(method, name) for name in changed}
            for name, value in changed.items():
                setattr(method, name, value)
            drawn.append(generate(tiny, PROMPT, **OPTIONS))
            for name, value in before.items():
                setattr(method, name, value)
        method.truncation_idx = 128
        assert torch.equal(generate(tiny, PROMPT, **OPTIONS), drawn[0])
    for i, one in enumerate(drawn):
        assert all((one - other).abs().max() > 1e-5 for other in drawn[i + 1 :])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"truncation_idx": -1}, "truncation_idx is -1"),
        ({"truncation_idx": 129}, "truncation_idx is 129"),
        ({"bypass_alpha": -0.1}, "bypass_alpha is -0.1"),
        ({"bypass_alpha": float("nan")}, "bypass_alpha is nan"),
        ({"norm_mode": "both"}, 'norm_mode is "both"'),
        ({"placeholder_token": "toy"}, "angle brackets"),
        ({"initializer_token": "zqx"}, '"zqx" is not one token'),
    ],
)
def test_what_cannot_be_built_is_refused(make, options, message):
    with pytest.raises(PersoError, match=message):
        make(**options)


def test_dials_refuse_what_makes_no_sense_and_stay(make):
    method = make(truncation_idx=64)
    for name, value in (("truncation_idx", 200), ("bypass_alpha", float("inf"))):
        before = getattr(method, name)
        with pytest.raises(PersoError, match=f"{name} is"):
            setattr(method, name, value)
        assert getattr(method, name) == before


# -- training --------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 4, 5])
def test_every_two_pictures_share_a_time_from_a_part_of_their_own(make, count):
    method, generator = make(), torch.Generator().manual_seed(0)
    drawn = [method.draw_timesteps(count, 1000, generator) for _ in range(1000)]
    drawn = torch.stack(drawn)  # (draws, count)
    assert drawn.shape == (1000, count)
    pairs = drawn[:, ::2]
    assert torch.equal(pairs.repeat_interleave(2, 1)[:, :count], drawn)
    parts = pairs.shape[1]
    edges = (torch.arange(parts + 1) * 1000 / parts).long()
    assert (pairs >= edges[:-1]).all() and (pairs <= edges[1:]).all()
    assert drawn.min() < 20 and drawn.max() > 979
    assert drawn[:, 0].float().mean().item() == pytest.approx(500 / parts, rel=0.1)


def test_training_moves_the_mapper_and_nothing_else(own_tiny, make, concept):
    method = make(own_tiny)
    before, start = weights_hash(own_tiny), copy.deepcopy(method.state_dict())
    for _ in fit(method, concept, steps=2, batch_size=2):
        pass
    assert weights_hash(own_tiny) == before
    moved = {k for k, v in method.state_dict().items() if not torch.equal(v, start[k])}
    assert moved == {name for name, _ in method.named_parameters()}
    assert all(name.startswith("mapper.") for name in moved)
    assert method.mapper.generator is None and not method.mapper.training


@pytest.mark.parametrize(
    ("kind", "rate"),
    [(TextualInversion, 0.1), (ExtendedTextualInversion, 0.1), (NeTI, 8e-3)],
)
def test_the_loss_on_one_batch_falls(tiny, concept, kind, rate):
    torch.manual_seed(0)
    method = kind(tiny, "teddy", learning_rate=rate)
    batch = batch_of(method, concept)
    optimizer, losses = torch.optim.AdamW(method.parameter_groups()), []
    with method.attach(tiny):
        for _ in range(15):
            losses.append(losses_of(method, batch).mean())
            optimizer.zero_grad()
            losses[-1].backward()
            optimizer.step()
    assert losses[-1] < losses[0] - 0.002


# -- files -----------------------------------------------------------------------------


def test_a_saved_concept_is_loaded_and_saved_again_as_it_was(tiny, make, tmp_path):
    first, second = tmp_path / "a.safetensors", tmp_path / "b.safetensors"
    method = make(bypass_alpha=0.4, truncation_idx=50, norm_mode="word")
    method.save(first)
    loaded = load_method(first, tiny)
    loaded.save(second)
    (tensors, header), (again, header_again) = map(read_tensors, (first, second))
    assert header == header_again and tensors.keys() == again.keys()
    assert all(torch.equal(tensors[key], again[key]) for key in tensors)
    assert loaded.settings() == method.settings()
    assert torch.equal(draw(tiny, loaded), draw(tiny, method))


@pytest.mark.parametrize("change", ["layers", "width"])
def test_another_architecture_is_refused(tiny, make, tmp_path, change):
    make().save(tmp_path / "toy.safetensors")
    other = tiny_pipeline(tmp_path)
    if change == "layers":
        config = {**other.unet.config, "layers_per_block": 1}
        other.unet = type(other.unet).from_config(config)
    else:
        config = copy.deepcopy(other.text_encoder.config)
        config.hidden_size = 64
        other.text_encoder = type(other.text_encoder)(config)
    with pytest.raises(PersoError, match="trained on another architecture"):
        load_method(tmp_path / "toy.safetensors", other, transfer=True)


# -- where it starts, and what is drawn at random --------------------------------------


@torch.no_grad()
def test_it_starts_at_the_class_word_or_anywhere(tiny, make):
    row = single_token_id(tiny.tokenizer, "teddy")
    teddy = tiny.text_encoder.get_input_embeddings().weight[row]
    near, _ = make().vectors(TIMES)
    anywhere, _ = make(start_at_class=False).vectors(TIMES)
    assert torch.cosine_similarity(near, teddy, dim=-1).min() > 0.9
    assert torch.cosine_similarity(anywhere, teddy, dim=-1).max() < 0.9


def test_it_depends_on_its_seed_and_on_nothing_else_at_random(make):
    one = make()
    torch.manual_seed(5)
    again = NeTI(one.base, "teddy")
    assert torch.equal(one.mapper.output.weight, again.mapper.output.weight)
    other = make(seed=1)
    assert not torch.equal(one.mapper.output.weight, other.mapper.output.weight)


def test_equal_seeds_train_equal_mappers_whatever_else_is_drawn(make, concept):
    trained = []
    for noise in (1, 2):
        method = make()
        torch.manual_seed(noise)  # nobody's business
        trained.append([step.loss for step in fit(method, concept, 4, batch_size=2)])
    assert trained[0] == trained[1]


def test_resuming_gives_what_an_undisturbed_run_gives(make, concept, tmp_path):
    whole, half, rest = make(), make(), make()
    list(fit(whole, concept, 4, batch_size=2))
    path = tmp_path / "half.safetensors"
    for step in fit(
        half, concept, 4, batch_size=2, checkpoint=path, checkpoint_every=2
    ):
        if step.index == 1:
            break
    list(fit(rest, concept, 4, batch_size=2, resume=path))
    for name, value in whole.state_dict().items():
        assert torch.equal(value, rest.state_dict()[name]), name


def test_truncation_is_a_dial_for_drawing_and_not_for_training(make, concept):
    losses = []
    for truncation_idx in (None, 3):
        method = make(truncation_idx=truncation_idx)
        losses.append([step.loss for step in fit(method, concept, 2, batch_size=2)])
    assert losses[0] == losses[1]


def test_a_caption_that_cuts_its_word_off_is_refused(make):
    method = make()
    with method.attach(method.base), pytest.raises(PersoError, match="cut off"):
        method.encoder_hidden_states(["a photo of " * 10 + "<toy>"], TIMES[:1])


def test_training_with_gradient_checkpointing_gives_the_same_losses(own_tiny, concept):
    losses = []
    for checkpointing in (False, True):
        if checkpointing:
            own_tiny.unet.train().enable_gradient_checkpointing()
        method = NeTI(own_tiny, "teddy")
        losses.append([step.loss for step in fit(method, concept, 3, batch_size=2)])
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
