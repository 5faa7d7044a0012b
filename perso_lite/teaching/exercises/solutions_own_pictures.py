"""Solutions to the exercises of notebook 10; a learner finds them in `solutions.py`."""

from torch import Tensor


def sharpness(gray: Tensor) -> Tensor:
    """How sharp a picture is: the mean square of its Laplacian.

    The Laplacian of a pixel is the sum of its four neighbors minus four times itself.

    Args:
        gray: (height, width), at least 3 each; the outermost pixels have not all four
            neighbors and do not count as pixels, only as neighbors.

    Returns:
        A number (), 0 where gray changes evenly.
    """
    middle = gray[1:-1, 1:-1]
    vertical, horizontal = gray[:-2] + gray[2:], gray[:, :-2] + gray[:, 2:]
    laplacian = vertical[:, 1:-1] + horizontal[1:-1] - 4 * middle
    return laplacian.square().mean()
