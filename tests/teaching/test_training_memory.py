"""Memory is counted, a plan is chosen from it, and recomputing changes no gradient."""

import pytest
import torch
from before_and_after import changes, snapshot_of
from one_batch import batch_of, losses_of

from perso_lite import METHODS, DreamBoothLoRA, PersoError, TextualInversion
from perso_lite.teaching.own_pictures.memory import (
    GIB,
    TrainingMemory,
    free_memory,
    plan_training,
    saved_by_block,
    training_memory,
)
from perso_lite.teaching.own_pictures.running import (
    gradient_checkpointing,
    peak_memory,
    seconds_per_step,
)

MEMORY = TrainingMemory(weights=2 * GIB, learned=0, picture=1000, checkpointed=200)


@pytest.fixture
def word(tiny):
    return TextualInversion(tiny, "teddy")


def test_what_is_counted_is_what_pytorch_saves(tiny, word):
    before = snapshot_of(tiny)
    memory = training_memory(word)
    assert changes(tiny, before) == []
    assert memory.weights == 4 * sum(
        p.numel()
        for part in (tiny.text_encoder, tiny.unet, tiny.vae)
        for p in part.parameters()
    )
    assert memory.learned == 16 * 32
    assert 0 < memory.checkpointed < memory.picture
    saved, inputs = saved_by_block(tiny)
    assert saved.keys() - {""} == inputs.keys() and len(inputs) == 38
    assert memory.picture == sum(saved.values())
    assert all(size > 0 for size in inputs.values())


def test_a_picture_four_times_as_large_keeps_about_four_times_as_much(own_tiny):
    small = training_memory(TextualInversion(own_tiny, "teddy")).picture
    own_tiny.unet.register_to_config(sample_size=16)
    large = training_memory(TextualInversion(own_tiny, "teddy")).picture
    assert 3.5 < large / small < 4.5


def test_half_precision_is_counted_and_said(own_tiny):
    single = training_memory(TextualInversion(own_tiny, "teddy"))
    own_tiny.to(torch.bfloat16)
    word = TextualInversion(own_tiny, "teddy")
    half = training_memory(word)
    assert half.weights * 2 == single.weights and half.picture < single.picture
    assert plan_training(word, half).sentence().startswith("half precision")


@pytest.mark.parametrize(
    ("free", "expected"),
    [
        (None, (4, 1, False)),
        (5000, (4, 1, False)),
        (4999, (2, 2, False)),
        (2499, (1, 4, False)),
        (1249, (4, 1, True)),
        (999, (2, 2, True)),
        (250, (1, 4, True)),
    ],
)
def test_the_largest_batch_that_fits_is_chosen(word, free, expected):
    plan = plan_training(word, MEMORY, free)
    chosen = plan.batch_size, plan.gradient_accumulation, plan.gradient_checkpointing
    assert chosen == expected
    assert plan.fit_options == {
        "batch_size": expected[0], "gradient_accumulation": expected[1],
    }  # fmt: skip
    assert free is None or plan.needed <= free
    said = f"{expected[1]} x {expected[0]} pictures per step, "
    assert f"{said}{'with' if expected[2] else 'without'} gradient" in plan.sentence()


def test_what_is_too_large_is_refused_with_numbers_and_a_way_out(word):
    memory = TrainingMemory(0, 0, 9 * GIB, 8 * GIB)
    with pytest.raises(PersoError, match=r"needs 10\.0 GiB .*, but 4\.0 GiB .* half"):
        plan_training(word, memory, 4 * GIB)
    with pytest.raises(PersoError, match="pictures_per_step"):
        plan_training(word, MEMORY, pictures_per_step=0)


def test_a_cpu_has_nothing_to_choose_from(tiny):
    assert free_memory(tiny) is None and peak_memory(tiny) is None


def test_checkpointing_ends_also_after_an_error_and_stays_where_it_was_on(own_tiny):
    with pytest.raises(KeyError), gradient_checkpointing(own_tiny):
        assert own_tiny.unet.is_gradient_checkpointing
        raise KeyError
    assert not own_tiny.unet.is_gradient_checkpointing
    with gradient_checkpointing(own_tiny, wanted=False):
        assert not own_tiny.unet.is_gradient_checkpointing
    own_tiny.unet.enable_gradient_checkpointing()
    with gradient_checkpointing(own_tiny):
        pass
    assert own_tiny.unet.is_gradient_checkpointing


def gradients_of(method, batch):
    """The gradient of one batch for everything that the method learns."""
    method.zero_grad()
    with method.training_step(torch.Generator().manual_seed(0)):
        losses_of(method, batch).mean().backward()
    return [p.grad.clone() for p in method.parameters() if p.grad is not None]


OPTIONS = {
    "dreambooth_lora": {"identifier_token": "weird", "prior_pictures": 0},
    "custom_diffusion": {"initializer_token": "weird", "prior_pictures": 0},
    "celeb_basis": {"check_face": False},
    "textboost": {"picture": 0, "num_augmentations": 2},
}


@pytest.mark.parametrize("name", METHODS)
def test_no_method_notices_checkpointing(
    own_tiny, concept, name, covariance, name_basis
):
    options = dict(OPTIONS.get(name, {}))
    options |= {"covariance": covariance} if name == "perfusion" else {}
    options |= {"basis": name_basis} if name == "celeb_basis" else {}
    method = METHODS[name](own_tiny, "teddy", **options)
    batch = batch_of(method, concept)
    wanted = gradients_of(method, batch)
    runs, counted = [], own_tiny.unet.mid_block.attentions[0].transformer_blocks[0]
    counted.register_forward_pre_hook(lambda *given: runs.append(1))
    with gradient_checkpointing(own_tiny):
        found = gradients_of(method, batch)
    assert len(runs) == 2  # forward, and again in the backward pass
    assert len(found) == len(wanted) > 0
    for mine, plain in zip(found, wanted, strict=True):
        torch.testing.assert_close(mine, plain)


def test_a_rehearsal_gives_seconds_and_leaves_the_base(tiny, concept):
    before = snapshot_of(tiny)
    method = DreamBoothLoRA(tiny, "teddy", identifier_token="weird", prior_pictures=0)
    plan = plan_training(method, MEMORY, 999)
    assert seconds_per_step(method, concept, plan) > 0
    assert changes(tiny, before) == []
    with pytest.raises(PersoError, match="steps is 1"):
        seconds_per_step(method, concept, plan, steps=1)
