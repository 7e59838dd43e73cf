"""What J. Chem. Phys. 153, 044107 says about its studies: what is compared, how often, and how success is told."""

import inspect
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import CensoredData, logrank, mannwhitneyu

from asla_agents.callbacks import read_rows
from asla_agents.config import RunConfig
from asla_agents.experiments import EXPERIMENTS, generalisation, phases
from asla_agents.figures import figure, markdown
from asla_agents.representations import REPRESENTATIONS
from asla_agents.study import read_study_rows, rows_of, with_more_arms
from asla_agents.success import n50, success_curve
from asla_agents.training import make_env, make_model
from asla_env import calculators, problems
from asla_env.gpaw_calculator import gpaw

RESULTS = Path(__file__).parents[2] / "benchmarks" / "results"


def settings_of(name, arm):
    return EXPERIMENTS[name].study.config(arm, 0)


def drawn_with(name, arm, setting):
    """A setting of the representation of an arm, which may be its default."""
    config = settings_of(name, arm)
    default = inspect.signature(REPRESENTATIONS[config.representation]).parameters[setting].default
    return config.representation_kwargs.get(setting, default)


def told_of(name, directory):
    """What the table says of a figure, from the rows in a directory."""
    (line,) = (line for line in markdown(directory).splitlines() if line.startswith(f"| {name} |"))
    return line.split(" | ")[-1]


# Section III, Fig. 2


def test_success_curves_give_the_share_of_restarts_that_have_found_the_structure():
    """'The success curves then record as a function of completed reinforcement episodes the share of restarts'."""
    found_at = np.array([30.0, 10, 20, 20, 50])
    curve = success_curve(found_at, np.full(5, 100))
    np.testing.assert_array_equal(curve.episodes, [10, 20, 30, 50])
    np.testing.assert_allclose(curve.probability, [(found_at <= n).mean() for n in (10, 20, 30, 50)])


def test_n50_is_the_median_number_of_episodes():
    """'the median number of episodes, n50%, required for runs to successfully identify the GM'."""
    found_at = np.array([700.0, 750, 100, 900, 800])
    assert n50(found_at, np.full(5, 1000)).value == np.median(found_at)


def test_restarts_have_new_random_weights():
    """'a large number of restarted runs with new random initialization of the weights in the CNN agent'."""
    env = make_env(RunConfig(env_id="ASLA-GrapheneMini-v0", evaluator="xwch"))
    weights = []
    for seed in (0, 1, 1):
        config = EXPERIMENTS["fig2a"].study.changed(env_id="ASLA-GrapheneMini-v0").config("one-hot", seed)
        weights.append(make_model(config, env).policy.state_dict()["network.hidden.0.weight"].numpy())
    assert np.abs(np.corrcoef(weights[0].ravel(), weights[1].ravel())[0, 1]) < 0.15
    np.testing.assert_array_equal(weights[1], weights[2])


def test_figure_2_compares_one_hot_with_gaussians_of_many_widths():
    """Fig. 2: one-hot against λ = 1.25Δ in (a), n50 as a function of λ in (b)."""
    assert settings_of("fig2a", "one-hot").representation == "one-hot"
    assert settings_of("fig2a", "Gaussian, λ = 1.25Δ").representation_kwargs == {"width_over_spacing": 1.25}
    study = EXPERIMENTS["fig2b"].study
    widths = [study.config(arm, 0).representation_kwargs.get("width_over_spacing", 0.0) for arm in study.arms]
    assert widths == sorted(widths)
    assert {0.0, 1.25} < set(widths)


def test_energies_may_be_those_of_dftb_plus():
    """'density functional tight-binding (DFTB) using the DFTB+ program'."""
    assert "dftb+" in calculators.names()
    assert EXPERIMENTS["fig2a"].study.changed(evaluator="dftb+").config("one-hot", 0).evaluator == "dftb+"


def test_how_well_an_agent_generalises_is_its_error_at_like_sites_that_it_has_not_seen(tmp_path, monkeypatch):
    """Fig. 3: 'Using one-hot encoding, other predictions in the Q-value map appear noisy'."""
    structure, q_map = generalisation.sample(), np.zeros(generalisation.sample().grid.shape)
    targets = np.repeat(np.array(generalisation.TARGETS)[:, None], structure.sites.shape[1], axis=1)
    q_map.flat[structure.sites] = np.where(structure.unseen(), 0.75, 1) * targets
    monkeypatch.setattr(generalisation, "q_map", lambda *_, **__: q_map)
    rows = list(generalisation.run(tmp_path / "fig3.jsonl", 2))
    assert [(row["trained_error"], row["unseen_error"]) for row in rows] == [(0, 0.25)] * 4
    one_hot, gaussian = told_of("fig3", tmp_path).split("<br>")
    assert one_hot.startswith("one-hot: error 0.25 ± 0.00 at sites not seen")
    assert gaussian.startswith("Gaussian, λ = 1.25Δ: error 0.25 ± 0.00 at sites not seen")


def test_in_the_committed_rows_gaussians_have_half_the_error_of_one_hot_or_less_and_the_table_says_so(tmp_path):
    """Fig. 3: 'using a Gaussian representation, the agent appears to generalize better'."""
    rows = read_rows(RESULTS / "fig3.jsonl")
    errors = {arm: [row["unseen_error"] for row in rows if row["arm"] == arm] for arm in generalisation.ARMS}
    one_hot, gaussian = errors.values()
    assert len(one_hot) == len(gaussian) >= 20
    assert np.median(gaussian) < 0.5 * np.median(one_hot)
    assert mannwhitneyu(gaussian, one_hot, alternative="less").pvalue < 0.001
    shutil.copy(RESULTS / "fig3.jsonl", tmp_path)
    told = re.findall(r"error ([\d.]+) ± ", told_of("fig3", tmp_path))
    assert told == [f"{np.mean(one_hot):.2f}", f"{np.mean(gaussian):.2f}"]


# Section IV, Fig. 4


def test_figure_4_has_fixed_biases_of_a_tenth_and_none():
    """'either a fixed negative (-0.1) or a fixed positive (+0.1) bias'."""
    arms = EXPERIMENTS["fig4"].study.arms
    assert [drawn_with("fig4", arm, "bias") for arm in arms] == [-0.1, 0.0, 0.1]


# Section V, Figs. 6 and 7


def test_figure_6_has_three_weights_of_the_penalty_and_1000_episodes_of_every_restart():
    """Fig. 6: 'β₁ = 0, 0.01, and 0.1'; 'the expansion coefficients that were found after 1000 episodes'."""
    arms = EXPERIMENTS["fig6b"].study.arms
    assert [drawn_with("fig6b", arm, "beta_1") for arm in arms] == [0.0, 0.01, 0.1]
    for arm in arms:
        assert settings_of("fig6b", arm).episodes == 1000
        assert not settings_of("fig6b", arm).stop_on_success
    assert EXPERIMENTS["fig6c"] is EXPERIMENTS["fig6d"] is EXPERIMENTS["fig6e"] is EXPERIMENTS["fig6b"]


def test_figure_7_runs_to_5000_episodes_of_the_grain_boundary():
    """'attains more than 80% success after 5000 episodes'."""
    for arm in ("one-hot", "AGR"):
        assert settings_of("fig7", arm).env_id == "ASLA-GrainBoundary-v0"
        assert settings_of("fig7", arm).episodes >= 5000


def test_the_grid_supports_the_structure_that_is_sought_in_the_boundary():
    """'the global minimum energy structure supported by the grid, where the 20 C atoms assume the positions'."""
    problem = problems.grain_boundary()
    placed = problem.reference[len(problem.template) :]
    assert len(placed) == 20
    np.testing.assert_allclose(problem.grid.positions(problem.grid.pixels(placed.positions)), placed.positions)


def test_n50_of_the_paper_stands_beside_ours():
    """'n50%, required for runs to successfully identify the GM is ≈ 750', and the other numbers of the text."""
    told = {name: dict(EXPERIMENTS[name].paper_n50) for name in ("fig2a", "fig4", "fig7")}
    assert told["fig2a"] == {"one-hot": 750, "Gaussian, λ = 1.25Δ": 500}
    assert told["fig4"] == {"bias -0.1": 400, "no bias": 500, "bias +0.1": 700}
    assert told["fig7"] == {"one-hot": 4400, "AGR": 2200}


AS_IN_THE_PAPER = [
    ("fig2a", "Gaussian, λ = 1.25Δ", "one-hot"),
    ("fig6a", "AGR", "one-hot"),
    ("fig7", "AGR", "one-hot"),
    ("fig8e", "AGR", "(i) uniform"),
]


@pytest.mark.parametrize(("name", "earlier", "later"), AS_IN_THE_PAPER)
def test_in_the_committed_rows_one_representation_is_ahead_of_another_as_in_the_paper(name, earlier, later):
    """'reduces significantly', 'exceeds that of ASLA with the one-hot representation', 'significantly delay'."""
    all_rows, found_at = read_study_rows(RESULTS / "figures.jsonl"), {}
    study = with_more_arms(EXPERIMENTS[name].study, all_rows)
    for arm in (earlier, later):
        rows = rows_of(study, arm, all_rows)
        times = [row["found_at"] or row["episodes"] for row in rows]
        found_at[arm] = CensoredData.right_censored(times, [row["found_at"] is None for row in rows])
        assert len(rows) >= 8
    ahead = logrank(found_at[later], found_at[earlier], alternative="less")  # of the later: fewer finds than expected
    assert ahead.pvalue < 0.01


def test_in_the_committed_rows_a_trained_width_ends_near_where_it_starts():
    """'a strong dependence of the resulting optimized value of λ on the initialization'."""
    rows = read_study_rows(RESULTS / "figures.jsonl")
    study = with_more_arms(EXPERIMENTS["trainable-width"].study, rows)
    starts, ends = [], []
    for arm in study.arms:
        of_arm = rows_of(study, arm, rows)
        starts += [drawn_with("trainable-width", arm, "width_over_spacing")] * len(of_arm)
        ends += [row["learned"]["width_over_spacing"][0] for row in of_arm]
    assert len(ends) >= 20
    assert np.corrcoef(np.log(starts), np.log(ends))[0, 1] > 0.99


# Section VI, Fig. 8


def test_figure_8_has_three_initialisations_without_penalty_beside_agr():
    """'Three initialization strategies were explored'; 'success curves ... compared to the AGR method'."""
    arms = list(EXPERIMENTS["fig8e"].study.arms)
    names = [settings_of("fig8e", arm).representation_kwargs.get("initialisation") for arm in arms]
    assert names == ["uniform", "envelope", "gaussian", None, None]
    assert [settings_of("fig8e", arm).representation for arm in arms[3:]] == ["agr", "gaussian"]


# Section VII, Fig. 11


@pytest.mark.parametrize(("name", "env_id"), [("fig11a", "ASLA-Graphene-v0"), ("fig11b", "ASLA-GrainBoundary-v0")])
def test_figure_11_stacks_the_channels_of_the_paper_on_both_problems(name, env_id):
    """Fig. 11: λ = 1.5Δ on site, then rings of r_s = 1.4 Å with λ = Δ and m = 0, 1, 2, 3; AGR for reference."""
    *stacked, reference = EXPERIMENTS[name].study.arms
    assert settings_of(name, reference).representation == "agr"
    channels = [(1.5, 0.0, 0), (1.0, 1.4, 0), (1.0, 1.4, 1), (1.0, 1.4, 2), (1.0, 1.4, 3)]
    for n, arm in enumerate(stacked, start=2):
        config = settings_of(name, arm)
        assert config.env_id == env_id
        assert [tuple(channel) for channel in config.representation_kwargs["channels"]] == channels[:n]
    assert len(stacked) == 4


# Section VIII, Fig. 12 and Table I


def test_naphthalene_is_drawn_with_the_same_width_for_both_species_and_kernels_of_15x15():
    """'a Gaussian representation for each species, but with the same λ of 1Δ with a 15 x 15 kernel'."""
    kwargs = {"width_over_spacing": 1.0, "kernel_size": 15}
    assert settings_of("fig12", "Gaussian, λ = Δ").representation_kwargs == kwargs
    assert phases.ARMS["Gaussian, λ = Δ"]["representation_kwargs"] == kwargs


def test_figure_12_is_15_restarts_of_10_000_episodes():
    """Table I: 'averaged over the 10 000 episodes of 15 restarts'."""
    assert EXPERIMENTS["fig12"].restarts == 15
    assert settings_of("fig12", "one-hot").episodes == 10_000


def test_energies_may_be_those_of_gpaw_with_pbe_and_a_dzp_basis_of_atomic_orbitals():
    """'the Perdew-Burke-Ernzerhof (PBE) functional in the GPAW package using a dzp LCAO basis set'."""
    defaults = {name: parameter.default for name, parameter in inspect.signature(gpaw).parameters.items()}
    assert (defaults["xc"], defaults["basis"], defaults["mode"]) == ("PBE", "dzp", "lcao")
    assert "gpaw" in calculators.names()


TABLE_1 = {
    "one-hot": [(0.81, "5.6"), (10.39, "72.3"), (3.17, "22.1")],
    "Gaussian, λ = Δ": [(0.95, "6.4"), (10.24, "69.0"), (3.65, "24.6")],
}


def rows_of_table_1():
    """Rows of three episodes with one agent an arm, of which one takes what Table I says and is the median."""
    rows = []
    for arm, cells in TABLE_1.items():
        seconds = [[[factor * second, 0.0] for second, _ in cells] for factor in (0.5, 1.0, 3.0)]
        row = {"arm": arm, "seed": 0, "evaluator": "gpaw", "smoke": False, "updates": [6, 32], "seconds": seconds}
        rows.append(row)
    return rows


def test_seconds_are_drawn_with_the_percentages_of_table_1():
    """'Numbers in parentheses indicate the percentage of an entire episode for each phase'."""
    bars = [text.get_text() for text in figure("table1", rows_of_table_1()).axes[0].texts]
    printed = [",  ".join(f"{second:.2f} s ({percent}%)" for second, percent in cells) for cells in TABLE_1.values()]
    assert bars == [printed[0], printed[0], printed[1], printed[1]]  # the paper's and ours, twice


def test_rows_that_took_what_table_1_says_are_told_to_build_and_train_in_a_quarter_to_a_third_of_the_time(tmp_path):
    """'the building and training phases taking up only 25%-30% of the time' (27.7 % and 31.0 % by Table I)."""
    (tmp_path / "table1.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows_of_table_1()))
    told = told_of("table1", tmp_path)
    assert re.findall(r": ([\d.]+), ([\d.]+), ([\d.]+) s", told) == [
        tuple(f"{second:.2f}" for second, _ in cells) for cells in TABLE_1.values()
    ]
    building_and_training = [100 - int(percent) for percent in re.findall(r"evaluation (\d+)%", told)]
    assert building_and_training == [28, 31]


def test_in_the_committed_rows_the_gaussian_adds_to_building_and_training_a_twentieth_of_an_energy_at_most():
    """Table I: 'additional time ... is negligible compared to the time of a DFT calculation'."""
    rows = phases.rows_of(read_rows(RESULTS / "table1.jsonl"))
    one_hot, gaussian = (np.median(phases.seconds_of(rows, arm)[..., 1], axis=0) for arm in phases.ARMS)  # on the core
    building, evaluation, training = gaussian - one_hot
    assert building + training < 0.05 * gaussian[1]
    assert abs(evaluation) < 0.1 * gaussian[1]


def test_widths_of_their_own_and_agr_for_each_species_are_studies():
    """'further studies should investigate the influence of species-specific λ and extend the AGR method'."""
    arms = EXPERIMENTS["species-widths"].study.arms.values()
    widths = [arm["representation_kwargs"]["width_over_spacing"] for arm in arms]
    assert all(own in widths for own in ([1.25, 0.75], [0.75, 1.25]))  # each species has the larger one once
    assert settings_of("species-agr", "AGR").representation == "agr"


def test_transfer_from_one_problem_to_another_is_a_study():
    """Section I: 'the ability to transfer knowledge from one problem to another'."""
    config = settings_of("transfer", "from graphene")
    assert (config.env_id, config.before().env_id) == ("ASLA-GrainBoundary-v0", "ASLA-Graphene-v0")
    assert settings_of("transfer", "from scratch").before() is None
