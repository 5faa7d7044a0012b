"""What is timed beside ours computes the same, and trains what it should."""

import pytest
import torch
from before_and_after import disturbed
from public_loops import (
    edited_alone,
    neti_loop,
    perfusion_loop,
    read_layer_by_layer,
    textual_inversion_loop,
)
from tiny_pipeline import weights_hash

from perso_lite import METHODS, NeTI, Perfusion, encode_prompts

CAPTIONS = ["a <toy> on a beach", "a photo of a <toy>"]
TIMESTEPS = torch.tensor([100, 700])


def predicted(base, states):
    latents = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    return base.unet(latents, TIMESTEPS, states).sample


@torch.no_grad()
def test_a_call_for_each_layer_gives_what_ours_does(tiny):
    method = disturbed(NeTI(tiny, "teddy", "<toy>"), 0.1)
    with method.attach(tiny):
        ours = predicted(tiny, encode_prompts(tiny, CAPTIONS))
    with read_layer_by_layer(method, CAPTIONS, TIMESTEPS) as states:
        assert torch.allclose(predicted(tiny, states), ours, atol=1e-5)
        assert not torch.allclose(states[0], states[1], atol=1e-3)


@torch.no_grad()
def test_edits_made_one_by_one_give_what_ours_does(tiny, covariance):
    options = {"target_positions": 24, "covariance": covariance}
    method = disturbed(Perfusion(tiny, "teddy", "<toy>", **options), 0.1)
    method.beta, method.tau = method.training_beta, method.training_tau
    with method.attach(tiny):
        ours = predicted(tiny, encode_prompts(tiny, CAPTIONS))
    with edited_alone(method):
        states = encode_prompts(tiny, CAPTIONS)
        assert torch.allclose(predicted(tiny, states), ours, atol=1e-5)
    assert not torch.allclose(predicted(tiny, states), ours, atol=1e-3)


@pytest.mark.parametrize(
    ("name", "loop", "learned"),
    [
        ("textual_inversion", textual_inversion_loop, None),  # in a copy of the base
        ("neti", neti_loop, "mapper.output.weight"),
        ("perfusion", perfusion_loop, "target_values"),
    ],
)
def test_a_step_trains_and_leaves_the_base(
    tiny, concept, covariance, name, loop, learned
):
    options = {}
    if name == "perfusion":
        options = {"covariance": covariance, "target_positions": 24}
    before = weights_hash(tiny)
    method = METHODS[name](tiny, "teddy", "<toy>", **options)
    start = {key: value.clone() for key, value in method.state_dict().items()}
    loop(method, concept, 2)()
    moved = [k for k, v in method.state_dict().items() if not torch.equal(v, start[k])]
    assert learned is None or learned in moved
    assert weights_hash(tiny) == before
