"""The automated Gaussian representation as features extractor of a stock algorithm, here MaskablePPO of sb3-contrib.

    pip install "asla[sb3-contrib]"
    python docs/examples/sb3_representation.py 20000

The number is that of placements, rounded up to whole rollouts. Any policy that observes the plain images will do:
``MlpPolicy`` of DQN, PPO or A2C too.
"""

import sys

import gymnasium as gym
from sb3_contrib import MaskablePPO

from asla_agents.representations import AGR
from asla_env.wrappers import RecordBuilds

steps = int(sys.argv[1]) if len(sys.argv) > 1 else 20_000
env = RecordBuilds(gym.make("ASLA-GrapheneMini-v0", evaluator="xwch"))
grid = env.unwrapped.problem.grid
drawing = {"features_extractor_class": AGR, "features_extractor_kwargs": {"grid": grid}}
model = MaskablePPO("MlpPolicy", env, n_steps=256, gamma=1.0, policy_kwargs=drawing, seed=0)
model.learn(steps)
print("coefficients of the Gaussians:", *model.policy.features_extractor.coefficient_values.round(2))
print(env.summary())
