"""Celeb Basis, and everything that is its own.

Read `celeb_basis.py` (the method), then `basis.py` (the space of names that it moves
in).
"""

from perso_lite.methods.celeb_basis.celeb_basis import CelebBasis

__all__ = ["CelebBasis"]
