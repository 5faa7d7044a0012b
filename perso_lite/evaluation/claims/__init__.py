"""The claims of five papers, and what the shipped results say of them.

A claim computes nothing by itself: it reads its results when it is asked for its
verdict. No number is written in these files but bounds, and what papers count. The
letters: P is Perfusion, N is NeTI, C is CatVersion, B is Celeb Basis, T is TextBoost.
"""

from perso_lite.evaluation.claims import (
    catversion,
    celeb_basis,
    neti,
    perfusion,
    textboost,
)

CLAIMS = (
    *perfusion.CLAIMS,
    *neti.CLAIMS,
    *catversion.CLAIMS,
    *celeb_basis.CLAIMS,
    *textboost.CLAIMS,
)
