"""Four styles with a word: filters that turn a finished picture into another medium.

Every filter takes pictures `(batch, 3, size, size)` in [0, 1] and returns the same
shape; lengths are fractions of the picture, so a style does not depend on resolution.
"""

import torch
import torch.nn.functional as F
from torch import Tensor


def blur(picture: Tensor, fraction: float) -> Tensor:
    """Box blur twice with a window of `fraction` of the picture (at least 3 pixels)."""
    window = max(3, round(picture.shape[-1] * fraction) // 2 * 2 + 1)
    for _ in range(2):
        padded = F.pad(picture, [window // 2] * 4, mode="reflect")
        picture = F.avg_pool2d(padded, window, stride=1)
    return picture


def edges(picture: Tensor) -> Tensor:
    """Norm of the picture's gradient at each pixel, `(batch, 1, size, size)`."""
    padded = F.pad(picture, [1, 1, 1, 1], mode="reflect")
    dx = padded[..., 1:-1, 2:] - padded[..., 1:-1, :-2]
    dy = padded[..., 2:, 1:-1] - padded[..., :-2, 1:-1]
    return (dx**2 + dy**2).sum(1, keepdim=True).sqrt()


def pencil_sketch(picture: Tensor) -> Tensor:
    gray = picture.mean(1, keepdim=True)
    size = picture.shape[-1]
    line = torch.arange(size, device=picture.device) / size
    hatching = torch.sin((line[:, None] + line[None, :]) * 110)
    tone = 0.93 - 0.25 * (1 - gray) - 0.07 * hatching * ((1 - gray) * 1.6).clamp(0, 1)
    drawn = tone - (1.5 * edges(picture)).clamp(0, 0.75)
    return (
        drawn.clamp(0, 1)
        * torch.tensor([1.0, 0.99, 0.95], device=picture.device)[None, :, None, None]
    )


def pixel_art(picture: Tensor) -> Tensor:
    size = picture.shape[-1]
    blocks = F.interpolate(picture, size=(32, 32), mode="area")
    blocks = (blocks * 7).round() / 7
    return F.interpolate(blocks, size=(size, size), mode="nearest")


def watercolor(picture: Tensor) -> Tensor:
    soft = blur(picture, 0.02)
    darker = (0.35 * edges(soft)).clamp(0, 0.3)
    wash = 0.68 * soft + 0.32 - darker
    size = picture.shape[-1]
    line = torch.arange(size, device=picture.device) / size
    bloom = torch.sin(line * 9 + 1)[:, None] * torch.sin(line * 7 + 2)[None, :]
    frame = (16 * line * (1 - line)).clamp(0, 1)
    paper = (frame[:, None] * frame[None, :]).clamp(0, 1)
    wash = (wash + 0.06 * bloom).clamp(0, 1)
    return paper * wash + (1 - paper) * 0.97


def neon(picture: Tensor) -> Tensor:
    strength = (2.2 * edges(picture)).clamp(0, 1)
    vivid = picture - picture.amin(1, keepdim=True)
    vivid = vivid / vivid.amax(1, keepdim=True).clamp(min=0.12)
    glow = blur(strength * vivid, 0.06)
    return (strength * (0.25 + 0.75 * vivid) + 0.9 * glow + 0.03).clamp(0, 1)


STYLES = {
    "sketch": pencil_sketch,
    "pixel": pixel_art,
    "watercolor": watercolor,
    "neon": neon,
}
