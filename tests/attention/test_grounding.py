"""Attention on painted pictures: the same as by hand, and where things are."""

import pytest
import torch

import perso_lite
from perso_lite.attention.grounding import noised_maps, single_toy_prompts, word_overlap
from perso_lite.conditioning.tokens import encode_prompts


def test_prompts_show_one_toy_and_name_it():
    prompts, class_words = single_toy_prompts(37)
    assert len(prompts) == len(class_words) == len(set(prompts)) == 37
    for prompt, class_word in zip(prompts, class_words, strict=True):
        assert class_word in prompt.split()
        assert " and " not in prompt
        assert " next to " not in prompt


def test_maps_are_those_of_the_noised_pictures(tiny):
    pictures = torch.rand(5, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    prompts = ["a cat", "a dog on beach", "a cat in snow", "a hat", "a teddy"]
    maps = noised_maps(tiny, prompts, pictures, 300, seed=4, batch_size=2)
    with torch.no_grad():
        latents = tiny.vae.encode(pictures * 2 - 1).latent_dist.mode()
        latents = latents * tiny.vae.config.scaling_factor
        noise = torch.randn(latents.shape, generator=torch.Generator().manual_seed(4))
        noisy = tiny.scheduler.add_noise(latents, noise, torch.tensor([300]))
        with perso_lite.record_attention(tiny, prompts=prompts[1]) as alone:
            states = encode_prompts(tiny, prompts[1:2])
            tiny.unet(noisy[1:2], 300, encoder_hidden_states=states)
    assert len(maps) == 5
    torch.testing.assert_close(
        maps.word("dog", 1), alone.word("dog"), rtol=1e-4, atol=1e-6
    )


def test_one_prompt_stands_for_all_pictures_and_noise_matters(tiny):
    pictures = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    little = noised_maps(tiny, "a cat", pictures, 10)
    much = noised_maps(tiny, "a cat", pictures, 900)
    assert not torch.allclose(little.word("cat", 1), much.word("cat", 1))


def test_words_are_scored_one_for_all_or_one_each(tiny):
    pictures = torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    maps = noised_maps(tiny, "a cat on beach", pictures, 300)
    masks = torch.zeros(3, 1, 32, 32)
    masks[:, :, :16] = 1
    same = word_overlap(maps, "cat", masks, layers="up")
    each = word_overlap(maps, ["cat", "beach", "cat"], masks, layers="up")
    assert torch.equal(same.inside[[0, 2]], each.inside[[0, 2]])
    assert same.inside[1] != each.inside[1]


@pytest.mark.parametrize("timestep", [100, 800])
def test_the_class_word_finds_the_toy_best_at_8_px(base, timestep):
    prompts, class_words = single_toy_prompts(24)
    painted = [perso_lite.true_pictures(prompt, 1, seed=3) for prompt in prompts]
    pictures, masks = (torch.cat(parts) for parts in zip(*painted, strict=True))
    maps = noised_maps(base, prompts, pictures, timestep)
    sharp = word_overlap(maps, class_words, masks, layers=8).iou.mean()
    blunt = word_overlap(maps, class_words, masks).iou.mean()
    elsewhere = word_overlap(maps, class_words, masks.roll(1, 0), layers=8).iou.mean()
    assert sharp > 0.45
    assert sharp > blunt
    assert sharp > elsewhere  # than masks of other toys
