"""How text reaches a frozen U-Net: new words, its states, the layers that read them."""
