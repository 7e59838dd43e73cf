"""Figs. 5, 8(a)-(d), 9 and 10: kernels, and what is drawn with them. None of it is a sketch: all is computed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from asla_agents.figures import images
from asla_agents.figures.style import COLOURS, bare, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage

RINGS = (0, 1, 3, 5)
"""Which rings Figs. 8(a)-(d) show; the paper shows some without a number."""
_ORDERS = (0, 1, 2, 3)
_SHOWN = (0, 2, 4, 6, 8)  # of the nine Gaussians


def basis() -> Figure:
    """Fig. 5: Gaussians of the basis and their coefficients, the kernel they make, and what it draws."""
    expansion = images.agr()
    figure = new_figure(columns=1.9, rows=1.5)
    above, below = figure.subfigures(2, 1, squeeze=False, height_ratios=(1, 1.7))[:, 0]
    for axes, i in zip(above.subplots(1, len(_SHOWN)), _SHOWN, strict=True):
        picture = _show(axes, expansion.basis[i], lowest=0)
        width = expansion.widths_over_spacing[i]
        axes.set_title(rf"$c_{i + 1}$ = {expansion.coefficients[i]:.2f}" + "\n" + rf"$\lambda_{i + 1}$ = {width:.2f} Δ")
    above.colorbar(picture, ax=above.axes, shrink=0.6, ticks=[0, 1])
    parts = (
        (expansion.one_hot, "one-hot"),
        (expansion.kernel, r"kernel $K = c_1 K_1 + \ldots + c_9 K_9$"),
        (expansion.drawn, "drawn"),
    )
    for axes, (image, title) in zip(below.subplots(1, 3), parts, strict=True):
        picture = _show(axes, image, lowest=0)
        axes.set_title(title)
        below.colorbar(picture, ax=axes, shrink=0.6)
    return figure


def ring(i: int) -> Figure:
    """Fig. 8(a)-(d): one of the displaced Gaussians, and its profile from the middle along the first axis."""
    kernel = images.ring(i)
    middle = len(kernel) // 2
    figure = new_figure(columns=1.3, rows=0.9)
    left, right = figure.subplots(1, 2)
    picture = _show(left, kernel, lowest=0)
    left.set_title(rf"$r_{i}$ = {2 * i} Δ")
    figure.colorbar(picture, ax=left, shrink=0.7, ticks=[0, 1])
    right.plot(np.arange(middle + 1), kernel[middle:, middle], "o-", color=COLOURS[0], markersize=2.5)
    right.set(xlabel="r / Δ", ylabel="K(r)", ylim=(-0.03, 1.05))
    return figure


def harmonics() -> Figure:
    """Fig. 9: real and imaginary part of the circular harmonics."""
    figure = new_figure(columns=1.7, rows=1.3)
    panels = figure.subplots(2, len(_ORDERS))
    for column, m in zip(panels.T, _ORDERS, strict=True):
        harmonic = images.harmonic(m)
        for axes, part in zip(column, (harmonic.real, harmonic.imag), strict=True):
            picture = _show(axes, part, lowest=-1)
        column[0].set_title(f"m = {m}")
    panels[0, 0].set_ylabel("Re K = cos(mθ)")
    panels[1, 0].set_ylabel("Im K = sin(mθ)")
    figure.colorbar(picture, ax=panels, shrink=0.7, ticks=[-1, 0, 1])
    return figure


def power_spectrum() -> Figure:
    """Fig. 10: radial times angular kernel, and the power that they draw, for m = 1.

    Where an atom would make a line of three, the power is low; at a right angle it is high.
    """
    steps = images.power_spectrum()
    figure = new_figure(columns=1.9, rows=1.7)
    panels = figure.subplots(2, 4)
    for row, name, part in zip(panels, ("Re", "Im"), (np.real, np.imag), strict=True):
        kernels = (steps.radial, part(steps.angular), part(steps.kernel))
        titles = ("radial", f"{name}, angular", f"{name}, product")
        for axes, kernel, title in zip(row, kernels, titles, strict=False):
            kernel_picture = _show(axes, kernel, lowest=-1)
            axes.set_title(title)
    figure.colorbar(kernel_picture, ax=panels[:, :3], shrink=0.7, ticks=[-1, 0, 1], location="bottom")
    for axes, image, title in zip(panels[:, 3], (steps.one_hot, steps.drawn), ("one-hot", "power"), strict=True):
        picture = _show(axes, image, lowest=0)
        axes.set_title(title)
        for pixel, name, colour in ((images.LINE, "line", COLOURS[1]), (images.RIGHT_ANGLE, "90°", COLOURS[6])):
            axes.plot(*pixel, "o", color=colour, markerfacecolor="none", markersize=7, markeredgewidth=1.2, label=name)
    panels[0, 3].legend(loc="lower right", fontsize=6.5)
    figure.colorbar(picture, ax=panels[:, 3], shrink=0.7, location="bottom")
    return figure


def _show(axes: Axes, values: NDArray[np.float64], lowest: float) -> AxesImage:
    """Draw an image (x, y), from 0 to its highest value, or from -1 to 1 in colours of both signs."""
    limits: dict[str, Any] = {"vmin": lowest, "vmax": max(1.0, float(np.max(values))) if lowest == 0 else 1.0}
    colours = "cividis" if lowest == 0 else "RdBu_r"
    picture = axes.imshow(values.T, origin="lower", cmap=colours, interpolation="nearest", **limits)
    bare(axes)
    return picture
