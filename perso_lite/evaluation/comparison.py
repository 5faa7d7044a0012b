"""All methods side by side: how soon each has learned, and what it costs.

`data/results/cost.json` holds what `tests/benchmarks/method_cost.py` measured, and the
other results hold what was drawn; `data/results/schema.json` says what a file of
results is, so that runs of others can be drawn beside ours.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from perso_lite.errors import PersoError
from perso_lite.evaluation.tradeoff import Results, interval
from perso_lite.files import DATA_FOLDER
from perso_lite.files.reading import read_json

COST = DATA_FOLDER / "results" / "cost.json"


@dataclass(frozen=True)
class Cost:
    """What a method costs.

    Attributes:
        numbers: that are kept of a concept.
        bytes: of them.
        step: a training step, in times of the bare U-Net's: mean and interval.
        step_seconds: the same in seconds, on the machine of the measurement.
        drawn_step: a drawn step, in times of one with nothing attached.
        memory_mb: the most that a process held while it learned.
    """

    numbers: int
    bytes: int
    step: Sequence[float]
    step_seconds: float
    drawn_step: Sequence[float]
    memory_mb: float


def load_costs() -> dict[str, Cost]:
    """The shipped costs, by the method's name in files."""
    methods: dict[str, dict[str, Any]] = read_json(COST, dict)["methods"]
    return {name: Cost(**of) for name, of in methods.items()}


def fidelity_over_steps(
    results: Results,
    lengths: Sequence[str] | Mapping[int, str],
    score: str = "instance",
) -> dict[int, float]:
    """A score after so many training steps, from the class prior at step 0.

    Args:
        results: from `load_results`.
        lengths: points of one method, whose names end with their training steps; or
            points of any names by their training steps.
        score: its name.

    Raises:
        PersoError: a point has no such score.
    """
    if not isinstance(lengths, Mapping):
        lengths = {int(point.rpartition(" ")[2]): point for point in lengths}
    after = {0: "class prior", **lengths}
    return {k: interval(results, point, score)[0] for k, point in after.items()}


def steps_to(curve: Mapping[int, float], share: float = 0.9) -> float:
    """After how many steps a curve has made this share of all its way.

    Args:
        curve: a score by training steps, in their order; straight between them.
        share: of the way from the first score to the last.

    Raises:
        PersoError: fewer than two points, or a curve that does not rise.
    """
    steps, values = list(curve), list(curve.values())
    if len(steps) < 2 or values[-1] <= values[0]:
        raise PersoError(
            "A curve needs two points and has to rise, otherwise there is no share of "
            "its way: score the method after several numbers of training steps."
        )
    wanted = values[0] + share * (values[-1] - values[0])
    for i in range(1, len(steps)):
        if values[i] >= wanted:
            part = (wanted - values[i - 1]) / (values[i] - values[i - 1])
            return steps[i - 1] + part * (steps[i] - steps[i - 1])
    return float(steps[-1])


def cost_table(costs: Mapping[str, Cost], reached: Mapping[str, float]) -> str:
    """The costs as a table in Markdown.

    Args:
        costs: by the method's name.
        reached: for some methods, after how many steps they have 90 % of their way.
    """
    rows = [
        "| method | numbers | bytes | a training step | steps, and seconds, to 90 % "
        "| a drawn step | memory |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, cost in costs.items():
        soon = ""
        if name in reached:
            seconds = reached[name] * cost.step_seconds
            soon = f"{reached[name]:.0f}, {seconds:.0f} s"
        rows.append(
            f"| {name.replace('_', ' ')} | {cost.numbers:,} | {cost.bytes:,} "
            f"| {_ratio(cost.step)} | {soon} | {_ratio(cost.drawn_step)} "
            f"| {cost.memory_mb:,.0f} MB |"
        )
    return "\n".join(rows)


def _ratio(of: Sequence[float]) -> str:
    mean, low, high = of
    return f"{mean:.2f} [{low:.2f}, {high:.2f}]"
