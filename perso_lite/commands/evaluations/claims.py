"""What the shipped results say of the claims of five papers, as a table in Markdown.

`python -m perso_lite evaluate claims` measures nothing: it reads `data/results`, and
names for each claim the command that measures it again.
"""

from perso_lite.commands.options import Parser
from perso_lite.evaluation.claims import CLAIMS
from perso_lite.evaluation.claims.claim import claims_table


def main(argv: list[str] | None = None) -> None:
    """Print the table."""
    Parser("perso_lite evaluate claims", description=__doc__).parse_args(argv)
    print(claims_table(CLAIMS))
