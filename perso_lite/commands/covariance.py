"""python -m perso_lite covariance: prepare another base for Perfusion, once."""

from pathlib import Path

from perso_lite.base import load_base
from perso_lite.errors import PersoError
from perso_lite.methods.perfusion.covariance import estimate_covariance


def estimate(captions: Path, base: str) -> None:
    """Estimate a base's text covariance and save it where Perfusion looks for it.

    Args:
        captions: a text file, one caption per line.
        base: folder or hub id.

    Raises:
        PersoError: the file cannot be read, has too few captions, or nothing can be
            written.
    """
    try:
        lines = captions.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as reason:
        raise PersoError(
            f"{captions} cannot be read ({reason}); give a text file with one "
            "caption a line."
        ) from reason
    texts = [line.strip() for line in lines if line.strip()]
    print(estimate_covariance(load_base(base), texts).save())
