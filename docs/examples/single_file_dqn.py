"""DQN in one file, with torch alone: a convolutional network, masks, a replay of placements.

    pip install asla
    python docs/examples/single_file_dqn.py 20000

The number is that of placements.
"""

import copy
import sys
from collections import deque

import gymnasium as gym
import numpy as np
import torch
from torch import nn

from asla_env.wrappers import RecordBuilds

steps = int(sys.argv[1]) if len(sys.argv) > 1 else 20_000
env = RecordBuilds(gym.make("ASLA-GrapheneMini-v0", evaluator="xwch"))
rng = np.random.default_rng(0)
torch.manual_seed(0)
n_species = env.observation_space.shape[0]
online = nn.Sequential(
    nn.Conv2d(n_species, 8, 9, padding=4, padding_mode="circular"),  # as the cell repeats
    nn.ReLU(),
    nn.Conv2d(8, n_species, 9, padding=4, padding_mode="circular"),
    nn.Flatten(),  # one Q-value for each species and pixel, as actions are numbered
)
target = copy.deepcopy(online)
optimizer = torch.optim.Adam(online.parameters(), lr=1e-3)
replay = deque(maxlen=10_000)


def best_legal(network, images, masks):
    """Legal actions with the highest Q-values, and these values; -inf where no action is legal."""
    with torch.no_grad():
        return network(images).masked_fill(masks == 0, -torch.inf).max(dim=1)


image, info = env.reset(seed=0)
for step in range(steps):
    mask = info["action_mask"]
    if rng.random() < max(0.05, 1 - 2 * step / steps):
        action = rng.choice(np.flatnonzero(mask))
    else:
        action = best_legal(online, torch.tensor(image[None]).float(), torch.tensor(mask[None])).indices.item()
    following, reward, terminated, _, info = env.step(action)
    replay.append((image, action, reward, following, terminated, info["action_mask"]))
    image, info = env.reset() if terminated else (following, info)

    if step >= 100 and step % 4 == 0:
        chosen = rng.integers(len(replay), size=32)
        columns = zip(*(replay[i] for i in chosen), strict=True)
        images, actions, rewards, followings, ends, masks = (torch.tensor(np.array(column)) for column in columns)
        future = best_legal(target, followings.float(), masks).values
        goals = torch.where(ends, rewards, future)  # the only reward comes at the end, and is not discounted
        loss = nn.functional.mse_loss(online(images.float()).gather(1, actions[:, None])[:, 0], goals.float())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    if step % 500 == 0:
        target.load_state_dict(online.state_dict())
print(env.summary())
