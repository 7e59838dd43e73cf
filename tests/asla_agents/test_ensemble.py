"""Searches that go on together against the same searches one after the other."""

import dataclasses

import numpy as np
import pytest
import torch

from asla_agents.checkpoint import read_checkpoint, write_checkpoint
from asla_agents.config import RunConfig
from asla_agents.ensemble import Ensemble
from asla_agents.exploration import Exploration
from asla_agents.member import MemberResult
from asla_agents.replay import ReplaySettings
from asla_agents.representations import REPRESENTATIONS
from asla_agents.training import make_env, make_model, search
from asla_env import Evaluator

SETTINGS = {
    "env_id": "ASLA-GrapheneMini-v0",
    "evaluator": "xwch",
    "episodes": 16,
    "batch_size": 6,
    "gradient_steps": 2,
    "warmup_episodes": 3,
    "patience": 1,
    "exploration": Exploration(epsilon=0.05, top_probability=0.1),
}


def make_config(**settings) -> RunConfig:
    return RunConfig(**{**SETTINGS, **settings})


def results(configs, **arguments) -> list[MemberResult]:
    """Results in the order of the settings."""
    return sorted(Ensemble(configs, **arguments).run(), key=lambda result: result.index)


def single(config: RunConfig) -> tuple[np.ndarray, float, dict[str, torch.Tensor]]:
    """Energies above the reference, the lowest energy and the weights at the end of the single search."""
    energies: list[float] = []
    model = make_model(config, make_env(config))

    def keep(local, _):
        if local["dones"][0]:
            energies.append(local["infos"][0]["energy_above_reference"])
        return True

    model.learn(config.episodes, keep)
    return np.array(energies), model.best.energy, model.best.weights


@pytest.mark.parametrize("representation", list(REPRESENTATIONS))
def test_a_member_goes_as_the_single_search_of_its_settings(representation):
    configs = [make_config(representation=representation, seed=seed, episodes=7) for seed in (1, 3)]
    config = configs[1]  # after more episodes, rounding would tell the searches apart
    (alone,) = results([config])
    among_others = results(configs)[1]
    energies, lowest, weights = single(config)
    for result in (alone, among_others):
        np.testing.assert_allclose(result.energies, energies, rtol=0, atol=1e-9)
        assert result.best.energy == pytest.approx(lowest, abs=1e-9)
        for name, values in weights.items():
            torch.testing.assert_close(result.best.weights[name], values, rtol=1e-3, atol=1e-5)


def assert_independent(budgets, **tolerance) -> None:
    """Assert that members of several budgets (seed, episodes), some of them over early, go as they do alone."""
    exploration = dataclasses.replace(SETTINGS["exploration"], average_symmetric=bool(tolerance))
    configs = [make_config(seed=seed, episodes=episodes, exploration=exploration) for seed, episodes in budgets]
    for result, config in zip(results(configs), configs, strict=True):
        assert result.config == config
        np.testing.assert_allclose(
            result.energies, results([config])[0].energies, **({"rtol": 0, "atol": 0} | tolerance)
        )


def test_a_member_does_not_depend_on_who_else_is_there():
    assert_independent([(0, 16), (1, 5), (2, 12)])


def test_a_member_that_averages_does_not_either_until_rounding_decides_between_sites_far_from_all_atoms():
    assert_independent([(0, 7), (1, 5), (2, 6)], atol=1e-9)


def test_updates_of_many_members_are_one_batch_if_wanted():
    configs = [make_config(seed=seed, representation="agr", patience=None) for seed in range(3)]
    for ours, theirs in zip(results(configs, members_at_once=2), results(configs), strict=True):
        np.testing.assert_allclose(ours.energies[:6], theirs.energies[:6], atol=1e-6)
        for name, values in theirs.best.weights.items():
            assert ours.best.weights[name].shape == values.shape


def test_settings_may_differ_between_members():
    configs = [
        make_config(),
        make_config(representation_kwargs={"width_over_spacing": 0.5, "bias": 0.1}),
        make_config(representation_kwargs={"width_over_spacing": 3.0, "amplitude": -1}, learning_rate=3e-3),
        make_config(exploration=Exploration(epsilon=0.5), warmup_episodes=1, patience=None),
        make_config(replay=ReplaySettings(spillover=0.0), max_grad_norm=0.1),
    ]
    for result, config in zip(results(configs), configs, strict=True):  # longer, rounding would tell them apart
        np.testing.assert_allclose(result.energies[:9], single(config)[0][:9], rtol=0, atol=1e-9)


def test_members_with_other_penalties_go_together():
    configs = [
        make_config(representation="agr", episodes=10, representation_kwargs={"beta_1": beta}) for beta in (0.0, 0.1)
    ]
    for result, config in zip(results(configs), configs, strict=True):
        np.testing.assert_allclose(result.energies, single(config)[0], rtol=0, atol=1e-9)


def test_members_with_other_starts_of_their_coefficients_go_together():
    starts = ({"initialisation": start} for start in ("uniform", "gaussian"))
    configs = [make_config(representation="displaced", episodes=10, representation_kwargs=start) for start in starts]
    for result, config in zip(results(configs), configs, strict=True):
        np.testing.assert_allclose(result.energies, single(config)[0], rtol=0, atol=1e-9)


class ThirdOfTheFirst:
    """Calculator of two members: the reference and the third structure of the first have energy 0, all others 10."""

    calls = 0

    def get_potential_energy(self, atoms):
        ThirdOfTheFirst.calls += 1
        return 0.0 if ThirdOfTheFirst.calls in (1, 6) else 10.0


def test_a_member_drops_out_at_its_success_and_the_others_go_on(monkeypatch):
    monkeypatch.setattr("asla_agents.training.Evaluator", lambda *_: Evaluator(ThirdOfTheFirst))
    configs = [make_config(seed=seed, episodes=6, stop_on_success=True) for seed in range(2)]
    found = results(configs)
    assert (found[0].found_at, found[0].episodes) == (3, 3)
    assert (found[1].found_at, found[1].episodes) == (None, 6)


def test_each_result_comes_as_soon_as_it_is_there():
    configs = [make_config(seed=seed, episodes=episodes) for seed, episodes in ((0, 4), (1, 2), (2, 3))]
    assert [result.index for result in Ensemble(configs).run()] == [1, 2, 0]


def test_global_random_states_do_not_change_and_are_not_changed():
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first = results([make_config()])[0].energies
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(6)
    np.testing.assert_array_equal(results([make_config()])[0].energies, first)


@pytest.mark.parametrize(
    ("configs", "message"),
    [
        ([], "`configs` is empty"),
        ([{}, {"batch_size": 7}], r"`configs` have the `batch_size` \['6', '7'\] but must share one"),
        ([{}, {"representation": "agr"}], r"`configs` have the `representation` \['agr', 'gaussian'\]"),
        ([{}, {"env_id": "ASLA-Graphene-v0"}], "`configs` have the `env_id`"),
        (
            [{"evaluator": "gfn1-xtb", "evaluator_settings": {"accuracy": accuracy}} for accuracy in (1.0, 2.0)],
            "`configs` have the `evaluator_settings`",
        ),
        ([{}, {"representation_kwargs": {"kernel_size": 15}}], "`configs` have the `representation_kwargs`"),
        (
            [{"representation": "displaced", "representation_kwargs": {"width_over_spacing": w}} for w in (1.0, 2.0)],
            "`configs` have the `representation_kwargs`",
        ),
    ],
)
def test_members_that_cannot_go_together_are_refused(configs, message):
    with pytest.raises(ValueError, match=message):
        Ensemble([make_config(**config) for config in configs])


def test_a_batch_of_no_members_is_refused():
    with pytest.raises(ValueError, match="`members_at_once` is 0 but must be at least 1"):
        Ensemble([make_config()], members_at_once=0)


def test_what_is_no_settings_is_refused():
    with pytest.raises(TypeError, match=r"`configs` hold \{'env_id': .* but must hold settings of type RunConfig"):
        Ensemble([SETTINGS])


def test_a_device_that_is_not_there_is_refused():
    with pytest.raises(ValueError, match="`device` is 'nowhere' but must be one of this machine and its torch"):
        Ensemble([make_config()], device="nowhere")


# Networks that were trained on another problem

BEFORE = {"env_id": "ASLA-Graphene-v0", "episodes": 3, "warmup_episodes": 0}


def test_members_and_single_searches_begin_with_the_same_network_of_another_problem(tmp_path):
    settings = {"representation": "agr", "episodes": 1, "warmup_episodes": 0, "pretrained": BEFORE}
    configs = [make_config(seed=seed, **settings) for seed in (1, 3)]
    result = search(configs[1], tmp_path, progress_bar=False)
    member = results(configs)[1]
    assert member.best.energy == pytest.approx(result.best_energy, abs=1e-9)
    untrained = results([make_config(seed=3, **settings | {"pretrained": {}})])[0]
    assert not np.isclose(member.energies[0], untrained.energies[0])


def test_a_network_is_that_of_the_best_structure_of_the_search_that_comes_first():
    config = make_config(seed=2, env_id="ASLA-GrainBoundary-v0", pretrained=BEFORE)
    (first,) = results([config.before()])
    weights = Ensemble([config]).states()[0].tensors["policy"]
    assert first.config.env_id == "ASLA-Graphene-v0"
    assert len(first.energies) == 3
    for name, values in first.best.weights.items():
        torch.testing.assert_close(weights[name], values, rtol=0, atol=1e-6)


def test_a_search_that_comes_first_does_not_stop_at_a_success_and_has_its_own_settings():
    config = make_config(stop_on_success=True, builds_at_once=2, pretrained={**BEFORE, "learning_rate": 1e-2})
    before = config.before()
    assert (before.env_id, before.episodes, before.learning_rate) == ("ASLA-Graphene-v0", 3, 1e-2)
    assert (before.stop_on_success, before.builds_at_once, before.pretrained) == (False, 1, {})
    assert (before.batch_size, before.seed, before.exploration) == (6, 0, config.exploration)
    assert make_config().before() is None


@pytest.mark.parametrize(
    ("before", "rule"),
    [
        ({"env_id": "ASLA-Gold-v0"}, "`env_id` is 'ASLA-Gold-v0' but must be one of"),
        ({"env_id": "ASLA-Naphthalene-v0"}, "an `env_id` with as many species as this search, C, not C, H"),
        ({"representation": "agr"}, "leave `representation` out"),
        ({"representation_kwargs": {"bias": 0.1}}, "leave `representation_kwargs` out"),
        ({"network": {"kernel_size": 7}}, "leave `network` out"),
        ({"state_value": False}, "leave `state_value` out"),
    ],
)
def test_wrong_settings_of_the_search_that_comes_first_are_refused(before, rule):
    with pytest.raises(ValueError, match=rf"pretrained.*\n.*{rule}"):
        make_config(evaluator="gfn1-xtb", pretrained=before)


def test_members_must_share_the_search_that_comes_first():
    with pytest.raises(ValueError, match=r"`configs` have the `pretrained` .* but must share one"):
        Ensemble([make_config(), make_config(pretrained=BEFORE)])


# Members whose state was kept

FEW_IMAGINED = {"builds": 2, "moved": 1, "first_updates": 20}


@pytest.mark.parametrize(
    ("representation", "imagination"), [("agr", None), ("displaced", None), ("gaussian", FEW_IMAGINED)]
)
def test_kept_and_made_again_members_go_on_as_if_they_had_never_stopped(representation, imagination, tmp_path):
    configs = [
        make_config(representation=representation, imagination=imagination, seed=seed, episodes=12)
        for seed in (0, 1, 2)
    ]
    whole, first = Ensemble(configs), Ensemble(configs)
    for _ in range(8):  # with patience 1, past a fresh start
        first.round()
    for i, state in first.states().items():
        write_checkpoint(tmp_path / f"{i}.zip", state)
    states = {i: read_checkpoint(tmp_path / f"{i}.zip") for i in range(3)}
    again = sorted(Ensemble(configs, states=states).run(), key=lambda result: result.index)
    for expected, result in zip(sorted(whole.run(), key=lambda result: result.index), again, strict=True):
        np.testing.assert_array_equal(result.energies, expected.energies)
        assert (result.found_at, result.learned) == (expected.found_at, expected.learned)
        for name, values in expected.best.weights.items():
            torch.testing.assert_close(result.best.weights[name], values, rtol=0, atol=0)


def test_members_that_go_on_keep_their_network_where_others_take_one_over():
    configs = [make_config(seed=seed, pretrained=BEFORE, episodes=6) for seed in (0, 1)]
    first = Ensemble(configs)
    for _ in range(4):
        first.round()
    again = results(configs, states={0: first.states()[0]})  # the other one begins anew
    for expected, result in zip(results(configs), again, strict=True):
        np.testing.assert_allclose(result.energies, expected.energies, rtol=0, atol=1e-9)
