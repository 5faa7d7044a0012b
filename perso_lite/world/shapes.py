"""One shape draws everything: a soft-edged superellipse, painted back to front.

The world of this library has no image files and no fonts. Every picture is a list of
superellipses

    (|u/a|^n + |v/b|^n)^(1/n) <= 1

with a center, a rotation, a taper (which makes triangles and trapezoids of boxes), a
hollow (which makes rings and handles), a cut (which makes domes and smiles) and a
color with an optional pattern. The signed distance makes the edge soft, so pictures
are smooth at any resolution. The mask of a thing is exact because we know which shapes
belong to it.

Everything is batched: a `Drawing` holds the shapes of a whole batch of pictures, each
number of a shape is a tensor `(batch,)`, and `paint` turns the drawing into pixels
`(batch, 3, size, size)` on the device of the numbers.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

Number = float | Tensor
Color = Sequence[float] | Tensor

# One row of numbers per shape; coordinates run from -1 (left, top) to 1.
FIELDS = (
    "x", "y", "a", "b", "n", "angle", "taper", "hollow", "bottom", "opacity", "shade",
    "soft", "red", "green", "blue", "red2", "green2", "blue2", "pattern", "frequency",
    "owner",
)  # fmt: skip
COLUMN = {name: column for column, name in enumerate(FIELDS)}

PATTERNS = ("plain", "striped", "spotted", "checked")
PLAIN, STRIPED, SPOTTED, CHECKED = range(len(PATTERNS))


class Drawing:
    """The shapes of a batch of pictures, back to front.

    `rows` collects one tensor `(batch, len(FIELDS))` per shape. Class and place
    functions call `add` in their own frame; `placed` moves a finished drawing into the
    picture.
    """

    def __init__(self, batch: int, device: torch.device | str = "cpu"):
        self.batch, self.device = batch, torch.device(device)
        self.rows: list[Tensor] = []

    def add(
        self,
        x: Number,
        y: Number,
        a: Number,
        b: Number | None = None,
        *,
        color: Color,
        color2: Color | None = None,
        n: Number = 2.0,
        angle: Number = 0.0,
        taper: Number = 0.0,
        hollow: Number = 0.0,
        bottom: Number = 1.0,
        opacity: Number = 1.0,
        shade: Number = 0.25,
        soft: Number = 0.0,
        pattern: Number = PLAIN,
        frequency: Number = 4.0,
        owner: Number = 0.0,
    ) -> None:
        """Put one shape on top of all earlier ones.

        Every number may be a tensor `(batch,)`; colors are three floats or a tensor
        `(batch, 3)`, in [0, 1].

        Args:
            x: center, from -1 (left) to 1.
            y: center, from -1 (top) to 1.
            a: half width.
            b: half height; default: `a`.
            color: of the shape.
            color2: of its pattern; default: `color`.
            n: exponent of the superellipse (2: an ellipse, large: a box).
            angle: clockwise rotation in radians.
            taper: in [-1, 1]; narrows the top (positive) or the bottom (negative).
            hollow: thickness of a ring (0: filled).
            bottom: in [-1, 1]; nothing is kept below this fraction of the half height
                (0: a dome, 1: all).
            opacity: in [0, 1].
            shade: brightens the top and darkens the bottom.
            soft: additional width of the edge.
            pattern: index into `PATTERNS`.
            frequency: of the pattern.
            owner: number of the mask the shape belongs to, from 1 (0: none).
        """
        b = a if b is None else b
        color = self._color(color)
        color2 = color if color2 is None else self._color(color2)
        before_colors = [x, y, a, b, n, angle, taper, hollow, bottom]
        before_colors += [opacity, shade, soft]
        after_colors = [pattern, frequency, owner]
        self.rows.append(
            torch.stack(
                [self._number(v) for v in before_colors]
                + list(color.unbind(1))
                + list(color2.unbind(1))
                + [self._number(v) for v in after_colors],
                dim=1,
            )
        )

    def pair(self, x: Number, y: Number, a: Number, b: Number | None = None, **kw):
        """Two mirrored shapes, left and right of the vertical axis.

        Args:
            x: center of the right one, as in `add`.
            y: center of both.
            a: half width.
            b: half height; default: `a`.
            kw: the other arguments of `add`; `angle` is that of the right one.
        """
        angle = kw.pop("angle", 0.0)
        self.add(-x, y, a, b, angle=-angle, **kw)
        self.add(x, y, a, b, angle=angle, **kw)

    def shapes(self) -> Tensor:
        """All shapes as `(batch, shapes, len(FIELDS))`."""
        if not self.rows:
            return torch.zeros(self.batch, 0, len(FIELDS), device=self.device)
        return torch.stack(self.rows, dim=1)

    def _number(self, value: Number) -> Tensor:
        value = torch.as_tensor(value, dtype=torch.float32, device=self.device)
        return value.expand(self.batch)

    def _color(self, value: Color) -> Tensor:
        value = torch.as_tensor(value, dtype=torch.float32, device=self.device)
        return value.expand(self.batch, 3)


def placed(
    shapes: Tensor, x: Number, y: Number, scale: Number, flip: Number = 1.0
) -> Tensor:
    """Move shapes from their own frame into the picture.

    Args:
        shapes: `(batch, shapes, fields)`.
        x: the frame's origin in the picture, a number or `(batch,)`.
        y: the same for y.
        scale: of the frame, a number or `(batch,)`.
        flip: 1, or -1 to mirror left and right; a number or `(batch,)`.
    """

    def column(value: Number) -> Tensor:
        value = torch.as_tensor(value, dtype=torch.float32, device=shapes.device)
        return value.expand(len(shapes))[:, None]

    x, y, scale, flip = column(x), column(y), column(scale), column(flip)
    moved = shapes.clone()
    moved[..., COLUMN["x"]] = x + scale * flip * shapes[..., COLUMN["x"]]
    moved[..., COLUMN["y"]] = y + scale * shapes[..., COLUMN["y"]]
    moved[..., COLUMN["angle"]] = flip * shapes[..., COLUMN["angle"]]
    for name in ("a", "b", "hollow", "soft"):
        moved[..., COLUMN[name]] = scale * shapes[..., COLUMN[name]]
    return moved


def coverage(shape: dict[str, Tensor], x: Tensor, y: Tensor, pixel: float):
    """How much of each pixel one shape covers, and where the pixel lies in the shape.

    Args:
        shape: `(batch, 1, 1)` by field name.
        x: of the pixel centers, `(size, size)`.
        y: of the pixel centers, `(size, size)`.
        pixel: width of a pixel.

    Returns:
        Three tensors `(batch, size, size)`: the coverage in [0, 1] and the shape's own
        coordinates u, v.
    """
    dx, dy = x - shape["x"], y - shape["y"]
    cos, sin = torch.cos(shape["angle"]), torch.sin(shape["angle"])
    u, v = dx * cos + dy * sin, dy * cos - dx * sin
    width = (1 + shape["taper"] * (v / shape["b"])).clamp(0.02, 2)
    steep = width.clamp(min=0.3)  # a tip keeps a soft edge instead of a spike
    au, av = (u / width).abs().clamp(min=1e-3), v.abs().clamp(min=1e-3)
    # To first order the distance to the edge is (r - 1) / |gradient of r|.
    pu = (au / shape["a"]).clamp(0.05, 20) ** shape["n"]
    pv = (av / shape["b"]).clamp(0.05, 20) ** shape["n"]
    total = pu + pv
    r = total ** (1 / shape["n"])
    du, dv = pu / total / (au * steep), pv / total / av
    gradient = r * torch.sqrt(du**2 + dv**2)
    distance = (r - 1) / gradient.clamp(min=1e-6)
    ring = torch.maximum(distance, -distance - shape["hollow"])
    distance = torch.where(shape["hollow"] > 0, ring, distance)
    distance = torch.maximum(distance, v - shape["b"] * shape["bottom"])
    edge = pixel + shape["soft"]
    return (0.5 - distance / edge).clamp(0, 1) * shape["opacity"], u, v


def pattern_amount(shape: dict[str, Tensor], u: Tensor, v: Tensor) -> Tensor:
    """Share of the second color at each pixel, `(batch, size, size)` in [0, 1]."""
    kind, k = shape["pattern"], shape["frequency"] * math.pi
    across, along = torch.sin(k * (v + 0.3 * u)), torch.sin(k * u)
    spots = torch.sin(k * u + 0.8) * torch.sin(k * v + 0.3)
    stripes = (across * 3 + 0.5).clamp(0, 1)
    spots = ((spots.abs() - 0.45) * 5).clamp(0, 1)
    checks = (along * torch.sin(k * v) * 5 + 0.5).clamp(0, 1)
    return (
        stripes * (kind == STRIPED)
        + spots * (kind == SPOTTED)
        + checks * (kind == CHECKED)
    )


def boxes(shapes: Tensor, size: int) -> list[tuple[slice, slice]]:
    """For each shape, the rows and columns of pixels that it may touch anywhere."""
    field = {name: shapes[..., c] for name, c in COLUMN.items()}
    reach = torch.hypot(field["a"] * (1 + field["taper"].abs()), field["b"])
    reach = reach + field["soft"] + 10 / size
    reach = torch.where(field["opacity"] > 0, reach, -4.0)
    edges = []
    for center in (field["y"], field["x"]):
        low = ((center - reach).amin(0) + 1) * size / 2
        high = ((center + reach).amax(0) + 1) * size / 2
        edges += [low.floor().clamp(0, size), high.ceil().clamp(0, size)]
    corners = torch.stack(edges, dim=1).int().tolist()  # the only wait for a GPU
    return [(slice(y0, y1), slice(x0, x1)) for y0, y1, x0, x1 in corners]


def paint(shapes: Tensor, size: int, owners: int = 0) -> tuple[Tensor, Tensor]:
    """Paint shapes back to front.

    Args:
        shapes: `(batch, shapes, len(FIELDS))`, the first one furthest back.
        size: width and height of the pictures in pixels.
        owners: number of masks; mask k is the visible part of the shapes whose owner
            is k + 1.

    Returns:
        Pictures `(batch, 3, size, size)` in [0, 1] and masks `(batch, owners, size,
        size)` in [0, 1].
    """
    pixel = 2 / size
    centers = (torch.arange(size, device=shapes.device) + 0.5) * pixel - 1
    y, x = torch.meshgrid(centers, centers, indexing="ij")
    picture = torch.ones(len(shapes), 3, size, size, device=shapes.device)
    masks = torch.zeros(len(shapes), owners, size, size, device=shapes.device)
    wanted = torch.arange(1, owners + 1, device=shapes.device)[None, :, None, None]
    for row, box in zip(shapes.unbind(1), boxes(shapes, size), strict=True):
        shape = {name: row[:, c, None, None] for name, c in COLUMN.items()}
        amount, u, v = coverage(shape, x[box], y[box], pixel)
        color = row[:, 12:15, None, None]
        if (row[:, COLUMN["pattern"]] != PLAIN).any():
            second = pattern_amount(shape, u, v)[:, None]
            color = color + second * (row[:, 15:18, None, None] - color)
        height = (y[box] - shape["y"]) / torch.maximum(shape["a"], shape["b"])
        light = 1 - shape["shade"] * height.clamp(-1, 1)
        amount = amount[:, None]
        part = picture[(..., *box)]
        part += amount * ((color * light[:, None]).clamp(0, 1) - part)
        if owners:
            owned = (shape["owner"][:, None] == wanted).float()
            part = masks[(..., *box)]
            part += amount * (owned - part)
    return picture, masks
