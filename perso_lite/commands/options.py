"""The options that all measurements share."""

import argparse
from pathlib import Path
from typing import Any


def measuring_parser(
    command: str, description: str, out: str, seeds: int = 4, steps: int = 10
) -> argparse.ArgumentParser:
    """The command line of `python -m perso_lite evaluate <command>`.

    Args:
        command: its name.
        description: for `--help`.
        out: default of `--out`.
        seeds: default of `--seeds`.
        steps: default of `--steps`, denoising steps.
    """
    p = argparse.ArgumentParser(f"perso_lite evaluate {command}", None, description)
    p.add_argument("--seeds", type=int, default=seeds, help="pictures of each prompt")
    p.add_argument("--base", help="folder or hub id; default: the shipped base")
    p.add_argument("--guidance", type=float, default=4.0)
    p.add_argument("--steps", type=int, default=steps)
    p.add_argument("--out", type=Path, default=Path(out))
    return p


def drawing_options(options: argparse.Namespace, **others: Any) -> dict[str, Any]:
    """What was parsed, as keyword arguments of `generate`."""
    drawing = {"guidance_scale": options.guidance, "num_inference_steps": options.steps}
    return drawing | others
