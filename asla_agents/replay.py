"""Experience replay: finished builds as pixels and energies; images and targets are made when a batch is drawn."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import prod
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from asla_agents.build_index import BuildIndex
from asla_agents.ranges import check_at_least, check_shares
from asla_agents.symmetry import from_each_origin, has_free_origin, move_origin, site_maps
from asla_env.problem import Problem


class Batch(NamedTuple):
    """Samples to train on."""

    images: NDArray[np.int8]
    """One-hot images of unfinished structures, shape (batch, species, x, y[, z])."""
    actions: NDArray[np.int64]
    """Next placements: a few atoms of the build, each followed by its species on the neighbouring pixels, shape
    (batch, placements * (1 + neighbours))."""
    weights: NDArray[np.float64]
    """How much each of them counts in the loss, in sum about as much for all images, of the same shape."""
    targets: NDArray[np.float64]
    """Target Q-values, of the same shape."""


@dataclass(frozen=True)
class ReplaySettings:
    """How batches are drawn and energies become targets.

    Parameters
    ----------
    best_share, latest_share
        Parts of a batch drawn from the builds of lowest energy and from the latest ones; the rest is drawn from all.
    n_best, n_latest
        How many builds these are; of builds of the same structure only the one of lowest energy counts among the best.
    window_episodes, window_quantile
        The map from energy to target is linear, +1 at the lowest energy so far and -1 at this quantile of the energies
        of so many latest builds.
    minimum_window
        The two are at least this many eV per placed atom apart.
    lowest_target
        Higher energies have targets below -1, down to this.
    late_exponent
        How much placements near the end of a build are preferred, where its energy says most about each of them: of n
        the one with ``floor(n u**late_exponent)`` more to come is drawn, with u uniform in [0, 1); 1 prefers none.
    placements
        Most atoms of a build that are learned from as the next one of an unfinished structure. All that are to come
        could be the next; more of them cost little, as they share the image.
    spillover
        Weight in the loss of the neighbours of the pixel where the atom went; they share its target.
    shuffled_share
        Part of the samples for which the atoms of a build are put in a random order first: the energy does not depend
        on it, so any atoms of a build make an unfinished structure and any other one the next placement. Where any
        atom could be the template, another one becomes it.
    """

    best_share: float = 0.25
    latest_share: float = 0.25
    n_best: int = 50
    n_latest: int = 20
    window_episodes: int = 100
    window_quantile: float = 0.5
    minimum_window: float = 0.2
    lowest_target: float = -3.0
    late_exponent: float = 6.0
    placements: int = 5
    spillover: float = 1.0
    shuffled_share: float = 1.0

    def __post_init__(self) -> None:
        check_shares(self, "best_share", "latest_share", "window_quantile", "spillover", "shuffled_share")
        if self.best_share + self.latest_share > 1:
            raise ValueError(
                f"`best_share + latest_share` is {self.best_share + self.latest_share} but must be at most 1"
            )
        check_at_least(self, 1, "n_best", "n_latest", "window_episodes", "placements")
        if not 0 < self.minimum_window < np.inf:
            raise ValueError(f"`minimum_window` is {self.minimum_window} eV but must be positive and finite")
        if not -np.inf < self.lowest_target <= -1:
            raise ValueError(f"`lowest_target` is {self.lowest_target} but must be finite and at most -1")
        if not 1 <= self.late_exponent < np.inf:
            raise ValueError(f"`late_exponent` is {self.late_exponent} but must be finite and at least 1")


class BuildReplay:
    """All builds of a search.

    The target of a placement comes from the lowest energy of all builds that have the atoms of the structure after it,
    whatever the order in which they came, at the same pixels or those of a symmetric image that keeps the template:
    "how stable can it become". Builds that have them elsewhere, after a translation, are not looked for.

    Parameters
    ----------
    problem
        What is built.
    settings
        How batches are drawn.
    symmetries
        Pixel permutations that keep the template, shape (n, n_pixels), identity first.
    """

    def __init__(self, problem: Problem, settings: ReplaySettings, symmetries: NDArray[np.int64]) -> None:
        self.settings = settings
        self._problem = problem
        self._free_origin = has_free_origin(problem)
        self._maps = site_maps(symmetries, len(problem.species))
        self._neighbours = _neighbour_table(problem)
        self._hashes = np.random.default_rng(0).integers(2**63, size=problem.n_actions)  # Zobrist's, one a site
        self._sites: list[NDArray[np.int32]] = []
        self._energies: list[float] = []
        self._structures: list[int] = []  # the key of what each build ended with
        self._index = BuildIndex(problem.n_actions)
        self._visits = Counter[int]()

    def __len__(self) -> int:
        return len(self._energies)

    def __iter__(self) -> Iterator[tuple[list[int], float]]:
        """Actions of each build in the order taken, and its energy in eV, inf where there is none."""
        return zip((sites.tolist() for sites in self._sites), self._energies, strict=True)

    @property
    def energies(self) -> NDArray[np.float64]:
        """Energy in eV of each build, inf where there is none, shape (builds,)."""
        return np.array(self._energies)

    @property
    def episodes_since_lowest(self) -> int:
        """Builds since the first one of the lowest energy."""
        return len(self) - 1 - int(np.argmin(self._energies)) if len(self) else 0

    def lowest(self, n: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Sites (builds, atoms) and energies (builds,) in eV of up to n finished structures, lowest energy first."""
        best, energies = self._best_of_each_structure(), self.energies
        chosen = [i for i in best if np.isfinite(energies[i]) and len(self._sites[i]) == self._problem.n_to_place][:n]
        sites = np.array([self._sites[i] for i in chosen], dtype=np.int64)
        return sites.reshape(-1, self._problem.n_to_place), energies[chosen]

    def clear(self) -> None:
        """Forget all builds."""
        for part in (self._sites, self._energies, self._structures, self._visits):
            part.clear()
        self._index = BuildIndex(self._problem.n_actions)

    def add(self, placed: Sequence[int], energy: float) -> None:
        """Store a build.

        Parameters
        ----------
        placed
            Actions in the order taken.
        energy
            Energy in eV; nan or inf for a build without one, which counts as worse than all others.
        """
        energy = float(energy) if np.isfinite(energy) else np.inf
        sites = np.asarray(placed, dtype=np.int32)
        self._sites.append(sites)
        self._energies.append(energy)
        self._index.add(self._with_template(sites))
        self._structures.append(self.key(sites))
        self._visits.update(self._keys(sites))

    def is_known(self, placed: ArrayLike, in_flight: Sequence[Sequence[int]] = ()) -> bool:
        """Whether a structure was built, up to symmetry and, where the origin is free, translation.

        Parameters
        ----------
        placed
            Its actions, in any order.
        in_flight
            Actions of further builds that count.
        """
        key, *others = (self.key(np.asarray(build, dtype=np.int64)) for build in (placed, *in_flight))
        return key in self._structures or key in others

    def key(self, sites: NDArray[np.integer]) -> int:
        """Key of a structure, equal for all orders, symmetric images and, where the origin is free, translations."""
        frames = from_each_origin(self._with_template(sites), self._problem) if self._free_origin else sites
        return int(np.bitwise_xor.reduce(self._hashes[self._maps[:, frames]], axis=-1).min())

    def visits(
        self, placed: ArrayLike, actions: ArrayLike, in_flight: Sequence[Sequence[int]] = ()
    ) -> NDArray[np.int64]:
        """How many builds went, up to symmetry, through the structure after each action, shape (actions,).

        Parameters
        ----------
        placed
            Actions that made the structure so far, in any order.
        actions
            Actions to look up.
        in_flight
            Actions, in the order taken, of unfinished builds, which count too.
        """
        state = np.bitwise_xor.reduce(self._hashes[self._maps[:, np.asarray(placed, dtype=np.int64)]], axis=1)
        keys = (state[:, None] ^ self._hashes[self._maps[:, np.asarray(actions)]]).min(axis=0)
        visits = self._visits.get  # a Counter's own look-up is slow for what it has not seen
        counts = [visits(key, 0) for key in keys.tolist()]
        for build in in_flight:
            passed = self._keys(np.asarray(build, dtype=np.int32))
            counts = [count + (key in passed) for count, key in zip(counts, keys.tolist(), strict=True)]
        return np.array(counts, dtype=np.int64)

    def targets(self, energies: NDArray[np.float64]) -> NDArray[np.float64]:
        """Target Q-values, at most 1, of energies in eV, by what has been seen so far."""
        return np.clip(1 - 2 * self.windows_above(energies), self.settings.lowest_target, 1)

    def windows_above(self, energies: NDArray[np.float64]) -> NDArray[np.float64]:
        """How far above the lowest energy so far some energies in eV lie, in windows; inf as long as there is none."""
        seen = self.energies
        finite = seen[np.isfinite(seen)]
        if not len(finite):
            return np.full(energies.shape, np.inf)
        typical = float(np.quantile(finite[-self.settings.window_episodes :], self.settings.window_quantile))
        lowest = float(finite.min())
        window = max(typical - lowest, self.settings.minimum_window * self._problem.n_to_place)
        return (energies - lowest) / window

    def sample(self, batch_size: int, rng: np.random.Generator) -> Batch:
        """Draw placements from the best, the latest and all builds, each under a random symmetry."""
        builds = self._draw_builds(batch_size, rng)
        maps = self._maps[rng.integers(len(self._maps), size=batch_size)]  # [batch, sites]
        images = np.zeros((batch_size, self._problem.n_actions), dtype=np.int8)
        images[:, self._problem.template_sites] = 1
        atoms = np.full((batch_size, self.settings.placements), -1, dtype=np.int64)
        lowest, energies = np.full(atoms.shape, np.inf), self.energies
        for i, (build, site_map) in enumerate(zip(builds, maps, strict=True)):
            state, to_come, through = self._draw_placements(build, site_map, rng)
            images[i, state] = 1
            atoms[i, : len(to_come)] = to_come
            lowest[i, : len(to_come)] = np.where(through, energies, np.inf).min(axis=1)
        actions = np.concatenate([atoms[..., None], self._neighbours[atoms]], axis=-1)  # [batch, placement, 1 + n]
        weights = np.where(actions >= 0, self.settings.spillover, 0.0)
        weights[..., 0] = 1
        there = atoms >= 0
        weights *= (there / there.sum(axis=1, keepdims=True))[..., None]
        targets = np.broadcast_to(self.targets(lowest)[..., None], actions.shape)
        shape = (batch_size, len(self._problem.species), *self._problem.grid.shape)
        each = (batch_size, prod(actions.shape[1:]))
        legal = np.maximum(actions, 0)  # those beyond an edge weigh nothing
        return Batch(images.reshape(shape), legal.reshape(each), weights.reshape(each), targets.reshape(each))

    def sample_finished(
        self, batch_size: int, rng: np.random.Generator
    ) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Draw finished builds as `sample` does, each under a random symmetry.

        Returns
        -------
        tuple
            Sites of the placed atoms, shape (builds, atoms), and energies in eV, shape (builds,); builds that came to
            a dead end are left out.
        """
        drawn = self._draw_builds(batch_size, rng)
        builds = [build for build in drawn if len(self._sites[build]) == self._problem.n_to_place]
        maps = self._maps[rng.integers(len(self._maps), size=len(builds))]
        placed = [site_map[self._sites[build]] for build, site_map in zip(builds, maps, strict=True)]
        return np.array(placed, dtype=np.int64).reshape(-1, self._problem.n_to_place), self.energies[builds]

    def beside(self, site: int) -> NDArray[np.int64]:
        """Sites one pixel away along each axis."""
        neighbours = self._neighbours[site]
        return np.asarray(neighbours[neighbours >= 0])

    def _draw_placements(
        self, build: int, site_map: NDArray[np.int64], rng: np.random.Generator
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_]]:
        """Sites of an unfinished structure on the way to a build, next placements, and which builds have both."""
        placed = self._sites[build]
        step = len(placed) - 1 - int(len(placed) * rng.random() ** self.settings.late_exponent)
        if rng.random() < self.settings.shuffled_share:
            atoms = self._shuffled(placed, rng)
        else:
            atoms = self._with_template(placed)
        n_there, last = len(atoms) - len(placed) + step, step + self.settings.placements
        next_ones = atoms[n_there : n_there + self.settings.placements]
        through = self._index.builds_with(self._maps[:, atoms[:n_there]], self._maps[:, next_ones])
        if self._free_origin:
            atoms = move_origin(atoms, self._problem)
        images = site_map[atoms[len(atoms) - len(placed) :]]
        return images[:step], images[step:last], through

    def _with_template(self, placed: NDArray[np.integer]) -> NDArray[np.int64]:
        """Sites of all atoms, the template's first."""
        return np.concatenate([self._problem.template_sites, placed])

    def _shuffled(self, placed: NDArray[np.int32], rng: np.random.Generator) -> NDArray[np.int64]:
        """Sites of all atoms, the template's first, in a random order; where the origin is free any may be first."""
        atoms = self._with_template(rng.permutation(placed))
        if self._free_origin:
            species = atoms // self._problem.grid.n_pixels
            chosen = int(rng.choice(np.flatnonzero(species == species[0])))
            atoms[[0, chosen]] = atoms[[chosen, 0]]
        return atoms

    def _draw_builds(self, batch_size: int, rng: np.random.Generator) -> NDArray[np.int64]:
        """Indices of builds, shape (batch,)."""
        n, settings = len(self), self.settings
        n_best = round(settings.best_share * batch_size)
        n_latest = min(round(settings.latest_share * batch_size), batch_size - n_best)  # both may be rounded up
        best = self._best_of_each_structure()[: settings.n_best]
        return np.concatenate([
            rng.choice(best, size=n_best),
            rng.integers(max(0, n - settings.n_latest), n, size=n_latest),
            rng.integers(n, size=batch_size - n_best - n_latest),
        ])  # fmt: skip

    def _best_of_each_structure(self) -> NDArray[np.intp]:
        """Index of the build of lowest energy of each structure, the first of equal ones, lowest energy first."""
        order = np.argsort(self.energies, kind="stable")
        _, first = np.unique(np.array(self._structures)[order], return_index=True)
        return np.asarray(order[np.sort(first)])

    def _keys(self, sites: NDArray[np.int32]) -> list[int]:
        """Key of the structure after each placement, equal for all orders and symmetric images."""
        running = np.bitwise_xor.accumulate(self._hashes[self._maps[:, sites]], axis=1)  # [symmetry, step]
        return [int(key) for key in running.min(axis=0)]


def _neighbour_table(problem: Problem) -> NDArray[np.int64]:
    """Actions one pixel away along each axis, shape (n_actions, 2 * axes); -1 beyond an open edge."""
    grid = problem.grid
    steps = [step * axis for axis in np.eye(grid.ndim, dtype=np.int64) for step in (-1, 1)]
    table = grid.shifted(np.arange(grid.n_pixels)[:, None], steps)
    shifts = np.arange(len(problem.species))[:, None, None] * grid.n_pixels
    return np.where(table < 0, -1, table + shifts).reshape(-1, table.shape[-1])
