"""MaskablePPO of sb3-contrib, which asks the environment itself for the legal actions.

    pip install "asla[sb3-contrib]"
    python docs/examples/sb3_contrib_maskable_ppo.py 20000

The number is that of placements, rounded up to whole rollouts.
"""

import sys

import gymnasium as gym
from sb3_contrib import MaskablePPO

from asla_env.wrappers import ImageObservation, RecordBuilds

steps = int(sys.argv[1]) if len(sys.argv) > 1 else 20_000
env = RecordBuilds(gym.make("ASLA-GrapheneMini-v0", evaluator="xwch"))
model = MaskablePPO("CnnPolicy", ImageObservation(env), n_steps=256, gamma=1.0, seed=0)
model.learn(steps)
print(env.summary())
