"""The panel of a text encoder's LoRA: what is drawn, and what stays as it was."""

import numpy as np
import pytest
import torch
from before_and_after import changes, disturbed, snapshot_of
from panel_helpers import pictures_after

from perso_lite import PersoError, TextBoost, encode_prompts, generate
from perso_lite.teaching import panels
from perso_lite.teaching.method_panels.textboost import (
    draw_text_lora,
    text_lora_explorer,
    with_token,
)
from perso_lite.teaching.panel import to_png

PROMPT = "a <toy> on a beach"
QUICK = {"num_inference_steps": 1, "guidance_scale": 2.0}
SAMPLING = (1, 2.0)


@pytest.fixture
def checkpoints(tiny):
    """The same concept, as if it was learned in two ways."""
    kept = disturbed(TextBoost(tiny, "teddy", num_augmentations=2), 0.2, 0)
    free = disturbed(TextBoost(tiny, "teddy", num_augmentations=2), 0.5, 1)
    return {"kept": kept, "not kept": free}


def drawn_by(base, method, prompts, scale=1.0):
    method.lora_scale = scale
    with method.attach(base):
        pictures = generate(base, prompts, (0,), *SAMPLING)
    method.lora_scale = 1.0
    return [np.asarray(picture) for picture in pictures]


def test_both_prompts_are_drawn_with_lora_and_the_bars_are_the_drift(tiny, checkpoints):
    method, before = checkpoints["kept"], snapshot_of(tiny)
    figure = draw_text_lora(tiny, checkpoints, SAMPLING, PROMPT, "kept", 0.5, "none", 0)
    shown = [i.get_array() for axes in figure.axes for i in axes.images]
    plain = "a teddy on a beach"
    wanted = drawn_by(tiny, method, [PROMPT, plain], 0.5)
    assert all(np.array_equal(a, b) for a, b in zip(shown, wanted, strict=True))
    known = encode_prompts(tiny, [plain])[0]
    method.lora_scale = 0.5
    with torch.no_grad(), method.attach(tiny):
        now = encode_prompts(tiny, [plain])[0]
    method.lora_scale = 1.0
    drift = 1 - torch.nn.functional.cosine_similarity(now, known, dim=-1)
    (chart,) = (axes for axes in figure.axes if not axes.images)
    heights = [bar.get_height() for bar in chart.patches]
    assert np.allclose(heights, drift.detach().numpy(), atol=1e-5)
    assert f"{drift.mean():.3f}" in figure.get_suptitle()
    assert changes(tiny, before) == []
    assert to_png(figure).startswith(b"\x89PNG")


def test_a_token_is_said_to_the_word_alone_and_where_training_says_it(
    tiny, checkpoints
):
    method = checkpoints["kept"]
    said = {name: with_token(method, "a <toy>", name) for name in ("vflip", "left")}
    assert said == {"vflip": "<toy-vflip> a <toy>", "left": "a <toy> <toy-left>"}
    figures = [
        draw_text_lora(tiny, checkpoints, SAMPLING, PROMPT, "kept", 1.0, token, 0)
        for token in ("none", "vflip")
    ]
    plain, flipped = (
        [i.get_array() for axes in figure.axes for i in axes.images]
        for figure in figures
    )
    assert not np.array_equal(plain[0], flipped[0])
    assert np.array_equal(plain[1], flipped[1])
    silent = TextBoost(tiny, "teddy", augmentation="silent")
    with pytest.raises(PersoError, match='no token for "vflip"; it has: none'):
        with_token(silent, PROMPT, "vflip")


def test_every_control_changes_the_picture(tiny, checkpoints):
    panel = text_lora_explorer(tiny, checkpoints, PROMPT, **QUICK)
    assert repr(panel) == (
        f"Panel(prompt={PROMPT!r}, checkpoint='kept', lora_scale=1.0, token='none', "
        "seed=0)"
    )
    changed = {"checkpoint": "not kept", "lora_scale": 0.5, "token": "crop", "seed": 2}
    seen = pictures_after(panel, {**changed, "prompt": "a <toy> on snow"})
    assert len(set(seen)) == 6
    assert {m.lora_scale for m in checkpoints.values()} == {1.0}


def test_checkpoints_are_of_one_concept(tiny, checkpoints):
    other = TextBoost(tiny, "teddy", "<pet>")
    for given, said in (
        ({**checkpoints, "other": other}, "<pet>, <toy>"),
        ({}, "none"),
    ):
        with pytest.raises(PersoError, match=rf"concepts \({said}\)"):
            text_lora_explorer(tiny, given, **QUICK)


def test_panels_offers_it():
    assert "text_lora_explorer" in panels.__all__
    assert panels.text_lora_explorer is text_lora_explorer
