"""DQN of Stable-Baselines3 on images. It knows no masks: an illegal placement ends the build with reward -1.

    pip install asla
    python docs/examples/sb3_dqn.py 20000

The number is that of placements.
"""

import sys

import gymnasium as gym
from stable_baselines3 import DQN

from asla_env.wrappers import ImageObservation, RecordBuilds

steps = int(sys.argv[1]) if len(sys.argv) > 1 else 20_000
env = RecordBuilds(gym.make("ASLA-GrapheneMini-v0", evaluator="xwch"))
n_to_place = env.unwrapped.problem.n_to_place
# The only reward comes at the end: returns reach over a whole build and are not discounted.
model = DQN("CnnPolicy", ImageObservation(env), n_steps=n_to_place, gamma=1.0, buffer_size=10_000, seed=0)
model.learn(steps)
print(env.summary())
