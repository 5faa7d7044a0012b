"""What Celeb Basis claims, and what was measured of it."""

from functools import partial

from perso_lite.evaluation.claims.claim import Counted, Measured, claims_source
from perso_lite.evaluation.claims.shipped import apart, gain, recognized

claim = claims_source(
    "Celeb Basis", "07_celeb_basis", "python -m perso_lite evaluate celeb"
)
people = partial(gain, of="people")
FREE, TWO_VECTORS = "celeb basis free 120", "textual_inversion"
BALLOON = "balloon: celeb_basis"  # a scene that the base often fails to draw
DUO = "two people: celeb_basis", "two people: textual_inversion"

CLAIMS = (
    claim(
        "B1",
        "a person is 1,024 numbers",
        "abstract",
        Counted("numbers for SD 1.4: two names of 512 weights", lambda: 2 * 512, 1024),
        command="pytest tests/methods/celeb_basis/test_basis.py",
    ),
    claim(
        "B2",
        "one photo is enough",
        "abstract",
        people("identity minus nearest name's", "instance",
               FREE, "nearest name", above=0),
        people("identity minus a random person's", "instance",
               FREE, "random person", above=0),
    ),
    claim(
        "B3",
        "the identity combines with prompts better than before",
        "abstract",
        people("identity minus Textual Inversion's", "instance",
               FREE, TWO_VECTORS, above=0),
        people("CLIP-T, the same", "clip_text", FREE, TWO_VECTORS, above=0),
        people("with a balloon, prompt fidelity minus Textual Inversion's", "prompt",
               BALLOON, f"balloon: {TWO_VECTORS}", above=0),
        people("the same minus DreamBooth-LoRA's", "prompt",
               BALLOON, "balloon: dreambooth_lora", above=0),
    ),
    claim(
        "B4",
        "several new people can be drawn together",
        "abstract",
        Measured("own person minus the other, at each side",
                 partial(apart, DUO[0]), above=0),
        Measured("recognized of 20, minus Textual Inversion's",
                 partial(recognized, *DUO), above=0),
    ),
)  # fmt: skip
