"""PPO of Stable-Baselines3 on images. It knows no masks: an illegal placement ends the build with reward -1.

    pip install asla
    python docs/examples/sb3_ppo.py 20000

The number is that of placements, rounded up to whole rollouts.
"""

import sys

import gymnasium as gym
from stable_baselines3 import PPO

from asla_env.wrappers import ImageObservation, RecordBuilds

steps = int(sys.argv[1]) if len(sys.argv) > 1 else 20_000
env = RecordBuilds(gym.make("ASLA-GrapheneMini-v0", evaluator="xwch"))
model = PPO("CnnPolicy", ImageObservation(env), n_steps=256, gamma=1.0, seed=0)
model.learn(steps)
print(env.summary())
