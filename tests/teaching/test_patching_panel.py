"""The patching panel: with nothing patched it is A, with everything it is B."""

import numpy as np
import pytest
import torch
from panel_helpers import pictures_after
from tiny_pipeline import weights_hash

from perso_lite import PersoError, generate
from perso_lite.attention.swap import inject_prompts, swap_keys_values
from perso_lite.methods.textual_inversion import TextualInversion
from perso_lite.teaching import panels, patching_panel
from perso_lite.teaching.patching_panel import patchable_layers, prompt_patching

A, B = "a cat wearing a hat on a beach", "a dog in the snow"
STEPS, SAMPLING = 3, (3, 5.0)
QUICK = {"num_inference_steps": STEPS, "seeds": (2, 3)}


def drawn(base, prompt, seed=2):
    return generate(base, prompt, (seed,), *SAMPLING)[0]


def same(one, other):
    return np.array_equal(np.asarray(one), np.asarray(other))


@pytest.fixture
def shown(monkeypatch):
    """Row and title of each figure, as it was drawn."""
    seen, draw = [], patching_panel.contact_sheet

    def noting(rows, title, **options):
        seen.append((rows[0], title))
        return draw(rows, title, **options)

    monkeypatch.setattr(patching_panel, "contact_sheet", noting)
    return seen


def test_patched_everywhere_it_is_b_and_nowhere_it_is_a(tiny, shown):
    panel = prompt_patching(tiny, A, B, **QUICK)
    one, patched, other = shown[-1][0].images
    assert same(one, drawn(tiny, A)) and same(other, drawn(tiny, B))
    assert same(patched, other) and not same(one, other)
    panel.controls["steps"].value = (1, 1)
    assert panel.error is None
    one, patched, other = shown[-1][0].images
    assert same(patched, one) and not same(patched, other)
    assert "nothing" in shown[-1][0].label


@pytest.mark.parametrize(
    ("layers", "steps", "which"),
    [
        ("4 px", (0, 3), (4, None)),
        ("layer 6 (mid, 1 px)", (0, 2), ((6,), (0, 2))),
        ("all", (2, 3), (None, (2, 3))),
    ],
)
def test_the_chosen_layers_read_b_in_the_chosen_steps(
    tiny, shown, layers, steps, which
):
    panel = prompt_patching(tiny, A, B, **QUICK)
    panel.controls["layers"].value = layers
    panel.controls["steps"].value = steps
    assert panel.error is None
    one, patched, other = shown[-1][0].images
    with inject_prompts(tiny, {which: B}):
        assert same(patched, drawn(tiny, A))
    assert not same(patched, one) and not same(patched, other)


@pytest.mark.parametrize("taken", ["keys", "values"])
def test_keys_or_values_alone_come_from_b(tiny, shown, taken):
    panel = prompt_patching(tiny, A, B, **QUICK)
    panel.controls["from_B"].value = taken
    with swap_keys_values(tiny, **{taken: B}):
        assert same(shown[-1][0].images[1], drawn(tiny, A))


def test_all_three_start_from_the_same_noise(tiny, shown):
    prompt_patching(tiny, A, A, **QUICK)
    one, patched, other = shown[-1][0].images
    assert same(one, patched) and same(one, other)


def test_every_control_changes_the_picture(tiny):
    panel = prompt_patching(tiny, A, B, **QUICK)
    assert repr(panel) == (
        f"Panel(prompt_A={A!r}, prompt_B={B!r}, from_B='keys and values', "
        "layers='all', steps=(0, 3), seed=2)"
    )
    changes = {"layers": "8 px", "steps": (0, 2), "from_B": "keys", "seed": 3}
    changes |= {"prompt_A": "a teddy", "prompt_B": "a hat"}
    assert len(set(pictures_after(panel, changes))) == 7


def test_the_label_says_what_was_patched(tiny, shown):
    panel = prompt_patching(tiny, A, B, **QUICK)
    assert shown[-1][1] == f'A "{A}", B "{B}"'
    assert shown[-1][0].titles == ["A", "A, patched with B", "B"]
    for changes, label in [
        ({}, "keys and values to all layers in steps 0 to 2"),
        ({"layers": "4 px", "from_B": "keys"}, "keys to 4 px layers in steps 0 to 2"),
        ({"steps": (1, 2)}, "keys to 4 px layers in step 1"),
        ({"layers": "layer 6 (mid, 1 px)"}, "keys to layer 6 (mid, 1 px) in step 1"),
    ]:
        pictures_after(panel, changes)
        assert shown[-1][0].label == f"B gives {label}, seed 2"


def test_layers_are_those_of_the_explorer_by_size_and_alone(tiny):
    labels = list(patchable_layers(tiny))
    assert labels[:6] == ["all", "8 px", "4 px", "2 px", "1 px", "layer 0 (down, 8 px)"]
    assert len(labels) == 5 + 16
    panel = prompt_patching(tiny, A, B, seeds=[0], num_inference_steps=1)
    assert panel.controls["layers"].options == tuple(labels)


def test_one_prompt_alone_is_drawn_once_while_the_patch_changes(tiny, monkeypatch):
    calls = []

    def counting(base, prompt, *args):
        calls.append(prompt)
        return generate(base, prompt, *args)

    monkeypatch.setattr(patching_panel, "generate", counting)
    panel = prompt_patching(tiny, A, B, **QUICK)
    assert calls == [A, B, A]
    panel.controls["layers"].value = "4 px"
    panel.controls["steps"].value = (0, 1)
    assert calls == [A, B, A, A, A]


def test_learned_words_can_be_patched_in_and_training_is_noticed(tiny, shown):
    method = TextualInversion(tiny, "teddy", "<toy>")
    panel = prompt_patching(tiny, "a teddy", "a <toy>", method, **QUICK)
    assert same(shown[-1][0].images[0], shown[-1][0].images[2])  # starts as its class
    with torch.no_grad():
        method.vectors += torch.linspace(-2, 2, 32)
    panel.refresh()
    assert panel.error is None
    one, patched, other = shown[-1][0].images
    assert same(patched, other) and not same(one, other)
    with method.attach(tiny):
        assert same(other, drawn(tiny, "a <toy>"))


def test_the_base_is_left_bit_identical(tiny):
    method = TextualInversion(tiny, "teddy", "<toy>")

    def state():
        hooks = [m for m in tiny.unet.modules() if m._forward_pre_hooks]
        return weights_hash(tiny), len(tiny.tokenizer), len(hooks)

    before, picture = state(), drawn(tiny, A)
    panel = prompt_patching(tiny, A, "a <toy>", method, **QUICK)
    panel.controls["layers"].value = "4 px"
    panel.controls["prompt_B"].value = "a hat and " * 12 + "a <toy>"
    assert isinstance(panel.error, PersoError)
    assert state() == before and "encode_prompt" not in vars(tiny)
    assert same(drawn(tiny, A), picture)


def test_an_error_becomes_a_picture_and_the_panel_works_on(tiny):
    method = TextualInversion(tiny, "teddy", "<toy>")
    panel = prompt_patching(tiny, A, "a <toy>", method, **QUICK)
    fine = panel.picture.value
    panel.controls["prompt_A"].value = "a hat and " * 12 + "a <toy>"
    assert "<toy> is cut off" in str(panel.error)
    assert panel.picture.value != fine
    panel.controls["prompt_A"].value = A
    assert panel.error is None and panel.picture.value == fine


def test_it_is_among_the_panels():
    assert panels.prompt_patching is prompt_patching
    assert "prompt_patching" in panels.__all__
