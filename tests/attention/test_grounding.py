"""Attention on painted pictures: the same as by hand, and where things are."""

import pytest
import torch

import perso_lite
from perso_lite.attention.grounding import (
    attention_against_mask,
    attention_on_noised,
    word_grounding,
)
from perso_lite.conditioning.words import encode_prompts
from perso_lite.errors import PersoError
from perso_lite.evaluation.prompts import single_toy_prompts


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
    maps = attention_on_noised(tiny, prompts, pictures, 300, seed=4, batch_size=2)
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
    little = attention_on_noised(tiny, "a cat", pictures, 10)
    much = attention_on_noised(tiny, "a cat", pictures, 900)
    assert not torch.allclose(little.word("cat", 1), much.word("cat", 1))


def test_words_are_scored_one_for_all_or_one_each(tiny):
    pictures = torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    maps = attention_on_noised(tiny, "a cat on beach", pictures, 300)
    masks = torch.zeros(3, 1, 32, 32)
    masks[:, :, :16] = 1
    same = word_grounding(maps, "cat", masks, layers="up")
    each = word_grounding(maps, ["cat", "beach", "cat"], masks, layers="up")
    assert torch.equal(same.inside[[0, 2]], each.inside[[0, 2]])
    assert same.inside[1] != each.inside[1]


def test_as_many_words_as_masks_are_needed(tiny):
    maps = attention_on_noised(tiny, "a cat", torch.rand(3, 3, 32, 32), 300)
    for words in (["cat"], ["cat"] * 4, []):
        with pytest.raises(PersoError, match=f"{len(words)} words but 3 masks"):
            word_grounding(maps, words, torch.ones(3, 1, 32, 32))


@pytest.mark.parametrize("timestep", [100, 800])
def test_the_class_word_finds_the_toy_best_at_8_px(base, timestep):
    prompts, class_words = single_toy_prompts(24)
    painted = [perso_lite.true_pictures(prompt, 1, seed=3) for prompt in prompts]
    pictures, masks = (torch.cat(parts) for parts in zip(*painted, strict=True))
    maps = attention_on_noised(base, prompts, pictures, timestep)
    sharp = word_grounding(maps, class_words, masks, layers=8).iou.mean()
    blunt = word_grounding(maps, class_words, masks).iou.mean()
    elsewhere = word_grounding(maps, class_words, masks.roll(1, 0), layers=8).iou.mean()
    assert sharp > 0.45
    assert sharp > blunt
    assert sharp > elsewhere  # than masks of other toys


def test_attention_scores_of_hand_made_maps():
    mask = torch.zeros(4, 1, 32, 32)
    mask[:, :, 8:24, 8:24] = 1  # cells 2 to 5 of an 8 x 8 map
    maps = torch.zeros(4, 8, 8)
    maps[0, 2:6, 2:6] = 0.3  # perfect
    maps[1, 2:6, 2:4] = 1  # the left half of it
    maps[2] = 1  # everywhere
    maps[3, :2] = 1  # elsewhere
    score = attention_against_mask(maps, mask)
    assert score.iou.tolist() == pytest.approx([1, 0.5, 0.25, 0])
    assert score.inside.tolist() == pytest.approx([1, 1, 0.25, 0])


def test_a_cell_belongs_to_the_concept_if_half_of_it_is_covered():
    mask = torch.zeros(2, 1, 16, 16)
    mask[0, :, :, :3] = 1  # one and a half of eight columns
    mask[1, 0, 0, :3] = 1  # the second cell is covered by a quarter
    maps = torch.zeros(2, 8, 8)
    maps[0, :, :2] = 1
    maps[1, 0, :2] = 1
    score = attention_against_mask(maps, mask)
    assert score.iou.tolist() == [1, 0.5]
    assert score.inside.tolist() == [1, 0.5]


def test_attention_below_half_its_maximum_leaks_but_is_off():
    mask = torch.zeros(1, 1, 8, 8)
    mask[..., :4] = 1
    attention = torch.full((1, 8, 8), 0.25)
    attention[..., :4] = 1
    score = attention_against_mask(attention, mask)
    assert score.iou.item() == 1
    assert score.inside.item() == pytest.approx(0.8)
    empty = attention_against_mask(torch.zeros(1, 8, 8), mask)
    assert (empty.iou.item(), empty.inside.item()) == (0, 0)
