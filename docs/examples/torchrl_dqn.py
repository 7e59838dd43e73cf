"""DQN of TorchRL: `ActionMask` keeps the collector's first, random actions legal, the mask's key those of the policy.

    pip install "asla[torchrl]"
    python docs/examples/torchrl_dqn.py 20000

The number is that of placements, rounded up to tens.
"""

import sys

import gymnasium as gym
import torch
from gymnasium.wrappers import FlattenObservation
from tensordict.nn import TensorDictModule, TensorDictSequential
from torchrl.collectors import Collector
from torchrl.data import LazyTensorStorage, TensorDictReplayBuffer
from torchrl.envs import ActionMask, Compose, DTypeCastTransform, GymWrapper, TransformedEnv
from torchrl.modules import MLP, EGreedyModule, QValueModule
from torchrl.objectives import DQNLoss, SoftUpdate

from asla_env.wrappers import MaskedObservation, RecordBuilds

steps = int(sys.argv[1]) if len(sys.argv) > 1 else 20_000
torch.manual_seed(0)
env = RecordBuilds(gym.make("ASLA-GrapheneMini-v0", evaluator="xwch"))
wrapped = GymWrapper(MaskedObservation(FlattenObservation(env)), categorical_action_encoding=True)
floats = DTypeCastTransform(torch.int8, torch.float32, in_keys=["observation"])
flags = DTypeCastTransform(torch.int8, torch.bool, in_keys=["action_mask"])
masked = TransformedEnv(wrapped, Compose(floats, flags, ActionMask()))
n_actions = int(env.action_space.n)
network = TensorDictModule(MLP(n_actions, n_actions, num_cells=[256]), ["observation"], ["action_value"])
q_values = TensorDictSequential(network, QValueModule(spec=masked.action_spec, action_mask_key="action_mask"))
explore = EGreedyModule(masked.action_spec, annealing_num_steps=steps // 2, action_mask_key="action_mask")
collector = Collector(
    masked,
    TensorDictSequential(q_values, explore),
    frames_per_batch=10,
    total_frames=steps,
    init_random_frames=100,
    auto_register_policy_transforms=True,
)
replay = TensorDictReplayBuffer(storage=LazyTensorStorage(10_000), batch_size=64)
loss_of = DQNLoss(q_values, action_space="categorical")
loss_of.make_value_estimator(gamma=1.0)  # the only reward comes at the end, and is not discounted
update_target = SoftUpdate(loss_of, tau=0.01)
optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
for batch in collector:
    replay.extend(batch)
    for _ in range(4):
        optimizer.zero_grad()
        loss_of(replay.sample())["loss"].backward()
        optimizer.step()
        update_target.step()
    explore.step(batch.numel())
collector.shutdown()
print(env.summary())
