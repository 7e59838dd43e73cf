"""What goes on on a GPU, against the same on the CPU; left out where there is none."""

import numpy as np
import pytest
import torch
from ase.build import graphene

from asla_agents.asla import ASLA
from asla_agents.checkpoint import read_checkpoint, write_checkpoint
from asla_agents.config import RunConfig
from asla_agents.convolution import FourierConvolution
from asla_agents.ensemble import Ensemble
from asla_agents.representations import REPRESENTATIONS
from asla_agents.restarts import run_study
from asla_agents.study import Study
from asla_agents.training import make_env
from asla_env.xwch import energy_batch

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")

SETTINGS = {
    "env_id": "ASLA-GrapheneMini-v0",
    "evaluator": "xwch",
    "episodes": 6,  # after more of them, rounding would tell the searches apart
    "batch_size": 6,
    "gradient_steps": 2,
    "warmup_episodes": 3,
}
TOLERANCE = 1e-4  # eV


def energies(configs, device, **arguments):
    """Energies above the reference of all members, shape (members, episodes)."""
    results = Ensemble(configs, device, **arguments).run()
    return np.array([result.energies for result in sorted(results, key=lambda result: result.index)])


@pytest.mark.parametrize("ndim", [2, 3])
def test_convolutions_and_their_gradients(ndim):
    shape, kernel_shape = (9, 8, 7)[:ndim], (5, 3, 5)[:ndim]
    convolve = FourierConvolution(shape, kernel_shape, (True, False, True)[:ndim])
    values = []
    for device in ("cpu", "cuda"):
        generator = torch.Generator().manual_seed(1)
        images = torch.randn(*shape, 2, 4, generator=generator).to(device).requires_grad_()
        kernels = torch.randn(3, 2, *kernel_shape, generator=generator).to(device).requires_grad_()
        convolved = convolve(images, convolve.kernel_spectrum(kernels))
        without_gradients = convolve(images.detach(), convolve.complex_spectrum(kernels.detach()))
        torch.testing.assert_close(without_gradients, convolved, rtol=1e-4, atol=1e-4)
        (convolved**2).sum().backward()
        values.append([tensor.cpu() for tensor in (convolved, images.grad, kernels.grad)])
    for there, here in zip(*values, strict=True):
        torch.testing.assert_close(there, here, rtol=1e-4, atol=1e-3)


def test_energies_of_a_batch():
    atoms = graphene(size=(3, 2, 1), vacuum=5) * (1, 2, 1)
    noise = np.random.default_rng(2).normal(0, 0.1, (20, len(atoms), 3))
    positions = atoms.positions + noise
    here = energy_batch(positions, atoms.cell, atoms.pbc)
    there = energy_batch(torch.as_tensor(positions, device="cuda"), atoms.cell, atoms.pbc)
    assert there.device.type == "cuda"
    np.testing.assert_allclose(there.cpu().numpy(), here, atol=1e-8)


@pytest.mark.parametrize("representation", list(REPRESENTATIONS))
def test_an_ensemble(representation):
    configs = [RunConfig(**SETTINGS, representation=representation, seed=seed) for seed in range(3)]
    np.testing.assert_allclose(energies(configs, "cuda"), energies(configs, "cpu"), atol=TOLERANCE)


def test_updates_in_batches_of_fewer_members():
    configs = [RunConfig(**SETTINGS, seed=seed) for seed in range(3)]
    np.testing.assert_allclose(energies(configs, "cuda", members_at_once=2), energies(configs, "cuda"), atol=TOLERANCE)


def test_an_agent():
    config = RunConfig(**SETTINGS)
    lowest = []
    for device in ("cpu", "cuda"):
        model = ASLA(
            "QMapPolicy",
            make_env(config),
            batch_size=6,
            gradient_steps=2,
            warmup_episodes=3,
            device=device,
            seed=3,
        )
        model.learn(5)
        lowest.append(model.best.energy)
    assert lowest[1] == pytest.approx(lowest[0], abs=TOLERANCE)


def test_what_was_kept_on_a_gpu_goes_on_without_one(tmp_path):
    settings = SETTINGS | {"exploration": {"refined_share": 0.0}}  # or else nothing would be imagined
    config = RunConfig(**settings, imagination=True)
    first = Ensemble([config], "cuda")
    for _ in range(4):
        first.round()
    write_checkpoint(tmp_path / "state.zip", first.states()[0])
    (result,) = Ensemble([config], "cpu", states={0: read_checkpoint(tmp_path / "state.zip")}).run()
    np.testing.assert_allclose(result.energies, energies([config], "cpu")[0], atol=TOLERANCE)
    assert not any(weights.is_cuda for weights in result.best.weights.values())


def test_a_study_of_several_processes(tmp_path):
    study = Study(settings=SETTINGS)
    rows = {}
    for device in ("cpu", "cuda"):
        path = tmp_path / f"{device}.jsonl"
        rows[device] = sorted(run_study(study, path, 3, workers=2, device=device), key=lambda row: row["seed"])
    for there, here in zip(rows["cuda"], rows["cpu"], strict=True):
        assert there["best_above_reference"] == pytest.approx(here["best_above_reference"], abs=TOLERANCE)
        assert (there["key"], there["found_at"]) == (here["key"], here["found_at"])
