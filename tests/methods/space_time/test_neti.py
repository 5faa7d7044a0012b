import copy

import pytest
import torch
from per_layer_helpers import OPTIONS, PROMPT
from tiny_pipeline import tiny_pipeline
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
from perso_lite.conditioning.words import single_token_id

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
def test_all_units_are_128_and_the_norm_matters(tiny, make):
    method = make()
    nn.init.normal_(method.mapper.output.weight)
    with method.attach(tiny):
        drawn = generate(tiny, PROMPT, **OPTIONS)
        method.truncation_idx = 128
        assert torch.equal(generate(tiny, PROMPT, **OPTIONS), drawn)
        method.norm_mode = "word"
        assert (generate(tiny, PROMPT, **OPTIONS) - drawn).abs().max() > 1e-5


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


def test_nested_dropout_is_off_after_a_step(make, concept):
    method = make()
    next(fit(method, concept, batch_size=2))
    assert method.mapper.generator is None and not method.mapper.training


# -- files -----------------------------------------------------------------------------


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


def test_the_norm_mode_is_checked_whenever_it_is_set(make):
    method = make(norm_mode="word")
    for wrong in ("both", None, 2):
        with pytest.raises(PersoError, match="choose from joint, word"):
            method.norm_mode = wrong
        with pytest.raises(PersoError, match="choose from joint, word"):
            make(norm_mode=wrong)
    assert method.norm_mode == "word"
    before = method.vectors(TIMES)[0]
    method.norm_mode = "joint"
    assert not torch.allclose(method.vectors(TIMES)[0], before)
