"""Builds that go on together, in rounds."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray


class BuildsInFlight:
    """What is placed and planned in each of some builds, and which of them go on in this round.

    A round is over when all of its builds have ended; one that ends early waits for the others. So the energies are
    due together, and learning finds no build unfinished.

    Parameters
    ----------
    n
        Builds that there are at most.

    Attributes
    ----------
    placed
        Actions taken in each build.
    plans
        What is left of each planned build.
    going
        The builds that have not ended in this round.
    """

    def __init__(self, n: int) -> None:
        self.placed: list[list[int]] = [[] for _ in range(n)]
        self.plans: list[list[int]] = [[] for _ in range(n)]
        self.going: list[int] = []

    def begin_round(self, most: int) -> None:
        """Let so many builds go on, those first that were interrupted."""
        interrupted_first = sorted(range(len(self.placed)), key=lambda i: not self.placed[i])
        self.going = sorted(interrupted_first[:most])

    def steps_left(self, n_to_place: int) -> int:
        """Steps until all builds of this round have ended, if none ends early."""
        return max(n_to_place - len(self.placed[i]) for i in self.going)

    def plan(self, plan: Callable[[Sequence[Sequence[int]], int], list[int]]) -> None:
        """Plan each build that begins, by a function of the builds planned already and of how many have begun."""
        n_begun = sum(bool(self.placed[i]) for i in self.going)
        for i in self.going:
            if not self.placed[i]:
                whole = [placed + rest for placed, rest in zip(self.placed, self.plans, strict=True) if rest]
                self.plans[i] = plan(whole, n_begun)
                n_begun += 1

    def others(self, i: int, actions: NDArray[np.int64]) -> list[list[int]]:
        """What is placed in the other builds of this round that have an action for their next step already."""
        return [[*self.placed[j], int(actions[j])] for j in self.going if j != i and actions[j] >= 0]

    def place(self, actions: NDArray[np.int64]) -> None:
        """Take an action in each of the builds that go on; of the others, nothing is looked at."""
        for i in self.going:
            self.placed[i].append(int(actions[i]))

    def end(self, i: int) -> list[int]:
        """End a build; what was placed in it."""
        self.going.remove(i)
        placed, self.placed[i] = self.placed[i], []
        return placed
