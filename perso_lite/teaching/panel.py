"""A panel: controls above a picture that is redrawn when they change.

It is interactive in JupyterLab and Colab, with a link below the picture to save it. Its
output also contains the picture as a plain PNG, shown on pages without a kernel, and
the controls' values as text, which tests compare. `panels.py` has panels that are ready
to use.
"""

import base64
import io
import re
from collections.abc import Callable, Hashable, Iterable, Sequence
from functools import lru_cache
from numbers import Real
from typing import Any

import ipywidgets as widgets
import matplotlib.pyplot as plt
from matplotlib.figure import Figure
from PIL import Image, ImageDraw, ImageFont

from perso_lite.errors import PersoError
from perso_lite.figures.pictures import INK, PAPER, wrapped

CACHED = 64  # pictures that a panel caches, some 100 kB each
WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"


# -- the panel itself ------------------------------------------------------------------


class Panel(widgets.VBox):
    """Controls, and one picture drawn from their values.

    The first picture is drawn at once, and errors are raised. Later, when there is no
    cell to show a traceback, the picture shows the error message, and the panel can
    still be used.

    Args:
        draw: takes one keyword argument per control and returns a picture or a figure.
            It must depend on these values alone, because its results are cached.
        depends_on: a function without arguments, for a `draw` that does depend on
            something else; pictures are redrawn when its result changes.
        controls: widgets with a value, by argument name of `draw`.

    Attributes:
        controls: the widgets by name.
        picture: the picture, an image widget.
        save_link: a link below it, which saves the picture as a PNG file.
        error: the exception raised by the latest call of `draw`, or None.

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
        self._draw_once = lru_cache(CACHED, typed=True)(
            lambda _, **values: to_png(draw(**values))
        )
        self.picture = widgets.Image(format="png", layout={"max_width": "100%"})
        label_width = f"{max(map(len, controls), default=0) + 1}ch"
        for name, control in controls.items():
            control.description = name.replace("_", " ")
            control.style.description_width = label_width
        self.save_link = widgets.HTML()
        super().__init__([*controls.values(), self.picture, self.save_link])
        self._show(self._draw())
        for control in controls.values():
            control.observe(self.refresh, "value")

    @property
    def values(self) -> dict[str, Any]:
        """The controls' values, by name."""
        return {name: control.value for name, control in self.controls.items()}

    def refresh(self, change: Any = None) -> None:
        """Redraw the picture from the controls' values."""
        try:
            png, self.error = self._draw(), None
        except Exception as error:
            png, self.error = to_png(error_picture(error)), error
        self._show(png)

    def _draw(self) -> bytes:
        return self._draw_once(self._depends_on(), **self.values)

    def _show(self, png: bytes) -> None:
        # at its own width: a page that enlarges it would blur it
        self.picture.layout.width = f"{Image.open(io.BytesIO(png)).width}px"
        self.picture.value = png
        self.save_link.value = save_link(png, self.values.values())

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
    """Encode a picture or a figure as PNG.

    The figure is closed; otherwise the notebook would show it a second time.

    Raises:
        PersoError: it is neither a picture nor a figure.
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


def save_link(png: bytes, values: Iterable[Any]) -> str:
    """An HTML link that saves a picture; the browser does it without the kernel.

    Args:
        png: the picture, which the link contains.
        values: those of the controls; the file is named after them.
    """
    name = re.sub(r"[^\w.]+", "-", " ".join(map(str, values)))[:80].strip("-.")
    data = base64.b64encode(png).decode()
    return (
        f'<a download="{name or "picture"}.png" href="data:image/png;base64,{data}" '
        'style="font-size: 11px; color: gray">save this picture</a>'
    )


def error_picture(error: Exception) -> Image.Image:
    """Draw an error message; unless it is a PersoError, its type comes first."""
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
    """A slider over the given values; it fires when released.

    Args:
        values: from left to right; numbers may be those of numpy or torch.
        value: the start value; default: the first. If it is a number that is missing
            among numbers, it is added, and the stops are sorted.
    """
    stops = [_plain(v) for v in values]
    start = stops[0] if value is None else _plain(value)
    if start not in stops and all(isinstance(v, Real) for v in (start, *stops)):
        stops = sorted([start, *stops])
    return widgets.SelectionSlider(
        options=[(str(v), v) for v in stops],
        value=start,
        continuous_update=False,
        layout={"width": "480px", "max_width": "100%"},
    )


def _plain(value: Any) -> Any:
    """A Python value, floats rounded to 6 digits after the point."""
    value = value.item() if hasattr(value, "item") else value
    return round(value, 6) if isinstance(value, float) else value


def span(stops: int, value: tuple[int, int] | None = None) -> widgets.IntRangeSlider:
    """A slider with two handles, for a range from 0 to `stops`; it fires when released.

    Args:
        stops: the largest end of the range.
        value: start and end at first; default: the whole range.
    """
    return widgets.IntRangeSlider(
        value=value or (0, stops),
        min=0,
        max=stops,
        continuous_update=False,
        layout={"width": "480px", "max_width": "100%"},
    )


def choice(
    options: Sequence[str], value: str | None = None
) -> widgets.ToggleButtons | widgets.Dropdown:
    """A control to choose one option: buttons, or a dropdown list if there are many.

    Args:
        options: from left to right, or from top to bottom.
        value: the option selected at first; default: the first.

    Returns:
        ToggleButtons for up to 10 options, else a Dropdown.
    """
    options = list(options)
    value = options[0] if value is None else value
    if len(options) > 10:
        layout = {"width": "320px", "max_width": "100%"}
        return widgets.Dropdown(options=options, value=value, layout=layout)
    buttons = widgets.ToggleButtons(options=options, value=value)
    buttons.style.button_width = "auto"
    buttons.add_class("widget-inline-hbox")  # label beside, not above
    return buttons


def text_box(value: str = "", placeholder: str = "") -> widgets.Text:
    """A line of text; it fires when Enter is pressed or the line loses focus.

    Args:
        value: the text at first.
        placeholder: shown in gray while the line is empty.
    """
    return widgets.Text(
        value=value,
        placeholder=placeholder,
        continuous_update=False,
        layout={"width": "480px", "max_width": "100%"},
    )
