"""What a representation draws: a structure as the environment gives it, the kernels, and the images for the network."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from asla_agents.drawing import Representation
from asla_agents.figures.style import at_print_size, bare, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_ROW = 0.62  # height of a row of panels


@at_print_size
def drawn(representation: Representation, image: ArrayLike) -> Figure:
    """Draw a structure, the kernels of a representation, and what it makes of the structure.

    The images are those that the network sees: after the batch normalisation, if there is one, in the state to which
    training has brought it. Before any training that changes nothing.

    Parameters
    ----------
    representation
        Representation of images with two axes; it is set to evaluation, as for choosing a placement.
    image
        One-hot image, shape (species, x, y), such as an environment observes.

    Returns
    -------
    Figure
        A row for each channel: the structure (of its species), the kernel, with a second panel for its imaginary part
        if some channel has one, and the image.

    Raises
    ------
    ValueError
        If the image is not one of the representation's grid.
    """
    expected = (representation.n_species, *representation.grid.shape)
    if representation.grid.ndim != 2 or np.shape(image) != expected:
        raise ValueError(f"`image` has shape {np.shape(image)} but must have two axes and the shape {expected}")
    one_hot = torch.as_tensor(np.asarray(image))
    representation.eval()
    with torch.no_grad():
        images = np.asarray(representation.image(one_hot[None])[0])
    kernels = _kernels(representation)
    per_species = representation.n_channels // representation.n_species
    figure = new_figure(columns=0.62 * (2 + kernels.shape[1]), rows=_ROW * len(images))
    for channel, panels in enumerate(figure.subplots(len(images), 2 + kernels.shape[1], squeeze=False)):
        _show(panels[0], np.asarray(one_hot[channel // per_species]), "structure")
        for axes, part, name in zip(panels[1:-1], kernels[channel], ("kernel", "imaginary part"), strict=False):
            if np.any(part):
                _show(axes, part, name)
            else:  # a channel without an imaginary part among others
                axes.set_axis_off()
        _show(panels[-1], images[channel], "drawn" if len(images) == 1 else f"drawn, channel {channel + 1}")
    return figure


def _kernels(representation: Representation) -> NDArray[np.float64]:
    """Kernels of all channels, shape (channel, part, x, y): no part, a real one, or a real and an imaginary one."""
    kernel = getattr(representation, "kernel", None)
    if kernel is None:  # one-hot
        return np.empty((representation.n_channels, 0, 1, 1))
    with torch.no_grad():
        values = np.asarray(kernel())
    values = values.reshape(-1, *values.shape[-2:])  # [channel, x, y]
    if len(values) < representation.n_channels:  # those of each species are the same
        values = np.tile(values, (representation.n_channels // len(values), 1, 1))
    return np.stack([values.real, values.imag] if np.any(values.imag) else [values.real], axis=1)


def _show(axes: Axes, values: NDArray[np.float64], title: str) -> None:
    """Draw an image (x, y): from 0 to its highest value, or in colours of both signs where it has both."""
    highest = max(float(np.abs(values).max()), 1e-9)
    both_signs = bool(values.min() < -1e-6 * highest)
    picture = axes.imshow(
        values.T,
        origin="lower",
        cmap="RdBu_r" if both_signs else "cividis",
        interpolation="nearest",
        vmin=-highest if both_signs else 0,
        vmax=highest,
    )
    axes.figure.colorbar(picture, ax=axes, shrink=0.8)
    axes.set_title(title)
    bare(axes)
