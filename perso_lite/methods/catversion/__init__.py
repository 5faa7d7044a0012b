"""CatVersion, and everything that is its own.

Read `catversion.py` (the method), then `prefix.py` (the equation, and how the prefixes
enter a stock text encoder).
"""

from perso_lite.methods.catversion.catversion import CatVersion

__all__ = ["CatVersion"]
