"""What all figures share: size, letters, and colours that do not depend on telling red from green."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import TYPE_CHECKING, Any, ParamSpec

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# M. Okabe and K. Ito, "Color Universal Design" (2008), without the yellow, which is pale on white
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#000000", "#E69F00", "#56B4E9")
GREY = "0.45"
_WIDTH, _HEIGHT = 3.4, 2.5  # inches: a column of a journal
_SETTINGS: Any = {
    "font.size": 8.0,
    "axes.titlesize": 8.0,
    "legend.fontsize": 6.0,
    "legend.handlelength": 1.3,
    "legend.columnspacing": 1.0,
    "xtick.labelsize": 7.0,
    "ytick.labelsize": 7.0,
    "axes.linewidth": 0.6,
    "lines.linewidth": 1.2,
}
_P = ParamSpec("_P")


def at_print_size(draw: Callable[_P, Figure]) -> Callable[_P, Figure]:
    """Draw with letters that can be read in a column, and leave matplotlib's settings as they are."""

    @wraps(draw)
    def drawn(*args: _P.args, **kwargs: _P.kwargs) -> Figure:
        """Draw in these settings."""
        from matplotlib import rc_context

        with rc_context(_SETTINGS):
            return draw(*args, **kwargs)

    return drawn


def as_it_is(text: str) -> str:
    """Text of a user, of which matplotlib is to make no formula, and which a legend has if it begins with "_" too."""
    escaped = text.replace("$", r"\$")
    return r"$\_$" + escaped[1:] if escaped.startswith("_") else escaped


def new_figure(columns: float = 1.0, rows: float = 1.0) -> Figure:
    """An empty figure, so many columns of a journal wide and so many panels high."""
    from matplotlib.figure import Figure

    return Figure((_WIDTH * columns, _HEIGHT * rows), dpi=200, layout="constrained", facecolor="white")


def bare(axes: Axes) -> None:
    """Take lines and numbers of the axes away, where an image says all."""
    axes.set_xticks([])
    axes.set_yticks([])
