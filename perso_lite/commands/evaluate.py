"""python -m perso_lite evaluate: measure the base, or what methods learn."""

from perso_lite._lazy import import_quietly
from perso_lite.errors import PersoError

MEASUREMENTS = {  # the module of each measurement
    "base": "commands.evaluate_base",
    "methods": "commands.evaluate_methods",
    "tradeoff": "commands.evaluate_tradeoff",
    "front": "commands.evaluate_tradeoff",  # an earlier name
    "neti": "commands.evaluations.evaluate_neti",
    "catversion": "commands.evaluations.evaluate_catversion",
    "textboost": "commands.evaluations.evaluate_textboost",
    "celeb": "commands.evaluations.evaluate_celeb",
    "more": "commands.evaluations.evaluate_more",
    "pairs": "commands.evaluate_pairs",
    "mix": "commands.evaluations.evaluate_mix",
    "judges": "commands.evaluations.evaluate_judges",
    "claims": "commands.evaluations.claims",
}


def main(argv: list[str] | None = None) -> None:
    """Run one of the measurements with the rest of the arguments.

    Raises:
        PersoError: there is no measurement of that name.
    """
    what, *others = argv or [""]
    if what not in MEASUREMENTS:
        raise PersoError(
            "Say what to evaluate: `evaluate base` (does it draw what prompts say?), "
            "`methods` (is it the concept, and still what prompts say?), `tradeoff` "
            "(the same at many settings), `neti`, `catversion`, `textboost`, `celeb` "
            "(one method, part by part), `more` (what eight toys left undecided, with "
            "eight others), `pairs` (two concepts in one picture), `mix` (two of two "
            "methods), `judges` (which metric tells the truth?) or `claims` (what "
            "papers claim)."
        )
    import_quietly(MEASUREMENTS[what]).main(others)
