import copy

import diffusers
import numpy as np
import pytest
import torch

from perso_lite import PersoError, generate
from perso_lite.sampling import starting_noise


def stock(base, prompt, seed, **options):
    noise = torch.Generator().manual_seed(seed)
    return base(prompt, generator=noise, output_type="pt", **options).images


def test_pictures_equal_the_stock_pipelines(tiny):
    options = {"num_inference_steps": 5, "guidance_scale": 4.0}
    prompts, seeds = ["a cat on a beach", "a dog"], (3, 8)
    wanted = torch.cat(
        [
            stock(tiny, prompt, seed, negative_prompt="a hat", **options)
            for prompt in prompts
            for seed in seeds
        ]
    )
    got = generate(
        tiny, prompts, seeds, negative_prompt="a hat", output_type="pt", **options
    )
    assert got.shape == (4, 3, 32, 32)
    assert torch.allclose(got, wanted, atol=1e-4)


def test_without_guidance_too(tiny):
    options = {"num_inference_steps": 5, "guidance_scale": 1.0}
    got = generate(tiny, "a cat", output_type="pt", **options)
    assert torch.allclose(got, stock(tiny, "a cat", 0, **options), atol=1e-4)


NOISY = ["EulerAncestralDiscreteScheduler", "DDPMScheduler", "LCMScheduler",
         "KDPM2AncestralDiscreteScheduler"]  # fmt: skip


@pytest.mark.parametrize("name", NOISY)
def test_schedulers_that_add_noise_take_it_from_the_seed(tiny, name):
    own = copy.copy(tiny)
    scheduler = getattr(diffusers, name).from_config(tiny.scheduler.config)
    own.register_modules(scheduler=scheduler)
    options = {"num_inference_steps": 4, "guidance_scale": 3.0}
    torch.manual_seed(1)
    first = generate(own, ["a cat", "a dog"], (3, 8), output_type="pt", **options)
    torch.manual_seed(2)
    again = generate(own, "a dog", (8,), output_type="pt", **options)
    assert torch.allclose(first[3:], again, atol=1e-4)
    assert torch.allclose(again, stock(own, "a dog", 8, **options), atol=1e-4)


@pytest.mark.parametrize("scale", [float("nan"), float("inf"), "5", True])
def test_a_guidance_scale_that_is_no_number_is_refused(tiny, scale):
    with pytest.raises(PersoError, match="guidance_scale is"):
        generate(tiny, "a cat", num_inference_steps=1, guidance_scale=scale)


@pytest.mark.parametrize(
    "wrong",
    [
        {"seeds": 3},
        {"seeds": np.int64(3)},
        {"seeds": torch.tensor(3)},
        {"seeds": ()},
        {"seeds": (-1,)},
        {"seeds": (2**64,)},
        {"seeds": (0.5,)},
        {"seeds": (True,)},
        {"num_inference_steps": 0},
        {"num_inference_steps": 1001},
        {"num_inference_steps": 2.5},
        {"batch_size": 0},
        {"prompts": []},
    ],
)
def test_what_cannot_be_drawn_is_refused_in_a_sentence(tiny, wrong):
    with pytest.raises(PersoError, match=r"^[^\n]{20,200}$"):
        generate(tiny, **{"prompts": "a cat", "num_inference_steps": 1, **wrong})


def test_seeds_may_be_numbers_of_numpy_and_torch(tiny):
    options = {"num_inference_steps": 1, "output_type": "pt"}
    wanted = generate(tiny, "a cat", (2, 3), **options)
    for seeds in (np.arange(2, 4), torch.arange(2, 4), range(2, 4), [2, 3]):
        assert torch.equal(generate(tiny, "a cat", seeds, **options), wanted)


def test_a_picture_does_not_depend_on_its_neighbours(tiny):
    options = {"num_inference_steps": 3, "output_type": "pt"}
    together = generate(tiny, ["a cat", "a dog"], (1, 2), **options)
    one_by_one = generate(tiny, ["a cat", "a dog"], (1, 2), batch_size=1, **options)
    alone = generate(tiny, ["a dog"], (2,), **options)
    assert torch.allclose(together, one_by_one, atol=1e-4)
    assert torch.allclose(together[3:], alone, atol=1e-4)


def test_pictures_come_as_pil_by_default(tiny):
    (picture,) = generate(tiny, "a cat", num_inference_steps=1)
    assert picture.size == (32, 32)
    tensor = generate(tiny, "a cat", num_inference_steps=1, output_type="pt")[0]
    wanted = (tensor.permute(1, 2, 0).numpy() * 255).round()
    assert np.array_equal(np.asarray(picture), wanted.astype(np.uint8))


def test_seeds_leave_the_global_generator_alone(tiny):
    before = torch.get_rng_state()
    starting_noise(tiny, 5)
    generate(tiny, "a cat", num_inference_steps=1)
    assert torch.equal(torch.get_rng_state(), before)
