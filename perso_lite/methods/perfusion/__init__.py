"""Perfusion, and everything that is its own.

Read `rank_one.py` (the equations), then `perfusion.py` (the method), then
`joint_edit.py` (how the edit enters a stock pipeline).
"""

from perso_lite.methods.perfusion.perfusion import Perfusion

__all__ = ["Perfusion"]
