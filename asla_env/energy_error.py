"""What can go wrong with an energy."""

from typing import Literal, TypeAlias

Kind: TypeAlias = Literal["timeout", "crash", "memory", "error"]


class EnergyError(Exception):
    """There is no energy of a structure, which is no fault of the others.

    Parameters
    ----------
    kind
        ``"timeout"``: it took too long; ``"crash"``: its process ended; ``"memory"``: it asked for more than there
        is; ``"error"``: the calculator raised an exception or returned no finite number.
    cause
        What happened, for display.
    seconds
        How long the calculator worked in vain.
    """

    def __init__(self, kind: Kind, cause: str, seconds: float) -> None:
        super().__init__(kind, cause, seconds)  # all of them, for pickle
        self.kind, self.cause, self.seconds = kind, cause, seconds

    def __str__(self) -> str:
        """The cause behind its kind; an exception's own type says more than ``"error"``."""
        return self.cause if self.kind == "error" else f"{self.kind}: {self.cause}"
