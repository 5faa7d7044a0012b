"""Scenes become pictures and masks, one batch at a time.

All things of a class, and all places of a kind, are drawn by one call of the function
for it. The shapes are then put back in the order of the pictures and painted together.
"""

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from perso_lite.world.accessories import ACCESSORIES
from perso_lite.world.indoors import studio
from perso_lite.world.looks import MARKS, Anchors, Look
from perso_lite.world.people import EXPRESSIONS, person
from perso_lite.world.places import PLACES
from perso_lite.world.scenes import COLORS, Scene, Thing
from perso_lite.world.shapes import FIELDS, PATTERNS, Drawing, paint, placed
from perso_lite.world.styles import STYLES
from perso_lite.world.toys import TOYS

PICTURE_SIZE = 128  # pixels per side, as those of the shipped base


def _grouped(
    keys: Sequence[str], draw: Callable[[str, Tensor], Tensor], device: torch.device
) -> Tensor:
    """Call `draw` once per distinct key and put the results back in order.

    `draw(key, rows)` returns shapes `(len(rows), shapes, fields)`; shorter lists are
    padded with invisible shapes.
    """
    parts = []
    for key in dict.fromkeys(keys):
        rows = [i for i, other in enumerate(keys) if other == key]
        rows = torch.tensor(rows, device=device)
        parts.append((rows, draw(key, rows)))
    longest = max(shapes.shape[1] for _, shapes in parts)
    result = torch.ones(len(keys), longest, len(FIELDS), device=device)
    result[..., FIELDS.index("opacity")] = 0
    result[..., FIELDS.index("pattern")] = 0
    for rows, shapes in parts:
        result[rows, : shapes.shape[1]] = shapes
    return result


def _tensor(values: Sequence, device: torch.device) -> Tensor:
    return torch.tensor(values, dtype=torch.float32, device=device)


def looks(things: Sequence[Thing], device: torch.device) -> Look:
    """The looks of toys; a color from the caption replaces the main one."""
    instances = [thing.instance for thing in things]
    numbers = _tensor([i.numbers for i in instances], device)
    main = _tensor([COLORS.get(t.color, t.instance.main) for t in things], device)
    wobble = 0.92 + 0.16 * numbers[:, 10:11]
    return Look(
        numbers,
        (main * wobble).clamp(0, 1),
        _tensor([i.accent for i in instances], device),
        _tensor([PATTERNS.index(t.pattern or "plain") for t in things], device),
        _tensor([MARKS.index(i.mark) for i in instances], device),
        _tensor([i.mark_color for i in instances], device),
    )


def _select(look: Look, rows: Tensor) -> Look:
    return Look(*(getattr(look, name)[rows] for name in Look.__dataclass_fields__))


def thing_shapes(
    things: Sequence[Thing], owner: int, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Toys or people with shadow and accessory, in their own frame.

    Returns:
        Shapes `(batch, shapes, fields)`, and the y of each thing's top `(batch,)`.
    """
    batch, look = len(things), looks(things, device)
    anchors: dict[str, list[Tensor]] = {
        name: [torch.zeros(batch, device=device) for _ in range(count)]
        for name, count in (("top", 3), ("eyes", 3), ("neck", 3), ("hand", 2))
    }

    def body(class_word: str, rows: Tensor) -> Tensor:
        d = Drawing(len(rows), device)
        chosen = [things[i] for i in rows.tolist()]
        if class_word == "person":
            theta = _tensor([t.theta for t in chosen], device)
            faces = [EXPRESSIONS.index(t.expression or "calm") for t in chosen]
            at = person(d, theta, _tensor(faces, device))
        else:
            at = TOYS[class_word](d, _select(look, rows))
        for name, stored in anchors.items():
            for slot, value in zip(stored, getattr(at, name), strict=True):
                slot[rows] = (
                    torch.as_tensor(value, dtype=torch.float32)
                    .to(device)
                    .expand(len(rows))
                )
        shapes = d.shapes()
        shapes[..., FIELDS.index("owner")] = owner
        return shapes

    bodies = _grouped([t.class_word for t in things], body, device)
    shadow = Drawing(batch, device)
    ground = _tensor([float(t.class_word != "person") for t in things], device)
    shadow.add(
        0.04,
        0.98,
        0.68,
        0.11,
        color=(0.05, 0.05, 0.1),
        opacity=0.3 * ground,
        soft=0.12,
        shade=0,
    )

    def worn(accessory: str, rows: Tensor) -> Tensor:
        d = Drawing(len(rows), device)
        if accessory != "none":
            at = Anchors(**{k: tuple(s[rows] for s in v) for k, v in anchors.items()})
            ACCESSORIES[accessory](d, at, look.mark_color[rows])
        return d.shapes()

    wardrobe = _grouped([t.accessory or "none" for t in things], worn, device)
    return torch.cat([shadow.shapes(), bodies, wardrobe], dim=1), anchors["top"][1]


def layout(scene: Scene) -> list[tuple[float, float, float, float]]:
    """Position of each thing of a scene: (x, y, scale, flip), in the scene's order."""
    jx, jy, js, jf = scene.framing
    x, y, scale = (jx - 0.5) * 0.3, 0.24 + (jy - 0.5) * 0.12, 0.62 + 0.12 * js
    flip = -1.0 if jf > 0.75 and scene.things[0].class_word != "person" else 1.0
    if len(scene.things) == 1:
        if scene.things[0].class_word == "person":
            x, y, scale = x * 0.5, 0.16 + (jy - 0.5) * 0.08, 0.8 + 0.1 * js
        x += {"on the left": -0.42, "on the right": 0.42}.get(scene.augmentation, 0)
        scale *= 0.8 if scene.augmentation in ("on the left", "on the right") else 1
        return [(x, y, scale, flip)]
    if len(scene.things) == 3:
        return [
            (at + x * 0.2, y + 0.15, 0.31 + 0.05 * js, flip) for at in (-0.63, 0, 0.63)
        ]
    if scene.relation == "on":
        small, big = 0.3 + 0.05 * js, 0.46 + 0.06 * js
        return [(x * 0.4, -0.3, small, flip), (x * 0.4, 0.3, big, 1.0)]
    scale = 0.45 + 0.06 * js
    return [
        (-0.47 + x * 0.3, y + 0.1, scale, flip),
        (0.47 + x * 0.3, y + 0.1, scale, 1.0),
    ]


def scene_shapes(scenes: Sequence[Scene], device: torch.device) -> Tensor:
    """All shapes of scenes that have the same number of things."""
    moods = _tensor([s.mood for s in scenes], device)

    def place(name: str, rows: Tensor) -> Tensor:
        d = Drawing(len(rows), device)
        PLACES.get(name, studio)(d, moods[rows])
        return d.shapes()

    parts = [_grouped([s.place or "studio" for s in scenes], place, device)]
    positions = [layout(scene) for scene in scenes]
    stacked = _tensor([float(s.relation == "on") for s in scenes], device)
    below = torch.zeros(len(scenes), device=device)
    for k in reversed(range(len(scenes[0].things))):
        shapes, top = thing_shapes([s.things[k] for s in scenes], k + 1, device)
        x, y, scale, flip = _tensor([p[k] for p in positions], device).unbind(1)
        if len(parts) > 1:  # a thing "on" another goes on top of the one just placed
            y = y + stacked * (below - 0.92 * scale - y)
        below = y + scale * top
        parts.append(placed(shapes, x, y, scale, flip))
    shapes = torch.cat(parts, dim=1)
    zoom = {"zoomed in": 1.75, "far away": 0.5}
    zoomed = _tensor([zoom.get(s.augmentation, 1.0) for s in scenes], device)
    middle = _tensor([p[0][1] - 0.12 for p in positions], device)
    things_start = parts[0].shape[1]
    near = placed(shapes[:, things_start:], 0, middle * (1 - zoomed), zoomed)
    return torch.cat([shapes[:, :things_start], near], dim=1)


def finish(scene: Scene, picture: Tensor, masks: Tensor) -> tuple[Tensor, Tensor]:
    """Style and augment one picture `(3, size, size)` and its masks."""
    if scene.style:
        picture = STYLES[scene.style](picture[None])[0]
    if scene.augmentation == "upside down":
        picture, masks = picture.flip(1), masks.flip(1)
    elif scene.augmentation == "grayscale":
        picture = picture.mean(0, keepdim=True).expand(3, -1, -1)
    elif scene.augmentation == "collage":
        picture = F.avg_pool2d(picture, 2).repeat(1, 2, 2)
        masks = F.avg_pool2d(masks, 2).repeat(1, 2, 2)
    return picture, masks


def render(
    scenes: Sequence[Scene],
    size: int = PICTURE_SIZE,
    device: torch.device | str = "cpu",
    chunk: int = 64,
) -> tuple[Tensor, Tensor]:
    """Paint scenes.

    Args:
        scenes: to paint.
        size: pixels per side (ours: 128).
        device: to paint on.
        chunk: pictures painted together.

    Returns:
        Pictures `(len(scenes), 3, size, size)` in [0, 1], and masks
        `(len(scenes), 3, size, size)` in [0, 1]: channel k is the visible part of
        thing k without its accessory, and 0 where a scene has fewer things.
    """
    device = torch.device(device)
    pictures = torch.empty(len(scenes), 3, size, size, device=device)
    masks = torch.zeros(len(scenes), 3, size, size, device=device)
    for count in (1, 2, 3):
        group = [i for i, s in enumerate(scenes) if len(s.things) == count]
        group.sort(key=lambda i: scenes[i].things[0].class_word)  # alike: fewer pixels
        for start in range(0, len(group), chunk):
            rows = group[start : start + chunk]
            shapes = scene_shapes([scenes[i] for i in rows], device)
            painted, owned = paint(shapes, size, owners=count)
            for i, picture, mask in zip(rows, painted, owned, strict=True):
                picture, mask = finish(scenes[i], picture, mask)
                pictures[i], masks[i, :count] = picture, mask
    return pictures, masks
