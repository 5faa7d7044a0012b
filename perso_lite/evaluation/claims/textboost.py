"""What TextBoost claims, and what was measured of it."""

from functools import partial

from perso_lite.evaluation.claims.claim import Counted, claims_source
from perso_lite.evaluation.claims.shipped import gain

claim = claims_source(
    "TextBoost", "08_textboost", "python -m perso_lite evaluate textboost"
)
one = partial(gain, of="one picture")
sixteen = partial(gain, of="sixteen toys")  # from one picture, too
WHOLE, UNKEPT = "textboost", "textboost without knowledge preservation"
UNIFORM = "textboost at uniform timesteps"
OFTEN = "textboost augmented often", "textboost augmented silently and often"
SD_LORA = 12 * (4 * 4 * (768 + 768) + 2 * 4 * (768 + 3072))  # layers x projections

CLAIMS = (
    claim(
        "T1",
        "one picture is enough, without overfitting to it",
        "abstract",
        one("subject fidelity minus class word's", "instance",
            WHOLE, "class prior", above=0),
        one("leaning to the picture seen, minus DreamBooth-LoRA's", "seen",
            WHOLE, "dreambooth_lora", minus="unseen", below=0),
        one("diversity over seeds, the same", "diversity",
            WHOLE, "dreambooth_lora", above=0),
    ),
    claim(
        "T2",
        "augmentation tokens keep transformations out of the concept",
        "abstract",
        one("traces of transformations, tokens minus silent captions", "transformed",
            WHOLE, "textboost augmented silently", below=0),
        one("the same, with the released code's probability", "transformed",
            *OFTEN, below=0),
        one("subject fidelity, with ours", "instance",
            WHOLE, "textboost augmented silently", above=0),
    ),
    claim(
        "T3",
        "knowledge preservation reduces language drift",
        "abstract",
        one("the toy in the class word, with minus without", "instance",
            f"{WHOLE}, class word", f"{UNKEPT}, class word", below=0),
        one("drift of text states, the same", "text drift", WHOLE, UNKEPT, below=0),
        sixteen("subject fidelity of the new word, the same: not below -0.05",
                "instance", WHOLE, UNKEPT, above=-0.05),
    ),
    claim(
        "T4",
        "SNR-weighted timesteps train efficiently",
        "abstract",
        sixteen("subject fidelity after 40 steps, weighted minus uniform", "instance",
                f"{WHOLE} after 40", f"{UNIFORM} after 40", above=0),
        sixteen("after 80", "instance",
                f"{WHOLE} after 80", f"{UNIFORM} after 80", above=0),
        sixteen("after 120", "instance", WHOLE, UNIFORM, above=0),
        command="python -m perso_lite evaluate more",
    ),
    claim(
        "T5",
        "0.7 million parameters",
        "abstract",
        Counted("numbers of LoRA for SD 1.5", lambda: SD_LORA, 663_552),
        command="pytest tests/methods/test_textboost.py",
    ),
)  # fmt: skip
