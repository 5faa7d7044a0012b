"""python -m perso_lite covariance: Perfusion's covariance from captions of your own."""

from pathlib import Path

from perso_lite.base import load_base
from perso_lite.files.reading import read_text
from perso_lite.files.writing import check_writable
from perso_lite.methods.perfusion import covariance


def estimate(captions: Path, base: str) -> None:
    """Estimate a base's text covariance and save it where Perfusion looks for it.

    Args:
        captions: a text file, one caption per line.
        base: folder or hub id.

    Raises:
        PersoError: the file cannot be read, has too few captions, or nothing can be
            written.
    """
    lines = read_text(captions).splitlines()
    texts = [line.strip() for line in lines if line.strip()]
    check_writable(covariance.COVARIANCE_FOLDER / "new.safetensors")
    print(covariance.estimate_covariance(load_base(base), texts).save())
