import pytest

from perso_lite import PersoError
from perso_lite.attention.layers import choose_layers
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
