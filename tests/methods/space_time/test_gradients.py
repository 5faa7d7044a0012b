"""The gradient for each layer's vector, at a chosen timestep."""

import torch

from perso_lite import XTI
from perso_lite.methods.space_time.analysis import layer_gradients


def test_a_gradient_for_each_timestep_and_layer_twice(tiny, concept):
    word = XTI(tiny, "teddy")
    gradients = layer_gradients(word, concept, (100, 900), batch_size=3)
    assert gradients.shape == (2, 2, *word.table.shape)
    assert gradients.isfinite().all()
    assert (gradients.norm(dim=-1) > 0).all()  # every layer has its own
    first, second = gradients
    assert not torch.equal(first, second)  # other pictures, other noise
    assert word.table.grad is None  # nothing is left behind


def test_gradients_depend_on_the_timestep_that_was_asked_for(tiny, concept):
    word = XTI(tiny, "teddy")
    early, late = (layer_gradients(word, concept, (t,), 3) for t in (50, 950))
    again = layer_gradients(word, concept, (50,), 3)
    assert torch.equal(early, again)
    assert not torch.allclose(early, late)


def test_a_vector_for_all_layers_gets_the_sum_of_their_gradients(tiny, concept):
    each = layer_gradients(XTI(tiny, "teddy"), concept, (100, 900), 3)
    shared = layer_gradients(XTI(tiny, "teddy", shared=True), concept, (100, 900), 3)
    assert torch.allclose(each.sum(2, keepdim=True), shared, rtol=1e-3, atol=1e-7)
