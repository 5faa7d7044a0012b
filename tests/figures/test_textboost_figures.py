"""Figures of TextBoost: what is drawn is what was given."""

import numpy as np
import pytest
import torch
from diffusers import DDPMScheduler

from perso_lite import PersoError
from perso_lite.evaluation.tradeoff import interval
from perso_lite.figures.textboost import (
    show_drift,
    show_panels,
    show_parts,
    show_points,
    show_timesteps,
)

RESULTS = {
    "prior": {"seen": [torch.tensor([0.1, 0.3])], "unseen": [torch.tensor([0.2, 0.2])]},
    "arm 1": {"seen": [torch.tensor([0.4, 0.6])], "unseen": [torch.tensor([0.5, 0.3])]},
    "arm 2": {"seen": [torch.tensor([0.8, 0.8])], "unseen": [torch.tensor([0.6, 0.4])]},
}
NAMES = {"title": "a finding", "xlabel": "x", "ylabel": "y"}


def lines_of(axis):
    return {line.get_label(): line.get_xydata() for line in axis.get_lines()}


def test_the_caption_s_effect_is_relative_to_its_mean():
    alphas = DDPMScheduler(beta_schedule="scaled_linear").alphas_cumprod
    measured = {
        "noise": torch.tensor([1.0, 2, 3]),
        "picture": torch.tensor([3.0, 3, 3]),
    }
    figure = show_timesteps(alphas, [100, 500, 900], measured, title="a finding")
    (axis,) = figure.axes
    lines = lines_of(axis)
    assert np.allclose(lines["effect on noise"], [[100, 0.5], [500, 1], [900, 1.5]])
    assert np.allclose(lines["effect on picture"][:, 1], 1)
    p = lines["$p_t$, in parts of uniform"]
    assert len(p) == 1000 and p[0, 1] == 0
    assert p[:, 1].mean() == pytest.approx(1)


def test_drift_has_a_line_for_each_that_was_learned():
    drifts = {"with": torch.tensor([0.1, 0.2]), "without": torch.tensor([0.3, 0.4])}
    (axis,) = show_drift(drifts, title="a finding").axes
    lines = lines_of(axis)
    assert np.allclose(lines["without"], [[0, 0.3], [1, 0.4]])
    assert axis.get_title(loc="left") == "a finding" or axis.get_title() == "a finding"


def test_points_are_means_and_the_last_has_both_intervals():
    groups, marks = {"arm": ["arm 1", "arm 2"]}, {"class prior": "prior"}
    figure = show_points(RESULTS, groups, ("seen", "unseen"), marks=marks, **NAMES)
    (axis,) = figure.axes
    lines = lines_of(axis)
    assert np.allclose(lines["arm"], [[0.5, 0.4], [0.8, 0.5]])
    assert np.allclose(lines["class prior"], [[0.2, 0.2]])
    (container,) = axis.containers
    across, down = (bars.get_segments()[0] for bars in container.lines[2])
    assert np.allclose(across[:, 0], interval(RESULTS, "arm 2", "seen")[1:])
    assert np.allclose(down[:, 1], interval(RESULTS, "arm 2", "unseen")[1:])
    with pytest.raises(PersoError, match='"arm 1" has no score "drift"'):
        show_points(RESULTS, groups, ("seen", "drift"), **NAMES)


def test_panels_show_the_same_arms_by_each_score():
    arms = {"all parts": (0.5, 0.4, 0.6), "without one": (0.3, 0.2, 0.5)}
    panels = {"seen": arms, "unseen": dict.fromkeys(arms, (0, -1, 2))}
    figure = show_panels(panels, title="a finding", references={"seen": 0.25})
    left, right = figure.axes
    assert [t.get_text() for t in left.get_yticklabels()] == [*arms]
    (segment,) = left.containers[1].lines[2][0].get_segments()
    assert np.allclose(segment, [[0.2, 1], [0.5, 1]])
    assert [line.get_xdata()[0] for line in left.get_lines()][-1] == 0.25
    assert left.yaxis_inverted() and right.get_title() == "unseen"


def test_the_flow_chart_names_what_is_learned():
    (axis,) = show_parts("a finding").axes
    pink = [
        text.get_text()
        for text in axis.texts
        if text.get_bbox_patch()
        and text.get_bbox_patch().get_facecolor()[1] < 0.8
        and text.get_bbox_patch().get_facecolor()[0] == 1
    ]
    assert len(pink) == 2 and any("LoRA" in text for text in pink)
