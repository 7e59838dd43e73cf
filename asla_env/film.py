"""Films of a build: each choice of a pixel beside the Q-maps from which it was made."""

from collections.abc import Callable, Sequence
from importlib.util import find_spec
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from asla_env.problem import Problem
from asla_env.render import as_mask, draw_q_map, draw_structure, panel_figure, rgb, save_figure
from asla_env.whole_file import whole_file

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_CHOSEN = "#e0182d"
_FPS = 20  # of an MP4, which holds a frame by repeating it


def assembly_frame(
    placed: Sequence[int],
    q_map: ArrayLike | None,
    problem: Problem,
    chosen: int | None = None,
    legal: ArrayLike | None = None,
    *,
    title: str = "",
) -> NDArray[np.uint8]:
    """Draw one step of a build: left the structure so far, right a Q-map for each species to place.

    Parameters
    ----------
    placed, problem
        As for `asla_env.render.structure_image`.
    q_map
        Q-values from which the next atom is chosen, shape (species, x, y[, z]). ``None`` leaves the structure alone.
    chosen
        Action index of the next atom, marked by a red ring.
    legal
        Legal actions, as many as `q_map` has values.
    title
        Written above the frame.

    Returns
    -------
    NDArray
        As for `asla_env.render.structure_image`.
    """
    n_panels = 1 + int(np.count_nonzero(problem.counts))
    figure = panel_figure(problem, 3.4, columns=n_panels, dpi=100)
    panels = figure.subplots(1, 1 if q_map is None else n_panels, squeeze=False)[0]
    figure.suptitle(title)
    draw_structure(panels[0], placed, problem)
    panels[0].set_title(f"{len(placed)} of {problem.n_to_place} atoms placed")
    if q_map is not None:
        _draw_choice(panels[1:], q_map, problem, chosen, legal, colour_bar=True)
    return rgb(figure)


def save_film(
    path: str | PathLike[str],
    placed: Sequence[int],
    q_maps: ArrayLike,
    problem: Problem,
    legal_masks: ArrayLike | None = None,
    *,
    title: str = "",
    frame_time_s: float = 0.4,
    last_frame_time_s: float = 3.0,
) -> None:
    """Save a build as a GIF or MP4: a frame for each choice of a pixel, and last the finished structure, held longer.

    Parameters
    ----------
    path
        File to write; its ending chooses the format, ``.gif`` or ``.mp4``. MP4 needs imageio-ffmpeg.
    placed, problem
        Action indices of the atoms in the order in which they were placed, and the problem that was built.
    q_maps
        Q-values from which each was chosen, shape (steps, species, x, y[, z]).
    legal_masks
        Actions that were legal, shape of `q_maps` or (steps, n_actions).
    title
        Written above every frame.
    frame_time_s, last_frame_time_s
        How long a frame and the last frame are shown, in seconds; in an MP4 to a twentieth.

    Raises
    ------
    ValueError
        If there is not one Q-map and one mask for each placed atom, or the ending is another.
    ImportError
        If the ending is ``.mp4`` and imageio-ffmpeg is missing.
    """
    writer = _writer(Path(path))
    maps, masks = _steps(placed, q_maps, legal_masks, problem)
    frames = [
        assembly_frame(placed[:i], maps[i], problem, placed[i], masks[i], title=title) for i in range(len(placed))
    ]
    frames.append(assembly_frame(placed, None, problem, title=title))
    with whole_file(Path(path)) as partial:
        writer(partial, frames, [frame_time_s] * len(placed) + [last_frame_time_s])


def save_film_strip(
    path: str | PathLike[str],
    placed: Sequence[int],
    q_maps: ArrayLike,
    problem: Problem,
    legal_masks: ArrayLike | None = None,
    *,
    title: str = "",
    n_steps: int = 4,
) -> None:
    """Save steps of a build side by side, structures above their Q-maps, and beside them what was built.

    Parameters
    ----------
    path
        File to write; its ending chooses the format.
    placed, q_maps, problem, legal_masks, title
        As for `save_film`.
    n_steps
        How many steps to show, spread evenly from the first choice to the last.

    Raises
    ------
    ValueError
        If there is not one Q-map and one mask for each placed atom, or no step is to be shown.
    """
    if n_steps < 1:
        raise ValueError(f"`n_steps` is {n_steps} but must be at least 1")
    maps, masks = _steps(placed, q_maps, legal_masks, problem)
    steps = [int(i) for i in np.unique(np.linspace(0, len(placed) - 1, n_steps).round())]
    n_rows = 1 + int(np.count_nonzero(problem.counts))
    figure = panel_figure(problem, 2.0, columns=len(steps) + n_rows, rows=n_rows)
    figure.suptitle(title)
    areas = figure.add_gridspec(n_rows, len(steps) + n_rows)
    for column, i in enumerate(steps):
        panels = [figure.add_subplot(areas[row, column]) for row in range(n_rows)]
        draw_structure(panels[0], placed[:i], problem)
        _draw_choice(panels[1:], maps[i], problem, placed[i], masks[i])
        _label_column(panels, f"{i} placed", first=column == 0)
    last = figure.add_subplot(areas[:, len(steps) :])
    draw_structure(last, placed, problem)
    _label_column([last], f"{len(placed)} placed")
    figure.colorbar(panels[-1].images[-1], ax=last, label="Q", shrink=0.6, ticks=[-1, 0, 1])
    save_figure(path, figure, bbox_inches="tight")


def _writer(path: Path) -> Callable[[Path, list[NDArray[np.uint8]], list[float]], None]:
    """What writes frames, each shown for so many seconds, to a file of this ending."""
    ending = path.suffix.lower()
    if ending not in _WRITERS:
        raise ValueError(f"`path` is {path} but must end in {' or '.join(_WRITERS)}")
    if ending == ".mp4" and find_spec("imageio_ffmpeg") is None:
        raise ImportError(f"`path` is {path}, which needs imageio-ffmpeg: `pip install asla[mp4]`")
    return _WRITERS[ending]


def _write_gif(path: Path, frames: list[NDArray[np.uint8]], times_s: list[float]) -> None:
    """Write frames with a palette each."""
    from PIL import Image

    first, *others = [Image.fromarray(frame).quantize() for frame in frames]
    times_ms = [round(1000 * time_s) for time_s in times_s]
    first.save(path, format="GIF", save_all=True, append_images=others, duration=times_ms, loop=0)


def _write_mp4(path: Path, frames: list[NDArray[np.uint8]], times_s: list[float]) -> None:
    """Write frames as H.264, with sides of an even number of pixels, as all players ask."""
    from imageio_ffmpeg import write_frames

    path.open("ab").close()  # whether it can be written is known now, not from ffmpeg
    height, width = (side + side % 2 for side in frames[0].shape[:2])
    writer = write_frames(str(path), (width, height), fps=_FPS, macro_block_size=2)
    writer.send(None)
    for frame, time_s in zip(frames, times_s, strict=True):
        rims = ((0, height - frame.shape[0]), (0, width - frame.shape[1]), (0, 0))
        padded = np.ascontiguousarray(np.pad(frame, rims, constant_values=255))
        for _ in range(max(1, round(time_s * _FPS))):
            writer.send(padded)
    writer.close()


_WRITERS = {".gif": _write_gif, ".mp4": _write_mp4}


def _steps(
    placed: Sequence[int], q_maps: ArrayLike, legal_masks: ArrayLike | None, problem: Problem
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Q-maps and masks of a build, both of shape (steps, species, x, y[, z])."""
    maps = np.asarray(q_maps, dtype=float)
    expected = (len(placed), len(problem.species), *problem.grid.shape)
    if not len(placed) or maps.shape != expected:
        raise ValueError(f"`q_maps` has shape {maps.shape} but must have shape {expected}, with at least one step")
    return maps, np.ones(expected, dtype=bool) if legal_masks is None else as_mask(legal_masks, expected)


def _draw_choice(
    panels: Sequence["Axes"],
    q_map: ArrayLike,
    problem: Problem,
    chosen: int | None,
    legal: ArrayLike | None,
    *,
    colour_bar: bool = False,
) -> None:
    """Draw the Q-map of each species to place, with a ring around the chosen pixel."""
    maps = np.asarray(q_map)
    masks = np.ones(maps.shape, dtype=bool) if legal is None else as_mask(legal, maps.shape)
    for axes, channel in zip(panels, np.flatnonzero(problem.counts), strict=True):
        draw_q_map(axes, maps[channel], problem, masks[channel], colour_bar=colour_bar and axes is panels[-1])
        axes.set_title(f"Q-map of {problem.species[channel]}")
        if chosen is not None and chosen // problem.grid.n_pixels == channel:
            x, y, _ = problem.grid.positions(chosen % problem.grid.n_pixels)
            axes.scatter(x, y, s=70, facecolors="none", edgecolors=_CHOSEN, linewidths=2)


def _label_column(panels: Sequence["Axes"], title: str, *, first: bool = False) -> None:
    """Take ticks away; put a title on top, and the panels' own titles at the left of the first column."""
    for axes in panels:
        axes.set(xticks=[], yticks=[], xlabel="", ylabel=axes.get_title() if first else "", title="")
    panels[0].set_title(title)
