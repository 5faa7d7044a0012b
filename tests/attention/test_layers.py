import pytest

from perso_lite import PersoError
from perso_lite.attention.layers import choose_layers, layers_by_label
from perso_lite.conditioning.cross_attention import cross_attention_layers


def test_layers_are_chosen_by_side_name_rows_and_position(tiny):
    layers = cross_attention_layers(tiny.unet)

    def positions(which, size=(16, 16)):
        return [layer.position for layer in choose_layers(layers, which, *size)]

    assert positions(None) == list(range(16))
    assert positions("mid") == [6]
    assert positions(layers[3].name) == [3]
    assert positions(8) == [2, 3, 10, 11, 12]
    assert positions(8, (8, 24)) == [0, 1, 13, 14, 15]
    assert positions((15, 0)) == [15, 0]
    for nonsense in ("left", 5, (0, 16), ()):
        with pytest.raises(PersoError, match="No cross-attention layers answer to"):
            positions(nonsense)


def test_every_label_chooses_layers(tiny):
    layers = cross_attention_layers(tiny.unet)
    chosen = {
        label: [layer.position for layer in choose_layers(layers, which, 16, 24)]
        for label, which in layers_by_label(layers, 16, 24).items()
    }
    assert list(chosen)[:5] == ["all", "16 px", "8 px", "4 px", "2 px"]
    assert chosen["all"] == list(range(16))
    assert sorted(i for n in (16, 8, 4, 2) for i in chosen[f"{n} px"]) == chosen["all"]
    single = {k: v for k, v in chosen.items() if k.startswith("layer ")}
    assert single["layer 6 (mid, 2 px)"] == [6]
    assert [v for (v,) in single.values()] == chosen["all"]
