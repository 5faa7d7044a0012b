"""Cross-attention layers chosen by side, by the size of their maps, or by position."""

from collections.abc import Sequence

from perso_lite.conditioning.cross_attention import CrossAttentionLayer
from perso_lite.errors import PersoError

Layers = str | int | Sequence[int] | None  # as `choose_layers` takes them


def choose_layers(
    layers: list[CrossAttentionLayer], which: Layers, height: int, width: int
) -> list[CrossAttentionLayer]:
    """Some of the layers.

    Args:
        layers: to choose from.
        which: a side ("down", "mid", "up") or a layer's name; an int for the layers
            whose maps have so many rows; several ints for positions; None for all.
        height: of the latents.
        width: of the latents.

    Raises:
        PersoError: no such layers.
    """
    if which is None:
        return layers
    if isinstance(which, str):
        chosen = [layer for layer in layers if which in (layer.side, layer.name)]
    elif isinstance(which, int):
        chosen = [layer for layer in layers if layer.size(height, width)[0] == which]
    else:
        known = {layer.position: layer for layer in layers}
        chosen = [known[i] for i in which if i in known]
        chosen = chosen if len(chosen) == len(which) else []
    if not chosen:
        rows = sorted({layer.size(height, width)[0] for layer in layers}, reverse=True)
        raise PersoError(
            f"No cross-attention layers answer to {which!r}. Give a side (down, mid, "
            f"up), a layer's name, a map height ({', '.join(map(str, rows))}), or a "
            f"list of positions from 0 to {len(layers) - 1}."
        )
    return chosen


def layers_by_label(
    layers: list[CrossAttentionLayer], height: int, width: int
) -> dict[str, Layers]:
    """Selections by label: all layers, those of one map size, single ones.

    Args:
        layers: to choose from.
        height: of the latents.
        width: of the latents.

    Returns:
        Labels such as "all", "16 px" and "layer 6 (mid, 4 px)"; the values are for
        `choose_layers`.
    """
    rows = {layer.position: layer.size(height, width)[0] for layer in layers}
    by_size = {f"{n} px": n for n in sorted(set(rows.values()), reverse=True)}
    single = {
        f"layer {i} ({layer.side}, {rows[i]} px)": (i,)
        for layer in layers
        for i in [layer.position]
    }
    return {"all": None, **by_size, **single}
