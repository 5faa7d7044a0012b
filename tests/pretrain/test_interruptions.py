"""Ctrl-C at any line of a training step: a step is counted if it was taken."""

from pathlib import Path

import pytest
import torch
from accelerate import Accelerator
from interrupted_lines import InterruptedLines
from torch import nn

from perso_lite.errors import PersoError
from perso_lite.pretrain import loop, settings
from perso_lite.pretrain.loop import Stage, last_state, read_state, train
from perso_lite.pretrain.settings import Budget

TRACED = (loop.__file__, settings.__file__)
STEPS = 3


def stage_of(steps: int, sample=None) -> Stage:
    """Fits one matrix to targets that the step draws."""
    torch.manual_seed(0)
    model = nn.Linear(4, 4)

    def loss(modules, step):
        x = torch.randn(8, 4, generator=torch.Generator().manual_seed(step))
        return (modules["model"](x) - x.flip(1)).pow(2).mean()

    return Stage("toy", {"model": model}, loss, Budget(steps), {"model": 1e-2},
                 sample=sample, average=0.9, warm_up=1)  # fmt: skip


def run(folder: Path, at=None, **often) -> int:
    """Train, perhaps interrupted; returns how many lines ran."""
    folder.mkdir()
    stage = stage_of(STEPS, sample=lambda step: None)
    with InterruptedLines(TRACED, at) as events:
        train(stage, folder, Accelerator(cpu=True), **often)
    return events.count


@pytest.fixture(scope="module")
def after(tmp_path_factory):
    """The weights and their averages after 0, 1, ... steps without interruption."""
    found = {}
    folder = tmp_path_factory.mktemp("undisturbed")
    accelerator = Accelerator(cpu=True)
    stage = stage_of(STEPS)
    state = last_state(stage, folder / "toy.pt", accelerator.device)
    modules = {k: accelerator.prepare(m) for k, m in stage.modules.items()}
    state.optimizer = accelerator.prepare(state.optimizer)
    for step in range(STEPS + 1):
        loop.save_state(stage, state, folder / "toy.pt")
        found[step] = read_state(folder / "toy.pt")
        if step < STEPS:
            loop.take_step(stage, state, modules, accelerator)
    return found


@pytest.mark.parametrize("often", [{}, {"save_minutes": -1, "sample_minutes": -1}])
def test_what_is_saved_is_counted_at_every_line(tmp_path, after, often):
    lines = run(tmp_path / "whole", **often)
    assert lines > 30
    saved_steps = set()
    for at in range(lines):
        folder = tmp_path / str(at)
        with pytest.raises(KeyboardInterrupt):
            run(folder, at, **often)
        if not (folder / "toy.pt").exists():
            continue
        saved = read_state(folder / "toy.pt")
        expected = after[saved["step"]]
        saved_steps.add(saved["step"])
        for name, weight in expected["modules"]["model"].items():
            assert torch.equal(saved["modules"]["model"][name], weight), at
        for one, other in zip(
            saved["average"]["shadow_params"],
            expected["average"]["shadow_params"],
            strict=True,
        ):
            assert torch.equal(one, other), at
        moments = saved["optimizer"]["state"]
        assert all(int(m["step"]) == saved["step"] for m in moments.values()), at
    assert saved_steps == set(range(STEPS + 1))


@pytest.mark.parametrize("content", [b"", b"no checkpoint", "list", "of another stage"])
def test_a_damaged_checkpoint_is_named(tmp_path, content):
    path = tmp_path / "toy.pt"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        torch.save([1] if content == "list" else {"modules": {"model": {}}}, path)
    with pytest.raises(PersoError, match=r"toy\.pt"):
        train(stage_of(1), tmp_path, Accelerator(cpu=True))
