"""Panels moved as by hand."""


def pictures_after(panel, changes):
    """The panel's first picture, and one after each change of a control, as PNGs."""
    pictures = [panel.picture.value]
    for name, value in changes.items():
        panel.controls[name].value = value
        assert panel.error is None
        pictures.append(panel.picture.value)
    return pictures
