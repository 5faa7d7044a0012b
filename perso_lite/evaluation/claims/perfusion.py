"""What Perfusion claims, and what was measured of it."""

from functools import partial

from perso_lite.evaluation.claims.claim import Counted, Measured, claims_source
from perso_lite.evaluation.claims.shipped import cost, enclosed, gain, sides

claim = claims_source(
    "Perfusion", "04_perfusion", "python -m perso_lite evaluate tradeoff"
)
LOCKS = "perfusion local 0.65", "perfusion trained 0.65"
WIDE = "perfusion local 0.45", "perfusion local 1.0"
WIDTHS = {320: 5, 640: 5, 1280: 6}  # of SD 1.5's cross-attention: how many layers each

CLAIMS = (
    claim(
        "P1",
        "a concept is a single file of 100 kB",
        "abstract",
        Counted(
            "bytes of keys and values for SD 1.5",
            lambda: 2 * 4 * sum(width * count for width, count in WIDTHS.items()),
            99_840,
        ),
        command="pytest tests/methods/perfusion/test_perfusion.py",
    ),
    claim(
        "P2",
        "locked keys avoid overfitting",
        "abstract, ablation",
        gain("prompt fidelity, locked minus trained", "prompt", *LOCKS, above=0),
        gain("attention outside the toy", "leaked", *LOCKS, below=0),
    ),
    claim(
        "P3",
        "one file spans the trade-off, beyond the baselines",
        "main figure",
        gain("subject fidelity, beta 0.45 minus 1.0", "instance", *WIDE, above=0),
        gain("CLIP-T, the same", "clip_text", *WIDE, below=0),
        *(
            Measured(f"area minus {name}'s", partial(enclosed, points), above=0)
            for name, points in {
                "Textual Inversion": "textual_inversion",
                "DreamBooth-LoRA": "dreambooth_lora",
                "Custom Diffusion": "custom_diffusion",
            }.items()
        ),
    ),
    claim(
        "P4",
        "concepts that were learned apart join in one picture",
        "figures of two concepts",
        Measured("own toy minus the other, at each side", sides, above=0),
        Measured(
            "own toy minus two LoRAs'", partial(sides, "dreambooth_lora"), above=0
        ),
        command="python -m perso_lite evaluate pairs",
    ),
    claim(
        "P5",
        "it is efficient to run",
        "abstract",
        Measured(
            "drawing with four concepts, in times of none: below 1.1",
            partial(cost, "perfusion_cost", "drawing", "4 concepts"),
            below=1.1,
        ),
        Measured(
            "a training step, in times of the U-Net alone: below 1.15",
            partial(cost, "perfusion_cost", "training", "perfusion"),
            below=1.15,
        ),
        command="python tests/benchmarks/perfusion.py",
    ),
)
