"""What a paper claims, what was measured of it, and what follows: one row of a table.

A claim holds findings: sentences about differences that `data/results` holds, numbers
that can be counted, or identities that a test proves. Each finding has a verdict, and
from these follows the claim's. The files beside this hold the claims, one a method.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal, Protocol

from perso_lite.errors import PersoError
from perso_lite.evaluation.bootstrap import interval_verdict
from perso_lite.evaluation.tradeoff import Interval

Verdict = Literal[
    "supported", "contradicted", "undecided", "supported in part", "mixed"
]


class Finding(Protocol):
    """One sentence of a claim."""

    text: str

    def found(self) -> tuple[str, Verdict]:
        """What was measured, in words, and what follows."""


@dataclass(frozen=True)
class Measured:
    """A mean with its interval, from the shipped results.

    Attributes:
        text: what was measured.
        measure: reads the results: the interval, and over how many toys, people or
            pairs it was taken.
        above: the sentence says that the mean is above this.
        below: or that it is below this.
    """

    text: str
    measure: Callable[[], tuple[Interval, int]]
    above: float | None = None
    below: float | None = None

    def found(self) -> tuple[str, Verdict]:
        """The mean with its interval, and n."""
        interval, count = self.measure()
        mean, low, high = interval
        numbers = f"{mean:+.2f} [{low:+.2f}, {high:+.2f}], n = {count}"
        return numbers, interval_verdict(interval, self.above, self.below)


@dataclass(frozen=True)
class Counted:
    """A number that follows from shapes.

    Attributes:
        text: what is counted.
        count: counts it.
        claimed: what the paper says.
    """

    text: str
    count: Callable[[], int]
    claimed: int

    def found(self) -> tuple[str, Verdict]:
        """The number."""
        number = self.count()
        same = number == self.claimed
        return f"{number:,}", "supported" if same else "contradicted"


@dataclass(frozen=True)
class Proven:
    """An identity: a test that fails if it does not hold.

    Attributes:
        text: the identity.
        test: the file and the test's name, as pytest writes them.
    """

    text: str
    test: str

    def found(self) -> tuple[str, Verdict]:
        """The test."""
        return f"`{self.test}`", "supported"


@dataclass(frozen=True)
class Claim:
    """A claim of a paper.

    Attributes:
        number: "P2": a letter for the method, and a number.
        method: its name.
        text: the claim in one line.
        evidence: where the paper makes it.
        notebook: where it is measured and discussed; it says "**P2" there.
        command: what makes its results again.
        findings: what was measured of it.
    """

    number: str
    method: str
    text: str
    evidence: str
    notebook: str
    command: str
    findings: tuple[Finding, ...]

    @property
    def verdict(self) -> Verdict:
        """What follows from all findings."""
        return together([finding.found()[1] for finding in self.findings])


def claims_source(
    method: str, notebook: str, usual_command: str
) -> Callable[..., Claim]:
    """A function that makes the claims of one method: number, text, evidence, findings.

    Its keywords `notebook` and `command` are in place of the usual ones.
    """

    def claim(
        number: str,
        text: str,
        evidence: str,
        *findings: Finding,
        notebook: str = notebook,
        command: str = usual_command,
    ) -> Claim:
        return Claim(number, method, text, evidence, notebook, command, findings)

    return claim


def together(verdicts: Iterable[Verdict]) -> Verdict:
    """One verdict from several.

    Raises:
        PersoError: there is none.
    """
    kinds = set(verdicts)
    if not kinds:
        raise PersoError("A claim needs at least one finding to have a verdict.")
    if {"supported", "contradicted"} <= kinds or "mixed" in kinds:
        return "mixed"
    if "contradicted" in kinds:
        return "contradicted"
    return "supported in part" if len(kinds) > 1 else kinds.pop()


def claims_table(claims: Iterable[Claim]) -> str:
    """The claims as a table in Markdown, with links that hold beside the notebooks."""
    rows = [
        "| | the paper claims | where | we measure | verdict | again with |",
        "|---|---|---|---|---|---|",
    ]
    for claim in claims:
        findings = [(finding.text, *finding.found()) for finding in claim.findings]
        found = "<br>".join(f"{text}: {numbers}" for text, numbers, _ in findings)
        verdict = together(verdict for _, _, verdict in findings)
        link = f"[{claim.number}]({claim.notebook}.ipynb)"
        rows.append(
            f"| {link} | {claim.method}: {claim.text} | {claim.evidence} | {found} "
            f"| **{verdict}** | `{claim.command}` |"
        )
    return "\n".join(rows)
