"""Films of a build: rings and frames are read back from the pictures."""

import re
import subprocess
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from ase import Atoms
from matplotlib import colormaps
from PIL import Image

from asla_env import Grid, Problem, film
from asla_env.action import encode

NO_LIMITS = {"minimum_distance": None, "maximum_distance": None}


def flat(periodic: tuple[bool, bool] = (False, False), **to_place: int) -> Problem:
    """8 x 6 Å with pixels of 0.2 x 0.25 Å and a carbon atom at (1, 1)."""
    atoms = Atoms("C", [(1, 1, 0.5)], cell=(8, 6, 10), pbc=(*periodic, False))
    grid = Grid((40, 24), (8.0, 6.0), periodic, (0.0, 0.0, 0.5))
    return Problem("flat", grid, atoms, to_place or {"C": 3}, **NO_LIMITS)


def solid() -> Problem:
    """6 x 5 x 4 Å with pixels of 0.5 Å, periodic along x, a carbon atom in the middle."""
    atoms = Atoms("C", [(3, 2.5, 2)], cell=(6, 5, 4), pbc=(True, False, False))
    return Problem("solid", Grid((12, 10, 8), (6.0, 5.0, 4.0), (True, False, False)), atoms, {"O": 3}, **NO_LIMITS)


def at(problem: Problem, x: float, y: float, z: float = 0.5, species: int = 0) -> int:
    return encode(species, int(problem.grid.pixels((x, y, z))), problem)


def q_maps(problem: Problem, placed: list[int]) -> np.ndarray:
    """Maps of -1 with 1 at each action that is then taken."""
    maps = np.full((len(placed), problem.n_actions), -1.0)
    maps[range(len(placed)), placed] = 1.0
    return maps.reshape(len(placed), len(problem.species), *problem.grid.shape)


def ring(picture: np.ndarray) -> np.ndarray:
    """Mean row and column of the red ring."""
    return np.argwhere(np.abs(picture.astype(int) - (0xE0, 0x18, 0x2D)).max(axis=-1) < 30).mean(axis=0)


def test_a_ring_marks_the_chosen_pixel_on_the_map_of_its_species() -> None:
    problem = flat(C=1, H=1)
    q_map = np.zeros((2, *problem.grid.shape))
    home, right, up, hydrogen = (
        ring(film.assembly_frame([], q_map, problem, at(problem, x, y, species=species)))
        for x, y, species in ((2, 2, 0), (6, 2, 0), (2, 4, 0), (2, 2, 1))
    )
    scale = (right - home)[1] / 4  # pixels per Å
    assert scale > 10
    np.testing.assert_allclose(up - home, (-2 * scale, 0), atol=1)
    assert hydrogen[1] - home[1] > 8 * scale  # one panel further right
    assert hydrogen[0] == pytest.approx(home[0], abs=1)


def test_a_film_shows_each_choice_and_holds_the_finished_structure(tmp_path: Path) -> None:
    problem = flat((True, True))
    placed = [at(problem, 2.4, 1), at(problem, 3, 2.25), at(problem, 4.4, 2.25)]
    masks = np.ones((3, problem.n_actions), dtype=bool)
    maps = q_maps(problem, placed)
    film.save_film(tmp_path / "film.gif", placed, maps, problem, masks, frame_time_s=0.2, last_frame_time_s=2)
    with Image.open(tmp_path / "film.gif") as gif:
        assert gif.n_frames == 4
        frames, times = [], []
        for i in range(gif.n_frames):
            gif.seek(i)
            frames.append(np.asarray(gif.convert("RGB")))
            times.append(gif.info["duration"])
    assert times == [200, 200, 200, 2000]
    last = film.assembly_frame(placed, None, problem)
    assert {frame.shape for frame in frames} == {last.shape}
    for i in range(3):
        wanted = film.assembly_frame(placed[:i], maps[i], problem, placed[i])
        assert np.abs(frames[i].astype(int) - wanted).max() < 100  # a palette off, not an atom
    assert np.abs(frames[3].astype(int) - last).max() < 100


def test_a_film_can_be_an_mp4_of_the_same_length_and_content(tmp_path: Path) -> None:
    ffmpeg = pytest.importorskip("imageio_ffmpeg")
    problem = flat((True, True))
    placed = [at(problem, 2.4, 1), at(problem, 3, 2.25)]
    path = tmp_path / "film.MP4"
    film.save_film(path, placed, q_maps(problem, placed), problem, frame_time_s=0.4, last_frame_time_s=2, title="Odd")
    last = film.assembly_frame(placed, None, problem, title="Odd")
    height, width = (side + side % 2 for side in last.shape[:2])
    command = [ffmpeg.get_ffmpeg_exe(), "-i", str(path), "-f", "rawvideo", "-pix_fmt", "rgb24", "-"]
    done = subprocess.run(command, capture_output=True, check=True)
    assert re.search(rf"h264.* yuv420p.* {width}x{height}.* 20 fps", done.stderr.decode())
    frames = np.frombuffer(done.stdout, np.uint8).reshape(-1, height, width, 3)
    assert len(frames) == 8 + 8 + 40  # of 1/20 s
    shown = frames[-1][: last.shape[0], : last.shape[1]].astype(int)
    assert np.abs(shown - last).mean() < 5  # compressed
    assert np.abs(frames[0].astype(int) - frames[-1]).mean() > 5


def test_a_film_of_another_kind_is_refused_before_anything_is_drawn(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"`path` is .*film\.avi but must end in \.gif or \.mp4"):
        film.save_film(tmp_path / "film.avi", [], [], flat())


def test_without_what_writes_an_mp4_the_error_says_how_to_get_it(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(film, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"film\.mp4, which needs imageio-ffmpeg: `pip install asla\[mp4\]`"):
        film.save_film(tmp_path / "film.mp4", [], [], flat())


def test_three_axes_and_several_species_can_be_filmed(tmp_path: Path) -> None:
    problem = solid()
    placed = [at(problem, 2, 2, 1, species=1), at(problem, 4, 3, 3, species=1)]
    film.save_film(tmp_path / "film.gif", placed, q_maps(problem, placed), problem, title="Solid")
    with Image.open(tmp_path / "film.gif") as gif:
        assert gif.n_frames == 3


def test_a_strip_has_a_column_for_each_step_and_one_for_what_was_built(tmp_path: Path) -> None:
    problem = flat(C=2, H=2)
    placed = [at(problem, 3, 3), at(problem, 5, 3), at(problem, 3, 4, species=1), at(problem, 6, 3, species=1)]
    widths = []
    for n_steps in (2, 4, 9):
        path = tmp_path / f"strip{n_steps}.png"
        film.save_film_strip(path, placed, q_maps(problem, placed), problem, title="Strip", n_steps=n_steps)
        with Image.open(path) as strip:
            widths.append(strip.width)
    assert widths[0] < widths[1] == widths[2]  # no more columns than steps


def test_filming_leaves_the_settings_of_matplotlib_as_they_are(tmp_path: Path) -> None:
    before = dict(matplotlib.rcParams.copy())
    viridis = colormaps["viridis"].get_bad().tolist()
    problem = flat(C=1)
    film.save_film_strip(tmp_path / "strip.png", [at(problem, 3, 3)], q_maps(problem, [at(problem, 3, 3)]), problem)
    assert dict(matplotlib.rcParams.copy()) == before
    assert colormaps["viridis"].get_bad().tolist() == viridis


@pytest.mark.parametrize("placed", [[], [1, 2]])
def test_a_build_without_a_q_map_for_each_atom_is_refused(tmp_path: Path, placed: list[int]) -> None:
    for save in (film.save_film, film.save_film_strip):
        with pytest.raises(ValueError, match=r"`q_maps` has shape \(1, 1, 40, 24\) but must have shape"):
            save(tmp_path / "film.gif", placed, np.zeros((1, 1, 40, 24)), flat())


def test_masks_of_another_shape_are_refused(tmp_path: Path) -> None:
    problem = flat()
    with pytest.raises(ValueError, match=r"mask of legal actions has shape \(1, 3\)"):
        film.save_film(tmp_path / "film.gif", [1], q_maps(problem, [1]), problem, np.ones((1, 3)))


def test_a_strip_without_a_step_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="`n_steps` is 0 but must be at least 1"):
        film.save_film_strip(tmp_path / "s.png", [1], np.zeros((1, 1, 40, 24)), flat(), n_steps=0)
