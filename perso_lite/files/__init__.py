"""Files: written whole or not at all, and refused in a sentence."""

from pathlib import Path

DATA_FOLDER = Path(__file__).resolve().parents[2] / "data"
