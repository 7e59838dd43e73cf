"""Pictures of structures and Q-maps, seen along z: frames for an environment, panels for a figure.

Every picture is drawn on a figure of its own or on the axes handed in: matplotlib is imported when the first picture
is drawn, and its backend and settings are left alone.
"""

from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from ase import Atoms
from ase.data import covalent_radii
from ase.data.colors import jmol_colors
from ase.neighborlist import natural_cutoffs, neighbor_list
from numpy.typing import ArrayLike, NDArray

from asla_env.problem import Problem
from asla_env.whole_file import whole_file

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage

_MARGIN = 1.6  # Å of periodic images around the cell
_RIM = 0.6  # Å beyond the outermost pixels and atoms along open axes
_DISC = 0.55  # radius of a disc over the covalent radius
_BOND_REACH = 1.3  # a bond is drawn up to this multiple of the sum of covalent radii
_BOND_WIDTH, _BOND_GREY = 0.16, 0.45  # Å; brightness
_PALE, _DIM = 0.5, 0.6  # how far template atoms and periodic images fade to white
_ILLEGAL = "#d8d8d8"
_SCALE, _LONGEST = 40.0, 800.0  # pixels of a frame per Å, and along its longer side at most


def structure_image(placed: Sequence[int], problem: Problem) -> NDArray[np.uint8]:
    """Draw the structure so far as an image.

    Parameters
    ----------
    placed
        Action indices of the atoms placed so far.
    problem
        The problem whose template and cell are drawn.

    Returns
    -------
    NDArray
        Red, green and blue, shape (height, width, 3). The size depends on the problem alone.
    """
    from matplotlib.figure import Figure

    spans = np.subtract(*_view(problem)[::-1])  # Å
    width, height = 2 * np.ceil(spans * min(_SCALE, _LONGEST / spans.max()) / 2)  # even, as video formats ask
    figure = Figure(figsize=(width / 100, height / 100), dpi=100, facecolor="white")
    axes = figure.add_axes((0, 0, 1, 1))
    draw_structure(axes, placed, problem)
    axes.set_aspect("auto")  # the frame has the aspect already, up to rounding
    axes.set_axis_off()
    return rgb(figure)


def draw_structure(axes: "Axes", structure: Atoms | Sequence[int], problem: Problem) -> None:
    """Draw atoms as discs at their true positions, with their bonds, in the cell and dimmed around it.

    Colours are ASE's, discs about half as wide as the covalent radii tell; template and surroundings are paler. Bonds
    join atoms within 1.3 times the sum of their covalent radii. The dashed box is the area of the pixels, and along
    periodic axes the cell; what is drawn beyond it there are periodic images.

    Parameters
    ----------
    axes
        Where to draw; limits, labels and aspect are set, in Å.
    structure
        Atoms, or the action indices of the atoms placed so far. Of given atoms those less than half a pixel from an
        atom of the template or the surroundings count as such.
    problem
        The problem whose cell and template are drawn.
    """
    from matplotlib.collections import PolyCollection

    atoms = structure if isinstance(structure, Atoms) else problem.structure(structure)
    axes.set_facecolor("white")
    polygons, faces, edges = _polygons(atoms, problem)
    axes.add_collection(PolyCollection(polygons, facecolors=faces, edgecolors=edges, linewidths=0.8), autolim=False)
    _draw_box(axes, problem)


def draw_q_map(
    axes: "Axes", q_map: ArrayLike, problem: Problem, legal: ArrayLike | None = None, *, colour_bar: bool = False
) -> "AxesImage":
    """Draw the Q-map of one species, each pixel around its position, dimmed around the cell along periodic axes.

    Parameters
    ----------
    axes
        Where to draw; limits, labels and aspect are those of `draw_structure`.
    q_map
        Q-values, shape (x, y[, z]); colours run from -1 to 1. Along z the highest legal value is shown.
    problem
        The problem whose grid is drawn.
    legal
        Which pixels are legal, as many as `q_map` has values; the others are grey.
    colour_bar
        Whether to draw a colour bar beside the axes.

    Raises
    ------
    ValueError
        If the map or the mask is not one of this grid.
    """
    from matplotlib import colormaps

    low, high = _box(problem)
    values = _from_above(q_map, legal, problem)  # [x, y]
    spacing = np.asarray(problem.grid.spacing[:2])
    around = np.where(problem.grid.periodic[:2], np.ceil(_MARGIN / spacing), 0).astype(int)
    colours = colormaps["viridis"].with_extremes(bad=_ILLEGAL)
    for pad, alpha in ((around, 1 - _DIM), (0 * around, 1.0)):
        (left, bottom), (right, top) = low - pad * spacing, high + pad * spacing
        image = axes.imshow(
            np.pad(values, np.column_stack([pad, pad]), mode="wrap").T, cmap=colours, vmin=-1, vmax=1, alpha=alpha,
            extent=(left, right, bottom, top), origin="lower", interpolation="nearest",
        )  # fmt: skip
    _draw_box(axes, problem)
    if colour_bar:
        axes.figure.colorbar(image, ax=axes, label="Q", shrink=0.8, ticks=[-1, 0, 1])
    return image


def save_structure(
    path: str | PathLike[str], atoms: Atoms | Sequence[int], problem: Problem, *, energy: float | None = None
) -> None:
    """Save a picture of a structure, with its energy in eV in the title if given.

    Parameters
    ----------
    path
        File to write; its ending chooses the format.
    atoms, problem
        As `structure` and `problem` of `draw_structure`.
    energy
        Energy in eV.
    """
    figure = panel_figure(problem, 4.5)
    axes = figure.subplots()
    draw_structure(axes, atoms, problem)
    axes.set_title(problem.name if energy is None else f"{problem.name}: {energy:.3f} eV")
    save_figure(path, figure, bbox_inches="tight")


def save_figure(path: str | PathLike[str], figure: "Figure", **how: Any) -> None:
    """Save a figure of Matplotlib; the ending of the file chooses the format, and none is PNG."""
    with whole_file(Path(path)) as partial:
        figure.savefig(partial, format=Path(path).suffix[1:] or "png", **how)


def panel_figure(problem: Problem, longest: float, *, columns: int = 1, rows: int = 1, dpi: int = 150) -> "Figure":
    """Figure for so many panels, given the inches of the longer side of one."""
    from matplotlib.figure import Figure

    spans = np.subtract(*_view(problem)[::-1])
    width, height = longest * spans / spans.max()
    return Figure((width * columns, height * rows), dpi=dpi, layout="compressed", facecolor="white")


def as_mask(legal: ArrayLike, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """A mask in the shape of the values that it is for."""
    mask = np.asarray(legal, dtype=bool)
    if mask.size != np.prod(shape):
        raise ValueError(f"the mask of legal actions has shape {mask.shape} but must have shape {shape}, or be flat")
    return mask.reshape(shape)


def rgb(figure: "Figure") -> NDArray[np.uint8]:
    """The figure as an image, shape (height, width, 3)."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas: Any = FigureCanvasAgg(figure)  # its methods have no types
    canvas.draw()
    return np.asarray(canvas.buffer_rgba(), dtype=np.uint8)[..., :3].copy()


def _box(problem: Problem) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Lower and upper corner (x, y) in Å of the area of the pixels: half a pixel beyond the outermost centres."""
    low = np.asarray(problem.grid.origin[:2]) - np.asarray(problem.grid.spacing[:2]) / 2
    return low, low + np.asarray(problem.grid.cell[:2])


def _view(problem: Problem) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Lower and upper corner (x, y) in Å of the pictures: box, surroundings and a margin."""
    low, high = _box(problem)
    periodic = np.asarray(problem.grid.periodic[:2])
    points = np.concatenate([[low, high], problem.surroundings.positions[:, :2]])
    view_low = np.where(periodic, low - _MARGIN, points.min(axis=0) - _RIM)
    return view_low, np.where(periodic, high + _MARGIN, points.max(axis=0) + _RIM)


def _draw_box(axes: "Axes", problem: Problem) -> None:
    """Draw the outline of the pixels, below the atoms, and set limits, labels and aspect."""
    from matplotlib.patches import Rectangle
    from matplotlib.ticker import MaxNLocator

    low, high = _box(problem)
    outline = Rectangle(tuple(low), *(high - low), fill=False, edgecolor="0.3", linestyle=(0, (4, 3)), zorder=0.5)
    axes.add_patch(outline)
    (left, bottom), (right, top) = _view(problem)
    axes.set(xlim=(left, right), ylim=(bottom, top), xlabel="x (Å)", ylabel="y (Å)", aspect="equal")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(7, integer=True, steps=[1, 2, 5, 10]))


def _polygons(
    atoms: Atoms, problem: Problem
) -> tuple[list[NDArray[np.float64]], NDArray[np.float64], NDArray[np.float64]]:
    """Bonds and discs, upwards and with the images first, and their face and edge colours, shape (polygon, 3)."""
    atoms = _in_the_box(atoms, problem)
    bonds, starts = _half_bonds(atoms)
    owners = np.concatenate([starts, np.arange(len(atoms))])
    order = np.argsort(atoms.positions[owners, 2], kind="stable")  # bonds come first, below their disc
    shapes = [*bonds, *_discs(atoms)]
    shifts = _image_shifts(problem)
    polygons = [shapes[i] + shift for shift in shifts for i in order]
    grey = np.full((len(bonds), 3), _BOND_GREY)
    dim = np.where(shifts.any(axis=1), _DIM, 0.0)[:, None, None]  # [image, 1, 1]
    faces, edges = (np.concatenate([grey, colours])[order] for colours in _disc_colours(atoms, problem))
    return polygons, _faded(faces, dim).reshape(-1, 3), _faded(edges, dim).reshape(-1, 3)


def _in_the_box(atoms: Atoms, problem: Problem) -> Atoms:
    """The same atoms with the periodicity of the grid, each moved into the box along periodic axes."""
    grid = problem.grid
    lengths, periodic = np.ones(3), np.zeros(3, dtype=bool)
    lengths[: grid.ndim], periodic[: grid.ndim] = grid.cell, grid.periodic
    low = np.asarray(grid.origin) - np.append(grid.spacing, 0.0)[:3] / 2
    wrapped = low + (atoms.positions - low) % lengths
    return Atoms(atoms.numbers, np.where(periodic, wrapped, atoms.positions), cell=np.diag(lengths), pbc=periodic)


def _half_bonds(atoms: Atoms) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Corners of a bar from each atom half-way to each neighbour, shape (bond, 4, 2) in Å, and that atom."""
    starts, vectors = neighbor_list("iD", atoms, natural_cutoffs(atoms, mult=_BOND_REACH))
    along = vectors[:, :2]
    lengths = np.hypot(*along.T)[:, None]
    across = along[:, ::-1] * (1, -1) * _BOND_WIDTH / 2 / np.maximum(lengths, 1e-9)
    corners = np.stack([-across, along / 2 - across, along / 2 + across, across], axis=1)
    return atoms.positions[starts, None, :2] + corners, starts


def _discs(atoms: Atoms) -> NDArray[np.float64]:
    """Corners of a disc for each atom, shape (atom, corner, 2) in Å."""
    angles = np.linspace(0, 2 * np.pi, 36, endpoint=False)
    circle = np.column_stack([np.cos(angles), np.sin(angles)])
    return np.asarray(atoms.positions[:, None, :2] + _DISC * covalent_radii[atoms.numbers, None, None] * circle)


def _disc_colours(atoms: Atoms, problem: Problem) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Face and edge colours of the atoms, shape (atom, 3); template and surroundings are paler."""
    given = problem.template + problem.surroundings
    gaps = np.linalg.norm(problem.grid.minimum_image(atoms.positions[:, None] - given.positions), axis=-1)
    same = (gaps < min(problem.grid.spacing) / 2) & (atoms.numbers[:, None] == given.numbers)
    pale = np.where(same.any(axis=1), _PALE, 0.0)[:, None]
    return _faded(jmol_colors[atoms.numbers], pale), _faded(np.full((len(atoms), 3), 0.1), pale)


def _faded(colours: NDArray[np.float64], share: ArrayLike) -> NDArray[np.float64]:
    """Mix colours with a share of white."""
    return np.asarray(colours + (1 - colours) * np.asarray(share))


def _image_shifts(problem: Problem) -> NDArray[np.float64]:
    """Translations (x, y) in Å to the periodic images around the cell, shape (image, 2), the cell's own last."""
    lengths = np.asarray(problem.grid.cell[:2])
    reach = np.where(problem.grid.periodic[:2], np.ceil((_MARGIN + _RIM) / lengths), 0).astype(int)
    steps = np.array([(i, j) for i in range(-reach[0], reach[0] + 1) for j in range(-reach[1], reach[1] + 1)])
    return np.asarray(steps[np.argsort(-np.abs(steps).max(axis=1), kind="stable")] * lengths)


def _from_above(q_map: ArrayLike, legal: ArrayLike | None, problem: Problem) -> NDArray[np.float64]:
    """Q-values, shape (x, y), nan where no pixel is legal; of three axes the highest legal one along z."""
    values = np.asarray(q_map, dtype=float)
    if values.shape != problem.grid.shape:
        raise ValueError(f"`q_map` has shape {values.shape} but must have shape {problem.grid.shape}")
    if legal is not None:
        values = np.where(as_mask(legal, problem.grid.shape), values, np.nan)
    return values if values.ndim == 2 else np.fmax.reduce(values, axis=2)
