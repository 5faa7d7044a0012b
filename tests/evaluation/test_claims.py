import ast
import json
import re
from pathlib import Path

import pytest

from perso_lite import PersoError
from perso_lite.commands.evaluate import MEASUREMENTS
from perso_lite.commands.evaluations import claims as command
from perso_lite.evaluation.claims import CLAIMS, shipped
from perso_lite.evaluation.claims.claim import (
    Claim,
    Counted,
    Measured,
    Proven,
    claims_table,
    together,
)
from perso_lite.evaluation.tradeoff import RESULTS, load_results

ROOT = Path(__file__).parents[2]
BY_NUMBER = {claim.number: claim for claim in CLAIMS}


def cells_of(name):
    return json.loads((ROOT / "notebooks" / f"{name}.ipynb").read_text())["cells"]


def test_all_claims_of_five_papers_are_there_in_order():
    counts = {"P": 5, "N": 5, "C": 4, "B": 4, "T": 5}
    numbers = [f"{letter}{i + 1}" for letter, n in counts.items() for i in range(n)]
    assert [claim.number for claim in CLAIMS] == numbers


@pytest.mark.parametrize("claim", CLAIMS, ids=BY_NUMBER)
def test_a_claim_names_the_notebook_that_discusses_it(claim):
    prose = "".join(
        "".join(cell["source"])
        for cell in cells_of(claim.notebook)
        if cell["cell_type"] == "markdown"
    )
    assert f"**{claim.number}" in prose


@pytest.mark.parametrize("claim", CLAIMS, ids=BY_NUMBER)
def test_a_claim_names_a_command_that_exists(claim):
    program, *rest = claim.command.split()
    if rest[:3] == ["-m", "perso_lite", "evaluate"]:
        assert rest[3] in MEASUREMENTS and len(rest) == 4
    else:
        assert program in ("pytest", "python") and (ROOT / rest[0]).is_file()


@pytest.mark.parametrize("claim", CLAIMS, ids=BY_NUMBER)
def test_what_is_proven_is_tested_under_that_name(claim):
    for finding in claim.findings:
        if isinstance(finding, Proven):
            file, name = finding.test.split("::")
            tree = ast.parse((ROOT / file).read_text())
            assert name in [node.name for node in tree.body if hasattr(node, "name")]
            assert claim.command == f"pytest {file}"


@pytest.mark.parametrize("claim", CLAIMS, ids=BY_NUMBER)
def test_the_notebook_shows_the_same_numbers(claim):
    printed = "".join(
        "".join(output.get("text", ""))
        for cell in cells_of(claim.notebook)
        for output in cell.get("outputs", ())
    )
    for finding in claim.findings:
        if isinstance(finding, Measured):
            interval = finding.found()[0].split(", n =")[0]
            assert interval in printed, finding.text


def test_the_table_has_a_row_per_claim_and_no_number_of_its_own():
    table = claims_table(CLAIMS).splitlines()
    assert len(table) == 2 + len(CLAIMS)
    for row, claim in zip(table[2:], CLAIMS, strict=True):
        assert row.count(" | ") == 5 and f"**{claim.verdict}**" in row
        assert all(finding.found()[0] in row for finding in claim.findings)


def test_the_command_prints_the_table(capsys):
    command.main([])
    assert capsys.readouterr().out == claims_table(CLAIMS) + "\n"


def finding(interval, **bound):
    return Measured("it is so", lambda: (interval, 8), **bound)


@pytest.mark.parametrize(
    ("intervals", "verdict"),
    [
        ([(1, 0.5, 2)], "supported"),
        ([(1, -0.5, 2)], "undecided"),
        ([(-1, -2, -0.5)], "contradicted"),
        ([(1, 0.5, 2), (1, -0.5, 2)], "supported in part"),
        ([(-1, -2, -0.5), (1, -0.5, 2)], "contradicted"),
        ([(1, 0.5, 2), (-1, -2, -0.5), (1, -0.5, 2)], "mixed"),
    ],
)
def test_a_verdict_follows_from_all_findings(intervals, verdict):
    findings = tuple(finding(interval, above=0) for interval in intervals)
    claim = Claim("P1", "Perfusion", "", "", "", "", findings)
    assert claim.verdict == verdict


def test_a_count_that_is_another_contradicts():
    assert Counted("bytes", lambda: 7, 7).found() == ("7", "supported")
    assert Counted("bytes", lambda: 7000, 7).found() == ("7,000", "contradicted")


def test_what_says_nothing_is_refused():
    with pytest.raises(PersoError, match="at least one finding"):
        together([])
    with pytest.raises(PersoError, match="either above or below"):
        finding((1, 0.5, 2)).found()


def test_a_row_says_how_many_were_measured():
    assert all(
        re.search(r"\], n = \d+$", found.found()[0])
        for claim in CLAIMS
        for found in claim.findings
        if isinstance(found, Measured)
    )


def test_sixteen_toys_are_the_first_eight_and_then_eight_others():
    sixteen, more = (
        shipped.measured("sixteen toys"),
        load_results(RESULTS.with_name("more_toys.json")),
    )
    assert {*sixteen} == {*more}
    for point, file in (
        ("layers 4 to 5", "catversion"),
        ("textboost at uniform timesteps", "textboost"),
    ):
        first = load_results(RESULTS.with_name(f"{file}.json"))[point]["instance"]
        toys = sixteen[point]["instance"]
        assert len(toys) == 16
        for one, wanted in zip(toys, first + more[point]["instance"], strict=True):
            assert one.equal(wanted)
    points = "layers 4 to 5", "layers 2 to 3"
    assert shipped.difference("sixteen toys", "instance", *points)[1] == 16
