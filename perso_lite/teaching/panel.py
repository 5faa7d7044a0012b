"""A panel: controls above a picture that follows them.

It is live in JupyterLab and Colab. Its output also carries the picture as a plain PNG
and its settings as text, so that a page without a kernel shows the former and a test
can compare the latter. `panels.py` has some ready to use.
"""

import base64
import io
from collections.abc import Callable, Hashable, Sequence
from functools import lru_cache
from typing import Any

import ipywidgets as widgets
import matplotlib.pyplot as plt
from matplotlib.figure import Figure
from PIL import Image, ImageDraw, ImageFont

from perso_lite.errors import PersoError
from perso_lite.figures.pictures import INK, PAPER, wrapped

REMEMBERED = 64  # pictures a panel keeps, some 100 kB each
WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"


# -- the panel itself ------------------------------------------------------------------


class Panel(widgets.VBox):
    """Controls, and one picture drawn from their values.

    The first picture is drawn at once, and what goes wrong there is raised. Later, when
    no cell is there to show a traceback, the picture says what went wrong, and the
    panel works on.

    Args:
        draw: takes a keyword argument for each control; returns a picture or a figure
            that depends on nothing else, for a panel remembers what it has drawn.
        depends_on: a function of no arguments; where its result differs, pictures
            are drawn anew. For a `draw` that does depend on something else.
        controls: widgets with a value, by the argument they are for.

    Attributes:
        error: what the latest drawing raised, or None.

    Raises:
        Exception: whatever `draw` raises for the first picture.
    """

    # ipywidgets 7 (Colab) has this method and would leave the mimebundle unused
    _ipython_display_ = None

    def __init__(
        self,
        draw: Callable[..., Image.Image | Figure],
        *,
        depends_on: Callable[[], Hashable] = lambda: None,
        **controls: widgets.Widget,
    ):
        self.controls, self.error = controls, None
        self._depends_on = depends_on
        self._draw_once = lru_cache(REMEMBERED, typed=True)(
            lambda _, **values: to_png(draw(**values))
        )
        self.picture = widgets.Image(format="png", layout={"max_width": "100%"})
        label_width = f"{max(map(len, controls), default=0) + 1}ch"
        for name, control in controls.items():
            control.description = name.replace("_", " ")
            control.style.description_width = label_width
        super().__init__([*controls.values(), self.picture])
        self._show(self._draw())
        for control in controls.values():
            control.observe(self.refresh, "value")

    @property
    def values(self) -> dict[str, Any]:
        """The controls' values, by name."""
        return {name: control.value for name, control in self.controls.items()}

    def refresh(self, change: Any = None) -> None:
        """Let the picture follow the controls."""
        try:
            png, self.error = self._draw(), None
        except Exception as error:
            png, self.error = to_png(error_picture(error)), error
        self._show(png)

    def _draw(self) -> bytes:
        return self._draw_once(self._depends_on(), **self.values)

    def _show(self, png: bytes) -> None:
        # its own width: enlarged by the page, it would be blurred
        self.picture.layout.width = f"{Image.open(io.BytesIO(png)).width}px"
        self.picture.value = png

    def __repr__(self) -> str:
        settings = (f"{name}={value!r}" for name, value in self.values.items())
        return f"Panel({', '.join(settings)})"

    def _repr_mimebundle_(self, **kwargs: Any) -> dict[str, Any]:
        view = {"version_major": 2, "version_minor": 0, "model_id": self.model_id}
        return {
            WIDGET_VIEW: view,
            "image/png": base64.b64encode(self.picture.value).decode(),
            "text/plain": repr(self),
        }


def to_png(drawn: Image.Image | Figure) -> bytes:
    """A picture or a figure as PNG; the figure is closed, or it would be shown twice.

    Raises:
        PersoError: it is neither.
    """
    buffer = io.BytesIO()
    if isinstance(drawn, Figure):
        drawn.savefig(buffer, format="png", dpi=drawn.dpi, bbox_inches="tight")
        plt.close(drawn)
    elif isinstance(drawn, Image.Image):
        drawn.save(buffer, format="PNG")
    else:
        raise PersoError(
            f"A panel's draw function returned {type(drawn).__name__}, but a picture "
            "(PIL.Image) or a matplotlib Figure is needed. Is its return missing?"
        )
    return buffer.getvalue()


def error_picture(error: Exception) -> Image.Image:
    """What went wrong, as a picture: our sentences alone, others after their type."""
    text = str(error)
    if not isinstance(error, PersoError):
        text = f"{type(error).__name__}: {text}"
    font, width, margin = ImageFont.load_default(size=15), 480, 16
    text = wrapped(text, font, width - 2 * margin)
    height = ImageDraw.Draw(Image.new("RGB", (1, 1))).multiline_textbbox(
        (margin, margin), text, font, spacing=6
    )[3]
    picture = Image.new("RGB", (width, int(height) + margin), PAPER)
    pen = ImageDraw.Draw(picture)
    pen.rectangle((0, 0, 4, picture.height), "firebrick")
    pen.multiline_text((margin, margin), text, INK, font, spacing=6)
    return picture


# -- controls --------------------------------------------------------------------------


def slider(values: Sequence[Any], value: Any = None) -> widgets.SelectionSlider:
    """A slider that stops at the values; it reports where it is let go.

    Args:
        values: from left to right; numbers also as numpy's or torch's.
        value: where it starts; default: at the first.
    """
    plain = [v.item() if hasattr(v, "item") else v for v in values]
    plain = [round(v, 6) if isinstance(v, float) else v for v in plain]
    return widgets.SelectionSlider(
        options=[(str(v), v) for v in plain],
        value=plain[0] if value is None else value,
        continuous_update=False,
        layout={"width": "480px", "max_width": "100%"},
    )


def choice(
    options: Sequence[str], value: str | None = None
) -> widgets.ToggleButtons | widgets.Dropdown:
    """Buttons to choose one of a few, or a list to choose one of many.

    Args:
        options: from left to right, or from top to bottom.
        value: what is chosen at first; default: the first.
    """
    options = list(options)
    value = options[0] if value is None else value
    if len(options) > 10:
        layout = {"width": "320px", "max_width": "100%"}
        return widgets.Dropdown(options=options, value=value, layout=layout)
    buttons = widgets.ToggleButtons(options=options, value=value)
    buttons.style.button_width = "auto"
    buttons.add_class("widget-inline-hbox")  # the label beside them, not above
    return buttons


def text_box(value: str = "", placeholder: str = "") -> widgets.Text:
    """A line to type in; it reports when Enter is pressed or the line is left.

    Args:
        value: what it says at first.
        placeholder: shown in grey while it is empty.
    """
    return widgets.Text(
        value=value,
        placeholder=placeholder,
        continuous_update=False,
        layout={"width": "480px", "max_width": "100%"},
    )
