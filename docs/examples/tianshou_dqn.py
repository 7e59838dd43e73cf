"""DQN of Tianshou, which looks for a mask beside the image and keeps to it, also where it explores.

    pip install "asla[tianshou]"
    python docs/examples/tianshou_dqn.py 20000

The number is that of placements, rounded up to tens.
"""

import sys

import gymnasium as gym
from tianshou.algorithm import DQN
from tianshou.algorithm.modelfree.dqn import DiscreteQLearningPolicy
from tianshou.algorithm.optim import AdamOptimizerFactory
from tianshou.data import Collector, VectorReplayBuffer
from tianshou.env import DummyVectorEnv
from tianshou.trainer import OffPolicyTrainerParams
from tianshou.utils.net.common import Net

from asla_env.wrappers import MaskedObservation, RecordBuilds, WithoutInfo

steps = int(sys.argv[1]) if len(sys.argv) > 1 else 20_000
env = RecordBuilds(gym.make("ASLA-GrapheneMini-v0", evaluator="xwch"))
masked = MaskedObservation(WithoutInfo(env), "obs", "mask")  # its replay keeps `info`, but not None
network = Net(state_shape=env.observation_space.shape, action_shape=env.action_space.n, hidden_sizes=[256])
policy = DiscreteQLearningPolicy(model=network, action_space=env.action_space, eps_training=0.2)
n_to_place = env.unwrapped.problem.n_to_place
algorithm = DQN(
    policy=policy,
    optim=AdamOptimizerFactory(lr=1e-3),
    gamma=1.0,  # the only reward comes at the end: returns reach over a whole build and are not discounted
    n_step_return_horizon=n_to_place,
    target_update_freq=100,
)
replay = VectorReplayBuffer(10_000, 1)
collector = Collector(algorithm, DummyVectorEnv([lambda: masked]), replay, exploration_noise=True)
collector.reset()
algorithm.run_training(
    OffPolicyTrainerParams(
        training_collector=collector,
        max_epochs=1,
        epoch_num_steps=steps,
        collection_step_num_env_steps=10,
        update_step_num_gradient_steps_per_sample=0.2,
        verbose=False,
        show_progress=False,
    )
)
print(env.summary())
