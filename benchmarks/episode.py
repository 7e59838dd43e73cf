"""Time one episode of ASLA-Graphene-v0 against the same agent with `torch.nn.Conv2d`, on one core.

    OMP_NUM_THREADS=1 python benchmarks/episode.py

An episode is building from the template, one energy (xwch) and one update of 64 samples. Both agents run in turn in
this process.
"""

import time

import gymnasium as gym
import numpy as np
import torch
from record import machine, record
from torch import Tensor, nn

from asla_agents import ASLA
from asla_agents.convolution import Convolution
from asla_agents.exploration import Exploration

EPISODES, ROUNDS = 5, 5


class PlainConvolution(nn.Module):
    """`torch.nn.Conv2d` with the weights of one of our convolutions and its layout of axes."""

    def __init__(self, ours: Convolution) -> None:
        super().__init__()
        n_out, n_in, size, _ = ours.kernels.shape
        self.conv = nn.Conv2d(n_in, n_out, size, padding=size // 2, padding_mode="circular")
        self.conv.load_state_dict({"weight": ours.kernels, "bias": ours.bias})

    def forward(self, images: Tensor) -> Tensor:
        """Convolve images (x, y, in, batch)."""
        return self.conv(images.permute(3, 2, 0, 1)).permute(2, 3, 1, 0)


def make_agent(plain: bool) -> ASLA:
    """Make an agent that has warmed up."""
    env = gym.make("ASLA-Graphene-v0", evaluator="xwch")
    settings = {"batch_size": 64, "gradient_steps": 1, "warmup_episodes": 20}
    agent = ASLA("QMapPolicy", env, seed=0, exploration=Exploration(refined_share=0.0), **settings)
    if plain:
        network = agent.policy.network
        for i, layer in enumerate(network.hidden):
            if isinstance(layer, Convolution):
                network.hidden[i] = PlainConvolution(layer)
        network.output = PlainConvolution(network.output)
        agent.policy.optimizer = torch.optim.Adam(agent.policy.parameters(), lr=1e-3)
    agent.learn(25)
    return agent


def seconds(agent: ASLA) -> tuple[float, float]:
    """Seconds that an episode and an update take."""
    start = time.perf_counter()
    agent.learn(EPISODES)
    middle = time.perf_counter()
    agent.train(EPISODES, 64)
    return (middle - start) / EPISODES, (time.perf_counter() - middle) / EPISODES


def main() -> None:
    """Print the table."""
    torch.set_num_threads(1)
    agents = {"ours": make_agent(plain=False), "Conv2d": make_agent(plain=True)}
    times = {name: np.array([seconds(agent) for _ in range(ROUNDS)]) for name, agent in agents.items()}
    print(f"{machine()}; {ROUNDS} x {EPISODES} episodes")
    print("          episode / s (range)      of which update / s")
    for name, rows in times.items():
        (episode, update), low, high = np.median(rows, axis=0), rows[:, 0].min(), rows[:, 0].max()
        print(f"{name:8s}  {episode:.3f} ({low:.3f} - {high:.3f})    {update:.3f}")
    ratio = np.median(times["Conv2d"], axis=0) / np.median(times["ours"], axis=0)
    print(f"ratio     {ratio[0]:.1f}                      {ratio[1]:.1f}")
    record("episode", {name: np.round(rows, 5).tolist() for name, rows in times.items()})


if __name__ == "__main__":
    main()
