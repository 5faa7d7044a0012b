import json
import signal
from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from diffusers import DDPMScheduler
from tiny_pipeline import tiny_pipeline

from perso_lite import PersoError, TextualInversion, fit, load_base, load_method
from perso_lite.checkpoints import begin_training, training_record
from perso_lite.examples import Batch, draw_batch, prepare
from perso_lite.files.tensors import read_tensors, write_tensors
from perso_lite.training import fit_with_bar, train_step


def train(base, concept, **options):
    method = TextualInversion(base, "teddy", learning_rate=0.02)
    steps = list(fit(method, concept, batch_size=2, **options))
    return method, steps


def test_steps_tell_what_happened(tiny, concept):
    _, steps = train(tiny, concept, steps=3)
    assert [step.index for step in steps] == [0, 1, 2]
    for step in steps:
        assert step.loss == pytest.approx(step.losses.mean().item())
        assert step.timesteps.shape == step.pictures.shape == (2,)
        assert all("<toy>" in caption for caption in step.captions)
    assert 0 < steps[0].seconds < steps[2].seconds


def test_another_seed_gives_another_concept(tiny, concept):
    one, other = (train(tiny, concept, steps=1, seed=seed)[0] for seed in (5, 6))
    assert not torch.equal(one.vectors, other.vectors)


def test_the_base_is_untouched_between_steps(tiny, concept):
    tokenizer = tiny.tokenizer
    method = TextualInversion(tiny, "teddy")
    for step in fit(method, concept, steps=5, batch_size=1):
        assert tiny.tokenizer is tokenizer
        with method.attach(tiny):
            tiny("a <toy>", num_inference_steps=1)
        if step.index == 1:
            break
    assert tiny.tokenizer is tokenizer


def test_a_checkpoint_of_other_settings_is_refused(tiny, concept, tmp_path):
    path = tmp_path / "toy.safetensors"
    train(tiny, concept, steps=1, checkpoint=path, checkpoint_every=1)
    other = TextualInversion(tiny, "teddy", num_vectors=2)
    with pytest.raises(PersoError, match="its settings is"):
        next(fit(other, concept, resume=path))


def test_a_finished_concept_is_not_a_checkpoint(tiny, concept, tmp_path):
    method, _ = train(tiny, concept, steps=1)
    method.save(tmp_path / "toy.safetensors")
    with pytest.raises(PersoError, match="not a checkpoint"):
        train(tiny, concept, resume=tmp_path / "toy.safetensors")


def test_a_checkpoint_that_could_not_be_kept_is_refused_at_once(tiny, concept):
    with pytest.raises(PersoError, match="cannot be written"):
        train(tiny, concept, checkpoint="/dev/null/toy.safetensors")


def test_ctrl_c_says_where_the_last_checkpoint_is(tiny, concept, tmp_path):
    path = tmp_path / "toy.safetensors"
    method = TextualInversion(tiny, "teddy")

    def interrupt(index, captions, states):
        if index == 5:
            signal.raise_signal(signal.SIGINT)

    method.after_step = interrupt
    with pytest.raises(KeyboardInterrupt, match=r"step 5; .*toy\.safetensors"):
        list(fit(method, concept, checkpoint=path, checkpoint_every=2, batch_size=1))
    assert load_method(path, tiny).training_record["steps"] == 4


@pytest.mark.parametrize("where", ["loss", "extra loss"])
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_stops_training(tiny, concept, tmp_path, where, bad):
    path = tmp_path / "toy.safetensors"
    method = TextualInversion(tiny, "teddy", learning_rate=0.02)
    kept, steps = [], 0

    def broken(*given):  # from the third step on
        return torch.tensor(bad) if steps == 2 else None

    if where == "loss":
        method.loss_weights = broken
    else:
        method.extra_loss = broken
    options = {"checkpoint": path, "checkpoint_every": 1, "batch_size": 1}
    with pytest.raises(PersoError, match=r"loss of step 2 is (nan|inf)"):
        for _ in fit(method, concept, steps=9, **options):
            kept.append(method.vectors.detach().clone())
            steps += 1
    assert torch.equal(method.vectors, kept[-1])  # the bad step taught nothing
    assert torch.equal(load_method(path, tiny).vectors, kept[-1])


@pytest.mark.parametrize("rate", [float("nan"), float("inf"), -1.0])
def test_a_learning_rate_that_is_no_rate_is_refused(tiny, concept, rate):
    method = TextualInversion(tiny, "teddy", learning_rate=rate)
    with pytest.raises(PersoError, match="learning_rate is"):
        next(fit(method, concept, steps=1))


@pytest.mark.parametrize(
    "wrong",
    [
        {"batch_size": 0},
        {"batch_size": 1.5},
        {"gradient_accumulation": 0},
        {"crops": -1},
        {"warmup_steps": 0.5},
        {"steps": -1},
        {"checkpoint_every": 0},
        {"seed": -1},
        {"seed": 2**64},
        {"seed": "0"},
    ],
)
def test_numbers_that_cannot_be_are_refused_before_anything(tiny, concept, wrong):
    (name,) = wrong
    with pytest.raises(PersoError, match=rf"{name} is .*whole number"):
        next(fit(TextualInversion(tiny, "teddy"), concept, **{"steps": 1, **wrong}))


def test_an_unknown_schedule_is_refused(tiny, concept):
    with pytest.raises(PersoError, match='"cosin"; choose from constant, linear'):
        train(tiny, concept, steps=1, learning_rate_schedule="cosin")


def test_two_batches_of_two_have_the_gradient_of_one_of_four(tiny, concept):
    method = TextualInversion(tiny, "teddy")
    examples = prepare(method, concept)
    scheduler = DDPMScheduler.from_config(tiny.scheduler.config)
    record = training_record(concept, 1, seed=0, batch_size=2)
    found = []
    for accumulated in (True, False):
        method = TextualInversion(tiny, "teddy")
        state = begin_training(method, record, 1)
        pair = [
            draw_batch(method, examples, scheduler, 2, state.generator)
            for _ in range(2)
        ]
        whole = {
            field: torch.cat([getattr(batch, field) for batch in pair])
            for field in ("pictures", "timesteps", "noisy", "target", "masks")
        }
        whole = Batch(**whole, captions=pair[0].captions + pair[1].captions)
        batches = pair if accumulated else [whole]
        losses, _ = train_step(method, batches, state, 0)
        found.append((method.vectors.grad.clone(), losses))
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-7)
    assert found[0][0].any() and found[0][1].shape == (4,)


def test_accumulated_batches_are_all_told_of_and_extra_losses_averaged(tiny, concept):
    class Counting(TextualInversion):
        calls, seen = 0, ()

        def extra_loss(self, generator):
            self.calls += 1
            return torch.tensor(float(self.calls))

        def after_step(self, index, captions, states):
            self.seen = (*self.seen, (index, len(captions), len(states)))

    method = Counting(tiny, "teddy")
    options = {"steps": 2, "batch_size": 2, "gradient_accumulation": 3}
    first, second = fit(method, concept, **options)
    assert (first.extra_loss, second.extra_loss) == (2, 5)
    assert first.loss == pytest.approx(first.losses.mean().item() + 2)
    for told in (first.losses, first.timesteps, first.pictures, first.captions):
        assert len(told) == 6
    assert method.seen == ((0, 6, 6), (1, 6, 6))
    assert method.training_record["gradient_accumulation"] == 3


@pytest.mark.parametrize(
    ("options", "rates"),
    [
        ({}, [1, 1, 1, 1]),
        ({"warmup_steps": 2}, [0, 1 / 2, 1, 1]),
        ({"learning_rate_schedule": "linear"}, [1, 3 / 4, 1 / 2, 1 / 4]),
        (
            {"learning_rate_schedule": "cosine", "warmup_steps": 1},
            [0, 1, 3 / 4, 1 / 4],
        ),
    ],
)
def test_the_learning_rate_follows_its_schedule(tiny, concept, options, rates):
    """All gradients being the same, Adam moves by the learning rate."""

    class Pulled(TextualInversion):
        def loss_weights(self, masks):
            return torch.zeros_like(masks)

        def extra_loss(self, generator):
            return self.vectors.sum()

    method = Pulled(tiny, "teddy", learning_rate=0.02)
    places = [method.vectors.detach().clone()]
    for _ in fit(method, concept, 4, batch_size=1, **options):
        places.append(method.vectors.detach().clone())
    moved = [(a - b).mean().item() for a, b in pairwise(places)]
    assert moved == pytest.approx([0.02 * rate for rate in rates], abs=1e-5)


@pytest.mark.filterwarnings("error")
def test_a_step_that_overflows_moves_nothing_not_even_the_learning_rate(tiny, concept):
    """As in half precision: the loss is finite, but its gradient is not."""

    class Steep(TextualInversion):
        steep = True

        def extra_loss(self, generator):
            return (self.vectors * 0).sum().sqrt() if self.steep else None

    method = Steep(tiny, "teddy", learning_rate=0.02)
    start = method.vectors.detach().clone()
    options = {"seed": 0, "batch_size": 1, "learning_rate_schedule": "linear"}
    state = begin_training(method, training_record(concept, 4, **options), 4)
    state.scaler = torch.amp.GradScaler("cpu")
    scheduler = DDPMScheduler.from_config(tiny.scheduler.config)
    drawn = (method, prepare(method, concept), scheduler, 1, state.generator)
    for index, rate in enumerate((0.02, 0.015)):
        train_step(method, [draw_batch(*drawn)], state, index)
        assert state.schedule.get_last_lr() == [pytest.approx(rate)]
        assert torch.equal(method.vectors, start) == method.steep
        method.steep = False


VARIED = {"flips": True, "crops": 2, "gradient_accumulation": 2, "warmup_steps": 2}


@pytest.mark.parametrize("schedule", ["constant", "linear", "cosine"])
def test_resuming_with_every_option_gives_what_an_undisturbed_run_gives(
    tiny, concept, tmp_path, schedule
):
    path = tmp_path / "half.safetensors"
    options = {"steps": 5, "learning_rate_schedule": schedule, **VARIED}
    wanted, steps = train(tiny, concept, **options)
    interrupted = TextualInversion(tiny, "teddy", learning_rate=0.02)
    options |= {"batch_size": 2}
    half = fit(interrupted, concept, **options, checkpoint=path, checkpoint_every=3)
    for _ in range(4):  # one more than is kept
        next(half)
    resumed = TextualInversion(tiny, "teddy", learning_rate=0.02)
    rest = list(fit(resumed, concept, **options, resume=path))
    assert [step.loss for step in rest] == [step.loss for step in steps[3:]]
    assert torch.equal(resumed.vectors, wanted.vectors)
    assert resumed.training_record == wanted.training_record
    assert wanted.training_record.items() >= {**VARIED, "steps": 5}.items()


def test_a_checkpoint_from_before_the_options_is_resumed(tiny, concept, tmp_path):
    wanted, _ = train(tiny, concept, steps=3)
    path = tmp_path / "toy.safetensors"
    train(tiny, concept, steps=2, checkpoint=path, checkpoint_every=2)
    tensors, header = read_tensors(path)
    record = json.loads(header["perso_lite.training"])
    of_then = {"concept", "pictures", "seed", "batch_size", "steps"}
    record = {key: record[key] for key in of_then}
    header = header | {"perso_lite.training": json.dumps(record)}
    write_tensors(path, tensors, header)
    resumed, _ = train(tiny, concept, steps=3, resume=path)
    assert torch.equal(resumed.vectors, wanted.vectors)
    with pytest.raises(PersoError, match="flips False, but would go on with flips T"):
        train(tiny, concept, steps=3, resume=path, flips=True)


def test_gradients_of_an_interrupted_step_are_not_learned(tiny, concept):
    ways = []
    for left in (None, 100.0):
        method = TextualInversion(tiny, "teddy", learning_rate=0.02)
        if left is not None:
            method.vectors.grad = torch.full_like(method.vectors, left)
        list(fit(method, concept, steps=2, batch_size=1))
        ways.append(method.vectors.detach())
    assert torch.equal(*ways)


def test_a_file_with_numbers_that_are_not_finite_is_refused(tiny, tmp_path):
    method = TextualInversion(tiny, "teddy")
    method.vectors.data[0, 3] = float("nan")
    method.save(tmp_path / "toy.safetensors")
    with pytest.raises(PersoError, match="not finite"):
        load_method(tmp_path / "toy.safetensors", tiny)


def test_extra_loss_weights_timesteps_and_after_step_are_used(tiny, concept):
    class Curious(TextualInversion):
        seen = ()

        def draw_timesteps(self, count, num_train_timesteps, generator):
            return torch.full((count,), num_train_timesteps - 1)

        def loss_weights(self, masks):
            assert masks.shape == (2, 1, 8, 8)
            return torch.zeros_like(masks)

        def extra_loss(self, generator):
            assert isinstance(generator, torch.Generator)
            return self.vectors.square().sum()

        def after_step(self, index, captions, states):
            assert len(captions) == len(states) == 2 and not states.requires_grad
            self.seen = (*self.seen, index)

    method = Curious(tiny, "teddy")
    start = method.vectors.square().sum().item()
    steps = list(fit(method, concept, steps=2, batch_size=2))
    assert steps[0].timesteps.tolist() == [999, 999]
    assert steps[0].losses.tolist() == [0, 0]
    assert steps[0].loss == steps[0].extra_loss == pytest.approx(start)
    assert steps[1].loss < start
    assert method.seen == (0, 1)


def test_captions_that_say_the_placeholder_are_trained_on(tiny, concept):
    captioned = replace(concept, captions=["a <toy> on a beach"] * 3)
    _, steps = train(tiny, captioned, steps=2)
    assert {text for step in steps for text in step.captions} == {"a <toy> on a beach"}


def test_a_style_has_captions_of_its_own(tiny, concept, monkeypatch):
    monkeypatch.setattr(tiny.tokenizer, "tokenize", str.split)  # it knows the words
    of_style = replace(concept, learnable_property="style")
    captions = TextualInversion(tiny, "teddy").captions(of_style)
    assert len(captions) == 3 and captions[0] == captions[2]
    assert captions[0][0] == "a painting in the style of <toy>"
    assert all(text.endswith("the style of <toy>") for text in captions[0])
    described = replace(of_style, captions=["a <toy> of a cat", "", "a dog"])
    assert TextualInversion(tiny, "teddy").captions(described) == [
        ["a <toy> of a cat"],
        captions[0],
        captions[0],
    ]


def test_a_style_is_trained_and_recorded(tiny, concept):
    method, steps = train(tiny, replace(concept, learnable_property="style"), steps=2)
    said = {text for step in steps for text in step.captions}
    assert all(text.endswith(" in <toy>") for text in said)
    assert method.training_record["learnable_property"] == "style"


def test_a_v_prediction_base_is_asked_for_velocity(tmp_path, concept):
    (tmp_path / "words").mkdir()
    pipeline = tiny_pipeline(tmp_path / "words", prediction_type="v_prediction")
    pipeline.save_pretrained(tmp_path / "base")
    base = load_base(tmp_path / "base", device="cpu")
    method = TextualInversion(base, "teddy")
    examples = prepare(method, concept)
    examples.std.zero_()
    scheduler = DDPMScheduler.from_config(base.scheduler.config)
    batch = draw_batch(method, examples, scheduler, 4, torch.Generator().manual_seed(0))
    clean = examples.mean[batch.pictures]
    level = scheduler.alphas_cumprod[batch.timesteps].view(-1, 1, 1, 1)
    noise = (batch.noisy - level.sqrt() * clean) / (1 - level).sqrt()
    velocity = level.sqrt() * noise - (1 - level).sqrt() * clean
    assert torch.allclose(batch.target, velocity, atol=1e-3)


def test_the_bar_ends_at_the_last_step(tiny, concept, capfd):
    method = TextualInversion(tiny, "teddy")
    assert len(fit_with_bar(method, concept, 3, batch_size=1)) == 3
    assert "3/3" in capfd.readouterr().err


def fewer(concept):
    return replace(concept, images=concept.images[:2], masks=concept.masks[:2])


def without_masks(concept):
    return replace(concept, masks=[None] * len(concept.images))


def of_style(concept):
    return replace(concept, learnable_property="style")


def renamed(concept):
    return replace(concept, name="other")


@pytest.mark.parametrize(
    ("change", "options", "says"),
    [
        (replace, {"seed": 9}, "seed 0, but would go on with seed 9"),
        (replace, {"batch_size": 1}, "batch size 2, but would go on with batch size 1"),
        (replace, {"crops": 1}, "crops 0, but would go on with crops 1"),
        (replace, {"gradient_accumulation": 2}, "gradient accumulation 1, but"),
        (replace, {"warmup_steps": 2}, "warmup steps 0, but"),
        (replace, {"learning_rate_schedule": "linear"}, "rate schedule constant, .* 2"),
        (of_style, {}, "learnable property object, but"),
        (renamed, {}, "concept red-disc, but would go on with concept other"),
        (fewer, {}, "begun with pictures"),
        (without_masks, {}, "begun with pictures"),
    ],
)
def test_going_on_with_something_else_is_refused(
    tiny, concept, tmp_path, change, options, says
):
    path, other = tmp_path / "toy.safetensors", change(concept)
    train(tiny, concept, steps=1, checkpoint=path, checkpoint_every=1)
    method = TextualInversion(tiny, "teddy", learning_rate=0.02)
    options = {"batch_size": 2, "resume": path, **options}
    with pytest.raises(PersoError, match=says):
        next(fit(method, other, steps=2, **options))
    wanted = fit(method, other, steps=2, allow_changes=True, **options)
    assert [step.index for step in wanted] == [1]
