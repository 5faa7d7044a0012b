"""The tables of judged metrics show the numbers they were given."""

import matplotlib.pyplot as plt
import pytest
import torch

from perso_lite import PersoError
from perso_lite.figures.judging import show_choices, show_taus

RESULTS = {
    "choice: another class": {
        "good": [torch.ones(4), torch.ones(4)],
        "bad": [torch.zeros(4), torch.tensor([1.0, 0.0, 1.0, 0.0])],
    },
    "tau: fixed scene": {"good": [torch.full((2,), 0.75), torch.full((1,), 0.75)]},
}


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def words(axis):
    return [text.get_text() for text in axis.texts]


def test_choices_are_percentages_with_intervals():
    axis = show_choices(RESULTS, title="found").axes[0]
    assert axis.images[0].get_array().tolist() == [[1.0], [0.25]]
    assert words(axis)[:3] == ["100 %", "100 to 100 %", "25 %"]
    assert [label.get_text() for label in axis.get_yticklabels()] == ["good", "bad"]
    assert [t.get_text() for t in axis.get_xticklabels()] == ["another class"]
    assert axis.get_title(loc="left") + axis.get_title() == "found"


def test_taus_are_numbers():
    axis = show_taus(RESULTS, title="found").axes[0]
    assert words(axis) == ["0.75", "0.75 to 0.75"]
    assert axis.images[0].get_clim() == (-1, 1)


def test_other_results_are_refused():
    with pytest.raises(PersoError, match="evaluate judges"):
        show_choices({"oracle": {}}, title="")
