"""PPO of RLlib with the module for action masks that comes with it, among its examples.

    pip install "asla[rllib]"
    python docs/examples/rllib_ppo.py 20000

The number is that of placements, rounded up to whole rollouts.
"""

import sys
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.wrappers import DtypeObservation, FlattenObservation
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.core.rl_module.rl_module import RLModuleSpec
from ray.rllib.examples.rl_modules.classes.action_masking_rlm import ActionMaskingTorchRLModule
from ray.tune import register_env

from asla_env.wrappers import MaskedObservation, RecordBuilds

ROLLOUT = 256


def make_env(config: dict[str, Any]) -> gym.Env:
    """Observe numbers, and the mask beside them."""
    env = RecordBuilds(gym.make("ASLA-GrapheneMini-v0", evaluator="xwch"))
    return MaskedObservation(DtypeObservation(FlattenObservation(env), np.float32), "observations", "action_mask")


steps = int(sys.argv[1]) if len(sys.argv) > 1 else 20_000
register_env("graphene-mini", make_env)
module = RLModuleSpec(module_class=ActionMaskingTorchRLModule)
algorithm = (
    PPOConfig()
    .environment("graphene-mini")
    .env_runners(num_env_runners=0)
    .rl_module(rl_module_spec=module)
    .training(gamma=1.0, train_batch_size_per_learner=ROLLOUT, minibatch_size=64, num_epochs=4)
    .debugging(seed=0)
    .build_algo()
)
for _ in range(0, steps, ROLLOUT):
    algorithm.train()
print(*algorithm.env_runner.env.unwrapped.call("summary"))  # of the environment that RLlib made
algorithm.stop()
