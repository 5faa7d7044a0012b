"""Methods lend and take back: interrupted at any line, and left in any order."""

import contextlib
import functools
import gc
import itertools
import random
from pathlib import Path

import pytest
import torch
from before_and_after import changes, disturbed, snapshot_of
from diffusers import StableDiffusionImg2ImgPipeline
from interrupted_lines import InterruptedLines
from PIL import Image
from tiny_pipeline import invented_names

import perso_lite
from perso_lite import PersoError, attached, generate
from perso_lite.attention.record import record_attention
from perso_lite.methods import METHODS
from perso_lite.methods.celeb_basis.basis import build_basis

TRACED = (str(Path(perso_lite.__file__).parent), contextlib.__file__)
OPTIONS = {"num_inference_steps": 2, "output_type": "pt"}
interrupted = functools.partial(InterruptedLines, TRACED)
BUILT_WITH = {  # the tiny pipeline knows few words
    "dreambooth_lora": {"identifier_token": "weird", "prior_pictures": 0},
    "custom_diffusion": {"initializer_token": "weird", "prior_pictures": 0},
}


def make(name, tiny, covariance, placeholder_token="<toy>", class_word="teddy", seed=0):
    """A method as if it had learned something."""
    options = BUILT_WITH.get(name, {})
    if name == "perfusion":
        options = {"covariance": covariance}
    if name == "celeb_basis":
        options = {"basis": build_basis(tiny, invented_names())}
    method = METHODS[name](tiny, class_word, placeholder_token, **options)
    return disturbed(method, 0.1, seed)


@pytest.fixture(params=METHODS)
def method(request, tiny, covariance):
    return make(request.param, tiny, covariance)


def lend(method, base, interrupt_at=None):
    """Attach and leave once; returns how many lines ran."""
    with interrupted(interrupt_at) as events, method.attach(base):
        pass
    return events.count


def quick_look(base):
    """What most likely would be left: a snapshot takes longer."""
    table = base.text_encoder.get_input_embeddings()
    hooks = [
        len(kind)
        for network in (base.text_encoder, base.unet)
        for module in network.modules()
        for kind in (module._forward_hooks, module._forward_pre_hooks)
    ]
    return (
        type(base.tokenizer), id(vars(base.tokenizer)), len(base.tokenizer), hooks,
        list(vars(base.unet)), list(vars(base.text_encoder)), list(vars(table)),
        torch.is_grad_enabled(),
    )  # fmt: skip


@pytest.mark.parametrize(
    "every", [29, pytest.param(1, marks=pytest.mark.slow)], ids=["some", "all"]
)
def test_an_interruption_at_any_line_leaves_nothing(method, tiny, every):
    before, look = snapshot_of(tiny), quick_look(tiny)
    lend(method, tiny)  # caches are filled
    lines, interrupted = lend(method, tiny), 0
    assert lines > 50
    for line in range(0, lines, every):
        try:
            lend(method, tiny, interrupt_at=line)
        except KeyboardInterrupt:
            interrupted += 1
        assert quick_look(tiny) == look, f"interrupted at line {line} of {lines}"
        assert not method.training
    assert interrupted == len(range(0, lines, every))
    assert changes(tiny, before) == []


@pytest.mark.slow
@pytest.mark.parametrize("name", ["neti", "perfusion"])
def test_so_does_one_in_a_training_step(name, tiny, covariance):
    method, look = make(name, tiny, covariance), quick_look(tiny)

    def step(interrupt_at=None):
        generator = torch.Generator().manual_seed(0)
        with (
            interrupted(interrupt_at) as events,
            method.training_step(generator),
        ):
            pass
        return events.count

    step()
    for line in range(step()):
        with contextlib.suppress(KeyboardInterrupt):
            step(line)
        assert quick_look(tiny) == look
        assert not any(module.training for module in method.modules())
        assert name != "neti" or method.mapper.generator is None


@pytest.mark.slow
def test_and_one_while_attention_is_recorded(tiny):
    look = quick_look(tiny)

    def record(interrupt_at=None):
        with interrupted(interrupt_at) as events, record_attention(tiny):
            pass
        return events.count

    for line in range(0, record(), 11):
        with contextlib.suppress(KeyboardInterrupt):
            record(line)
        gc.collect()
        assert quick_look(tiny) == look
        assert "encode_prompt" not in vars(tiny)


# -- any order -------------------------------------------------------------------------


@pytest.fixture(scope="module")
def several(tiny, covariance):
    """Two concepts of every method."""
    words = itertools.product(METHODS, (("one", "teddy"), ("two", "dog")))
    return [
        make(name, tiny, covariance, f"<{name[:5]}-{number}>", class_word, seed)
        for seed, (name, (number, class_word)) in enumerate(words)
    ]


@pytest.mark.parametrize("seed", range(30))
def test_with_blocks_may_be_left_in_any_order(tiny, several, seed):
    choose, opened, look = random.Random(seed), {}, quick_look(tiny)
    for _ in range(20):
        method = choose.choice(several)
        if method in opened:
            opened.pop(method).__exit__(None, None, None)
        else:
            opened[method] = method.attach(tiny)
            opened[method].__enter__()
    text = " and ".join(method.placeholder_token for method in opened)
    drawn = generate(tiny, f"a {text}"[:60], **OPTIONS) if seed % 5 == 0 else None
    for method in choose.sample([*opened], len(opened)):
        opened[method].__exit__(None, None, None)
    assert quick_look(tiny) == look
    if drawn is not None:  # as when the same ones were attached one in another
        with attached(tiny, *opened):
            wanted = generate(tiny, f"a {text}"[:60], **OPTIONS)
        assert torch.allclose(drawn, wanted, atol=1e-5)


def test_who_stays_goes_on_as_if_alone(method, tiny, covariance):
    alone = generate_with(method, tiny)
    other = make(method.name, tiny, covariance, "<other>", "dog", seed=1)
    first, second = other.attach(tiny), method.attach(tiny)
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert torch.allclose(generate(tiny, "a <toy> on a beach", **OPTIONS), alone)
    second.__exit__(None, None, None)


def generate_with(method, base):
    with method.attach(base):
        return generate(base, "a <toy> on a beach", **OPTIONS)


# -- pipelines that share their parts --------------------------------------------------


def test_a_pipeline_made_of_the_same_parts_knows_the_concept(method, tiny):
    parts = tiny.components
    other = StableDiffusionImg2ImgPipeline(**parts, requires_safety_checker=False)
    other.set_progress_bar_config(disable=True)
    picture = Image.new("RGB", (32, 32), "pink")

    def draw(prompt="a <toy>"):
        generator = torch.Generator().manual_seed(0)
        return other(
            prompt, image=picture, generator=generator, num_inference_steps=4,
            output_type="latent",
        ).images  # fmt: skip

    before = draw()
    with method.attach(tiny):
        inside = draw()
    with method.attach(other):
        right = draw()
    assert torch.equal(inside, right) and not torch.equal(inside, before)
    assert torch.equal(draw(), before)


def test_a_word_that_is_taken_in_one_pipeline_is_taken_in_the_other(method, tiny):
    other = type(tiny)(**tiny.components, requires_safety_checker=False)
    with (
        method.attach(tiny),
        pytest.raises(PersoError, match="already in the vocabulary"),
        method.attach(other),
    ):
        pass
