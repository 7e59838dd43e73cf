"""Time an update of the network against its floor: its own operations at the rates that this machine reaches.

    OMP_NUM_THREADS=1 python benchmarks/floor.py

The floor is the arithmetic of all matrix products at the rate of a large one, plus the bytes that all other operations
read and write at the rate of a large copy. An update has 64 samples of ASLA-Graphene-v0, one thread.
"""

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from record import machine, record
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from asla_agents import ASLA
from asla_agents.config import RunConfig
from asla_agents.training import make_env, make_model

ROUNDS = 15
PRODUCTS = ("mm", "bmm", "addmm", "baddbmm", "convolution")


class Bytes(TorchDispatchMode):
    """Counts the bytes that operations other than matrix products and views read and write."""

    def __init__(self) -> None:
        super().__init__()
        self.total = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        """Run the operation and count it."""
        result = func(*args, **(kwargs or {}))
        if not func.is_view and func.overloadpacket.__name__ not in PRODUCTS:
            self.total += sum(size(x) for x in torch.utils._pytree.tree_leaves((args, kwargs, result)))
        return result


def size(value: Any) -> int:
    """Bytes of a tensor."""
    return value.numel() * value.element_size() if isinstance(value, Tensor) else 0


def seconds(function: Callable[[], Any]) -> float:
    """Median time of a call."""
    times = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return float(np.median(times))


def warm_agent() -> ASLA:
    """An agent with builds to learn from."""
    config = RunConfig(env_id="ASLA-Graphene-v0", evaluator="xwch", gradient_steps=1, warmup_episodes=20)
    return make_model(config, make_env(config)).learn(25)


def main() -> None:
    """Print the table."""
    torch.set_num_threads(1)
    agent = warm_agent()
    with FlopCounterMode(display=False) as flops, Bytes() as moved:
        agent.train(1, 64)
    matrix, image, other = torch.rand(1024, 1024), torch.rand(2**24), torch.rand(2**24)
    work = (lambda: agent.train(1, 64), lambda: matrix @ matrix, lambda: other.copy_(image))
    update, product, copy = (seconds(part) for part in work)
    flop_rate, byte_rate = 2 * 1024**3 / product, 2 * image.numel() * 4 / copy
    arithmetic, memory = flops.get_total_flops() / flop_rate, moved.total / byte_rate
    print(f"{machine()}, one thread; medians of {ROUNDS}")
    print(f"rates: {flop_rate / 1e9:.0f} GFLOP/s, {byte_rate / 1e9:.1f} GB/s")
    print(f"update: {flops.get_total_flops() / 1e9:.2f} GFLOP, {moved.total / 1e6:.0f} MB beside")
    print(f"floor {(arithmetic + memory) * 1e3:.1f} ms ({arithmetic * 1e3:.1f} + {memory * 1e3:.1f})")
    print(f"taken {update * 1e3:.1f} ms, {update / (arithmetic + memory):.2f} times the floor")
    numbers = {"flop_rate": flop_rate, "byte_rate": byte_rate, "floor_s": arithmetic + memory, "update_s": update}
    record("floor", {name: float(f"{number:.4g}") for name, number in numbers.items()})


if __name__ == "__main__":
    main()
