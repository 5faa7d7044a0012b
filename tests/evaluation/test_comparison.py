import json

import jsonschema
import pytest
import torch

from perso_lite import PersoError
from perso_lite.evaluation.comparison import (
    Cost,
    cost_table,
    fidelity_over_steps,
    steps_to,
)
from perso_lite.files import DATA_FOLDER

RESULTS = DATA_FOLDER / "results"
SCHEMA = json.loads((RESULTS / "schema.json").read_text())
COST = Cost(1234, 4936, (1.1, 1.0, 1.2), 0.5, (1.02, 1.0, 1.04), 1500.0)


@pytest.mark.parametrize(
    "name", ["tradeoff", "neti", "catversion", "textboost", "celeb", "more_toys"]
)
def test_shipped_results_are_what_the_schema_says(name):
    jsonschema.validate(json.loads((RESULTS / f"{name}.json").read_text()), SCHEMA)


@pytest.mark.parametrize(
    "wrong", [{}, {"mine 200": {}}, {"mine 200": {"instance": [0.5]}}, [1]]
)
def test_other_files_break_the_schema(wrong):
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(wrong, SCHEMA)


def test_a_curve_begins_at_the_class_prior():
    toys = {"class prior": [0.0, 0.2], "mine 50": [0.2, 0.4], "mine 200": [0.5, 0.7]}
    results = {
        point: {"instance": [torch.tensor([value]) for value in values]}
        for point, values in toys.items()
    }
    found = fidelity_over_steps(results, ["mine 50", "mine 200"])
    assert list(found) == [0, 50, 200]
    assert list(found.values()) == pytest.approx([0.1, 0.3, 0.6])
    assert fidelity_over_steps(results, {50: "mine 50", 200: "mine 200"}) == found


def test_the_share_of_the_way_is_found_between_points():
    curve = {0: 0.1, 50: 0.5, 100: 1.1}
    assert steps_to(curve, 0.4) == pytest.approx(50)
    assert steps_to(curve, 0.9) == pytest.approx(50 + 50 * 0.5 / 0.6)
    assert steps_to(curve, 1.0) == pytest.approx(100)
    assert steps_to({0: 0.0, 50: 1.2, 100: 1.0}, 0.9) == pytest.approx(37.5)


@pytest.mark.parametrize("curve", [{0: 0.1}, {0: 0.5, 100: 0.4}])
def test_a_curve_that_does_not_rise_is_refused(curve):
    with pytest.raises(PersoError, match="has to rise"):
        steps_to(curve)


def test_the_table_has_seconds_where_a_curve_was_measured():
    table = cost_table({"my_method": COST, "other": COST}, {"my_method": 80.0})
    first, second = table.splitlines()[2:]
    assert first.startswith(
        "| my method | 1,234 | 4,936 | 1.10 [1.00, 1.20] | 80, 40 s"
    )
    assert "| 1.10 [1.00, 1.20] |  | 1.02 [1.00, 1.04] | 1,500 MB |" in second
