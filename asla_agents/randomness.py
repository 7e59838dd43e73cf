"""Randomness that leaves global streams as they were."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def torch_seeded(seed: int | None) -> Iterator[None]:
    """Draw from torch's global stream as if it were seeded, and leave it as it was; None: draw from it as it is."""
    if seed is None:
        yield
        return
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # `torch.manual_seed` would seed GPUs too, for good
        yield
