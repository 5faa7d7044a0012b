"""What NeTI claims, and what was measured of it."""

from perso_lite.evaluation.claims.claim import Proven, claims_source
from perso_lite.evaluation.claims.shipped import gain

claim = claims_source("NeTI", "05_neti", "python -m perso_lite evaluate neti")
CLAIMS = (
    claim(
        "N1",
        "it needs fewer steps than one vector",
        "our question",
        gain("subject fidelity, 100 steps minus Textual Inversion's 400", "instance",
             "neti 100", "textual_inversion 400", above=0),
    ),
    claim(
        "N2",
        "a word should know both timestep and layer",
        "the method",
        gain("subject fidelity, both minus neither", "instance",
             "neti 100", "neti knows neither", above=0),
        gain("both minus the layer alone", "instance",
             "neti 100", "neti knows layer", above=0),
        gain("both minus the timestep alone", "instance",
             "neti 100", "neti knows timestep", above=0),
        notebook="05b_neti_appendix",
    ),
    claim(
        "N3",
        "the textual bypass improves convergence",
        "abstract",
        gain("subject fidelity after 100 steps, with minus without", "instance",
             "neti 100", "neti knows no bypass", above=0),
    ),
    claim(
        "N4",
        "nested dropout controls reconstruction and editability",
        "abstract",
        gain("subject fidelity, 4 units minus all", "instance",
             "neti truncated 4", "neti 200", below=0),
        gain("CLIP-T, the same", "clip_text",
             "neti truncated 4", "neti 200", above=0),
        gain("subject fidelity of 16 units, with minus without nested dropout",
             "instance", "neti truncated 16", "neti without dropout truncated 16",
             of="sixteen toys", above=0),
    ),
    claim(
        "N5",
        "the model itself is not changed",
        "the method",
        Proven("after `attach` everything is as it was",
               "tests/test_method_contract.py::"
               "test_attaching_leaves_everything_as_it_was"),
        command="pytest tests/test_method_contract.py",
    ),
)  # fmt: skip
