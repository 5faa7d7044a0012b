"""Words whose vector depends on timestep and layer: the spaces P, P+ and P*.

Read `xti.py`, `mapper.py` and `neti.py` (the methods), then `encoder.py` (how a text is
encoded for every layer) and `hooks.py` (how each layer gets its own).
"""

from perso_lite.methods.space_time.mixed_word import MixedWord
from perso_lite.methods.space_time.neti import NeTI
from perso_lite.methods.space_time.word import SpaceTimeWord
from perso_lite.methods.space_time.xti import ExtendedTextualInversion

__all__ = ["ExtendedTextualInversion", "MixedWord", "NeTI", "SpaceTimeWord"]
