"""Search with other ways to learn and to explore, which are no settings of the agent.

    OMP_NUM_THREADS=1 python benchmarks/learners.py "targets by rank" Boltzmann --seeds 20

What is not said of a learner is as in the agent's defaults. Rows, one as each search ends, go to
benchmarks/results/learners.jsonl; what is there already is not run again. `asla study` has the agent itself.
"""

import argparse
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from record import machine

from asla_agents import ASLA
from asla_agents.callbacks import StopOnSuccess, read_rows
from asla_agents.config import RunConfig
from asla_agents.explorer import Explorer
from asla_agents.randomness import torch_seeded
from asla_agents.replay import Batch, BuildReplay, ReplaySettings
from asla_agents.symmetry import augmentations
from asla_agents.training import make_env
from asla_env.action import action_mask
from asla_env.observation import placed_sites

ROWS = Path(__file__).parent / "results" / "learners.jsonl"
TEMPERATURE = 0.03
NETWORKS = 3
Values = NDArray[Any]  # of each action


class Exponential(BuildReplay):
    """Targets that fall from +1 to -1 as the linear ones do, but ever slower, never below the lowest target."""

    def targets(self, energies: NDArray[np.float64]) -> NDArray[np.float64]:
        """Target Q-values of energies in eV."""
        floor = self.settings.lowest_target
        return floor + (1 - floor) * ((-1 - floor) / (1 - floor)) ** self.windows_above(energies)


class Rank(BuildReplay):
    """Targets by the part of the latest builds that are lower: none +1, half of them -1, all of them -3."""

    def targets(self, energies: NDArray[np.float64]) -> NDArray[np.float64]:
        """Target Q-values of energies in eV."""
        latest = np.sort(self.energies[-self.settings.window_episodes :])
        return np.clip(1 - 4 * np.searchsorted(latest, energies) / len(latest), self.settings.lowest_target, 1)


class Bootstrapped(BuildReplay):
    """The target of a placement is no less than the highest Q-value, up to 1, of a legal one after it."""

    q_values: Callable[[NDArray[np.int8]], NDArray[np.floating]]  # of the network as it is then

    def sample(self, batch_size: int, rng: np.random.Generator) -> Batch:
        """Draw placements and raise their targets."""
        batch = super().sample(batch_size, rng)
        each = (batch_size, self.settings.placements, -1)  # with the pixels beside it
        there, atoms = batch.weights.reshape(each)[..., 0] > 0, batch.actions.reshape(each)[..., 0]
        next_images, next_masks, where = [], [], []
        for i, image in enumerate(batch.images):
            placed = placed_sites(image, self._problem)
            if len(placed) + 1 == self._problem.n_to_place:
                continue
            for j in np.flatnonzero(there[i]):
                next_images.append(image.copy())
                next_images[-1].flat[atoms[i, j]] = 1
                next_masks.append(action_mask([*placed, atoms[i, j]], self._problem))
                where.append((i, j))
        targets = batch.targets.reshape(each).copy()
        if where:
            highest = np.where(next_masks, self.q_values(np.array(next_images)), -np.inf).max(axis=1)
            i, j = np.array(where).T
            targets[i, j] = np.maximum(targets[i, j], np.minimum(highest, 1)[:, None])
        return batch._replace(targets=targets.reshape(batch.targets.shape))


class ByLoss(BuildReplay):
    """Builds that are drawn neither from the best nor from the latest are drawn by their last loss, new ones first."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.losses: list[float] = []

    def add(self, placed: Sequence[int], energy: float) -> None:
        """Store a build."""
        super().add(placed, energy)
        self.losses.append(max(self.losses, default=1.0))

    def clear(self) -> None:
        """Forget all builds."""
        super().clear()
        self.losses.clear()

    def sample(self, batch_size: int, rng: np.random.Generator) -> Batch:
        """Draw placements, and keep them."""
        self.batch = super().sample(batch_size, rng)
        return self.batch

    def _draw_builds(self, batch_size: int, rng: np.random.Generator) -> NDArray[np.int64]:
        share = 1 - self.settings.best_share - self.settings.latest_share
        chances = np.array(self.losses) ** 0.6 + 1e-6  # the power of Schaul et al., arXiv:1511.05952
        self.drawn = super()._draw_builds(batch_size, rng)
        by_loss = rng.choice(len(self), size=round(share * batch_size), p=chances / chances.sum())
        self.drawn[batch_size - len(by_loss) :] = by_loss
        return self.drawn


class OneTurn(Explorer):
    """A coin for each build instead of each placement: as often one placement of it, any, is not the greedy one."""

    def choose(self, placed: ArrayLike, q_values: Values, legal: Values, exploration=None, **others: Any) -> int:
        """Choose an action."""
        settings, n_there = exploration or self.exploration, np.asarray(placed).size
        share, n = settings.epsilon + settings.top_probability, self.problem.n_to_place
        if not n_there:
            self.turn = int(self.rng.integers(n)) if self.rng.random() < n * share else None
        scale = (self.turn == n_there) / share
        scaled = replace(settings, epsilon=settings.epsilon * scale, top_probability=settings.top_probability * scale)
        return super().choose(placed, q_values, legal, scaled, **others)


class Boltzmann(Explorer):
    """Actions with probabilities proportional to ``exp(Q / 0.03)``, by Gumbel's noise."""

    def choose(self, placed: ArrayLike, q_values: Values, legal: Values, exploration=None, **others: Any) -> int:
        """Choose an action."""
        noisy = q_values + TEMPERATURE * self.rng.gumbel(size=q_values.shape)
        never = replace(exploration or self.exploration, epsilon=0.0, top_probability=0.0)
        return super().choose(placed, noisy, legal, never, **others)


class Learner(ASLA):
    """The agent with another replay, or another way to explore."""

    def __init__(
        self, builds: type[BuildReplay] = BuildReplay, explorer: type[Explorer] = Explorer, **settings: Any
    ) -> None:
        self._kinds = builds, explorer
        super().__init__("QMapPolicy", **settings)

    def _setup_model(self) -> None:
        super()._setup_model()
        builds, explorer = self._kinds
        self.explorer = explorer(self.problem, **self._explore, seed=self.seed)
        self.explorer.builds = builds(self.problem, self._explore["replay"], augmentations(self.problem))
        if isinstance(self.explorer.builds, Bootstrapped):
            self.explorer.builds.q_values = self._q_values

    def _q_values(self, images: NDArray[np.int8]) -> NDArray[np.floating]:
        """Q-values of all actions."""
        with torch.no_grad():
            return self.policy(torch.as_tensor(images)).numpy()

    def _update(self, batch_size: int) -> float:
        loss, builds = super()._update(batch_size), self.explorer.builds
        if isinstance(builds, ByLoss):
            images, actions, weights, targets = map(torch.as_tensor, builds.batch)
            with torch.no_grad():
                errors = weights * (self.q_map.q_at(images, actions) - targets) ** 2
            for build, error in zip(builds.drawn, (errors.sum(1) / weights.sum(1)).tolist(), strict=True):
                builds.losses[build] = error
        return loss


class Several(Learner):
    """Three networks with batches of their own, which build in turn (Osband et al., arXiv:1602.04621)."""

    def _setup_model(self) -> None:
        super()._setup_model()
        self._make_others()

    def _start_afresh(self) -> None:
        super()._start_afresh()
        self._make_others()

    def _make_others(self) -> None:
        with torch_seeded(int(self.explorer.rng.integers(2**63))):
            others = [
                self.policy_class(self.observation_space, self.action_space, self.lr_schedule, **self.policy_kwargs)
                for _ in range(NETWORKS - 1)
            ]
        self.policies = [self.policy, *others]

    def train(self, gradient_steps: int, batch_size: int = 32) -> None:
        """Update each network."""
        for policy in self.policies:
            self.policy = policy
            super().train(gradient_steps, batch_size)
        self.policy = self.policies[self.episodes % NETWORKS]


def optimiser(kind: type[torch.optim.Optimizer], **settings: Any) -> Callable[..., Learner]:
    """The agent with another optimiser."""
    rate = {name: settings.pop(name) for name in ("learning_rate",) if name in settings}
    return partial(Learner, policy_kwargs={"optimizer_class": kind, "optimizer_kwargs": settings}, **rate)


LEARNERS: dict[str, Callable[..., Learner]] = {
    "ASLA": Learner,
    "exponential targets": partial(Learner, Exponential),
    "targets by rank": partial(Learner, Rank),
    "targets in a fixed window": partial(Learner, replay=ReplaySettings(window_quantile=0.0, minimum_window=1.0)),
    "bootstrapped targets": partial(Learner, Bootstrapped),
    "drawn by loss": partial(Learner, ByLoss),
    "a coin a build": partial(Learner, explorer=OneTurn),
    "Boltzmann": partial(Learner, explorer=Boltzmann),
    "several networks": Several,
    "AdamW": optimiser(torch.optim.AdamW),
    "RMSprop": optimiser(torch.optim.RMSprop),
    "SGD": optimiser(torch.optim.SGD, momentum=0.9, learning_rate=0.01),
}


def search(name: str, env_id: str, evaluator: str, seed: int, episodes: int) -> dict[str, Any]:
    """Search until the structure is found; the row of it."""
    env = make_env(RunConfig(env_id=env_id, evaluator=evaluator))
    model = LEARNERS[name](env=env, seed=seed)
    model.learn(episodes, StopOnSuccess())
    row = {"learner": name, "env_id": env_id, "evaluator": evaluator, "seed": seed, "budget": episodes}
    found_at = model.episodes if model.explorer.found else None
    return row | {"episodes": model.episodes, "found_at": found_at, "machine": machine()}


def main() -> None:
    """Run what is missing."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("learners", nargs="+", choices=LEARNERS, metavar="learner")
    parser.add_argument("--env", default="ASLA-GrapheneMini-v0")
    parser.add_argument("--evaluator", default="gfn1-xtb")
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--episodes", type=int, default=200)
    parser.add_argument("--rows", type=Path, default=ROWS)
    wanted = parser.parse_args()
    torch.set_num_threads(1)
    columns = ("learner", "env_id", "evaluator", "seed", "budget")
    there = {tuple(row[name] for name in columns) for row in read_rows(wanted.rows)} if wanted.rows.exists() else set()
    for name in wanted.learners:
        for seed in range(wanted.seeds):
            if (name, wanted.env, wanted.evaluator, seed, wanted.episodes) in there:
                continue
            row = search(name, wanted.env, wanted.evaluator, seed, wanted.episodes)
            print(row)
            with wanted.rows.open("a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")


if __name__ == "__main__":
    main()
