"""What CatVersion claims, and what was measured of it."""

from functools import partial

from perso_lite.evaluation.claims.claim import Measured, Proven, claims_source
from perso_lite.evaluation.claims.shipped import gain, masks_rank, other_words_drift

claim = claims_source(
    "CatVersion", "06_catversion", "python -m perso_lite evaluate catversion"
)
sixteen = partial(gain, of="sixteen toys")
LAST, FIRST, MIDDLE = (f"layers {layers}" for layers in ("4 to 5", "0 to 1", "2 to 3"))
CAT = "catversion 200"

CLAIMS = (
    claim(
        "C1",
        "the last layers of the text encoder are the place to learn",
        "abstract",
        sixteen("subject fidelity, last third of layers minus first", "instance",
                LAST, FIRST, above=0),
        sixteen("last minus middle", "instance", LAST, MIDDLE, above=0),
        command="python -m perso_lite evaluate more",
    ),
    claim(
        "C2",
        "concatenation is a residual on the attention's output",
        "abstract",
        Proven("both give the same",
               "tests/methods/catversion/test_prefix.py::"
               "test_the_residual_is_the_concatenation"),
        command="pytest tests/methods/catversion/test_prefix.py",
    ),
    claim(
        "C3",
        "masks make the CLIP image score right",
        "abstract",
        Measured("pairs in order against another of its class, masked minus plain",
                 masks_rank, above=0),
    ),
    claim(
        "C4",
        "the concept is restored, and prior knowledge kept",
        "abstract",
        gain("subject fidelity minus class word's", "instance",
             CAT, "class prior", above=0),
        gain("minus Textual Inversion's", "instance",
             CAT, "textual_inversion 400", above=0),
        gain("prompt fidelity minus class word's: not below -0.05", "prompt",
             CAT, "class prior", above=-0.05),
        Measured("drift of color in other words, minus chance: below 0.05",
                 partial(other_words_drift, "color"), below=0.05),
    ),
)  # fmt: skip
