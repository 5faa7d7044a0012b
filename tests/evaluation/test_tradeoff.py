import json

import pytest
import torch

from perso_lite import PersoError
from perso_lite.evaluation.tradeoff import (
    areas,
    curves_of,
    hypervolume,
    interval,
    load_results,
    place_of,
    undominated,
)


@pytest.fixture
def results(tmp_path):
    path = tmp_path / "tradeoff.json"
    points = {
        "low": {"instance": [[0.0, 0.2], [0.1, 0.3]], "prompt": [[1.0], [0.5]]},
        "high": {"instance": [[0.5, 0.7], [0.6, 0.8]], "prompt": [[0.5], [0.5]]},
    }
    path.write_text(json.dumps(points))
    return load_results(path)


def test_a_point_lies_where_its_mean_scores_are(results):
    assert place_of(results, "low") == pytest.approx((0.15, 0.75))
    assert all(isinstance(v, torch.Tensor) for v in results["low"]["instance"])


def test_the_scores_of_a_place_can_be_chosen(results):
    assert place_of(results, "low", ("prompt", "instance")) == pytest.approx(
        (0.75, 0.15)
    )
    with pytest.raises(PersoError, match='no score "clip_text"'):
        place_of(results, "low", ("instance", "clip_text"))


def test_points_with_a_number_are_curves():
    points = ["oracle", "gate 0.65", "old_word 50", "gate 0.5", "old_word 250"]
    curves = curves_of({point: {} for point in points})
    assert curves == {
        "gate": ["gate 0.65", "gate 0.5"],
        "old word": ["old_word 50", "old_word 250"],
    }


def test_a_gain_is_taken_picture_by_picture(results):
    mean, low, high = interval(results, "high", "instance", over="low")
    assert (mean, low, high) == pytest.approx((0.5, 0.5, 0.5))  # the same for every one
    mean, low, high = interval(results, "high", "instance")
    assert low < mean < high


def test_unknown_points_and_scores_are_named(results, tmp_path):
    with pytest.raises(PersoError, match=r'"middle" has no score.*low, high'):
        interval(results, "middle", "instance")
    with pytest.raises(PersoError, match=r'"low" has no score "leaked".*none'):
        interval(results, "low", "leaked")
    with pytest.raises(PersoError, match="evaluate tradeoff"):
        load_results(tmp_path / "nowhere.json")


def test_the_hypervolume_is_the_area_of_the_stairs():
    assert hypervolume([(2, 1), (1, 2)], (0, 0)) == pytest.approx(3)
    assert hypervolume([(1, 2), (2, 1), (0.5, 0.5)], (0, 0)) == pytest.approx(3)
    assert hypervolume([(2, 1), (1, 2)], (1, 0)) == pytest.approx(1)
    assert hypervolume([(0, 3), (3, 0)], (0, 0)) == 0


def test_areas_are_taken_toy_by_toy(results):
    # the first toy goes from 0.1 to 0.6, the second from 0.2 to 0.7
    assert areas(results, ["high"], "low", 0.3).tolist() == pytest.approx([0.1, 0.1])
    assert areas(results, ["low"], "low").tolist() == [0, 0]
    both = areas(results, ["low", "high"], "low", 0.4)
    assert both.tolist() == pytest.approx([0.05, 0.05])
    with pytest.raises(PersoError, match='"class prior" has no score'):
        areas(results, ["high"])


def test_a_point_is_dominated_by_one_as_far_right_and_higher():
    places = {"a": (1, 1), "b": (1, 2), "c": (2, 0), "d": (0, 2), "e": (2, 0)}
    assert undominated(places) == ["b", "c", "e"]
