"""The success curves of J. Chem. Phys. 153, 044107 (2020), by figure.

Settings that the paper leaves open are the defaults of `RunConfig`.
"""

from typing import Any

from asla_agents.experiments.experiment import AGR, GRAIN_BOUNDARY, GRAPHENE, NAPHTHALENE, ONE_HOT, Experiment, gaussian
from asla_agents.study import Study

WIDTHS_OVER_SPACING = (0.5, 0.75, 1.0, 1.25, 1.5, 1.75, 2.0, 2.5)
_OTHER_WIDTHS = [f"λ = {width:g}Δ" for width in WIDTHS_OVER_SPACING if width != 1.25]
_BEST = gaussian(1.25)
_CHANNELS = ((1.5, 0.0, 0), (1.0, 1.4, 0), (1.0, 1.4, 1), (1.0, 1.4, 2), (1.0, 1.4, 3))

_BY_CHANNELS = [  # AGR is best, then the fewer the better, but the channel of m = 3 makes good a little
    ("AGR", "2 channels, m ≤ 0"),
    ("2 channels, m ≤ 0", "3 channels, m ≤ 1"),
    ("3 channels, m ≤ 1", "4 channels, m ≤ 2"),
    ("5 channels, m ≤ 3", "4 channels, m ≤ 2"),
    *(("AGR", f"{n} channels, m ≤ {n - 2}") for n in (3, 4, 5)),
    *(("2 channels, m ≤ 0", f"{n} channels, m ≤ {n - 2}") for n in (4, 5)),  # no gain by angles over radii
]


def _angular() -> dict[str, dict[str, Any]]:
    """Arms of Fig. 11: more and more channels, and AGR."""
    arms = {}
    for n in range(2, 6):
        kwargs = {"channels": [list(channel) for channel in _CHANNELS[:n]]}
        arms[f"{n} channels, m ≤ {n - 2}"] = {"representation": "angular", "representation_kwargs": kwargs}
    return {**arms, "AGR": AGR}


def _displaced() -> dict[str, dict[str, Any]]:
    """Arms of Fig. 8(e): three initialisations of the rings, AGR, and the single Gaussian that the text compares."""
    names = {"uniform": "(i) uniform", "envelope": "(ii) envelope", "gaussian": "(iii) one Gaussian"}
    arms = {
        name: {"representation": "displaced", "representation_kwargs": {"initialisation": initialisation}}
        for initialisation, name in names.items()
    }
    return {**arms, "AGR": AGR, "Gaussian, λ = 1.25Δ": _BEST}


_FIGURES = [
    Experiment(
        "fig2a",
        "One-hot needs about 750 episodes until half know graphene, Gaussians of λ = 1.25Δ less than 500.",
        Study(settings=GRAPHENE, arms={"one-hot": ONE_HOT, "Gaussian, λ = 1.25Δ": _BEST}),
        restarts=50,
        paper_n50={"one-hot": 750, "Gaussian, λ = 1.25Δ": 500},
        earlier=[("Gaussian, λ = 1.25Δ", "one-hot")],
    ),
    Experiment(
        "fig2b",
        "The episodes until half know graphene are fewest at λ = 1.25Δ.",
        Study(
            settings=GRAPHENE,
            arms={"one-hot": ONE_HOT, **{f"λ = {width:g}Δ": gaussian(width) for width in WIDTHS_OVER_SPACING}},
        ),
        restarts=50,
        paper_n50={"one-hot": 750, "λ = 1.25Δ": 500},
        earlier=[("λ = 1.25Δ", other) for other in ("one-hot", *_OTHER_WIDTHS)],
    ),
    Experiment(
        "fig4",
        "A bias of -0.1 brings n50 from about 500 to 400, one of +0.1 to 700.",
        Study(
            settings=GRAPHENE,
            arms={"bias -0.1": gaussian(1.25, bias=-0.1), "no bias": _BEST, "bias +0.1": gaussian(1.25, bias=0.1)},
        ),
        restarts=50,
        paper_n50={"bias -0.1": 400, "no bias": 500, "bias +0.1": 700},
        earlier=[("bias -0.1", "no bias"), ("no bias", "bias +0.1")],
    ),
    Experiment(
        "fig6a",
        "AGR does better than one-hot and about as well as the best single Gaussian.",
        Study(settings=GRAPHENE, arms={"one-hot": ONE_HOT, "Gaussian, λ = 1.25Δ": _BEST, "AGR": AGR}),
        restarts=50,
        paper_n50={"one-hot": 750, "Gaussian, λ = 1.25Δ": 500},
        earlier=[("AGR", "one-hot")],
        alike=[("AGR", "Gaussian, λ = 1.25Δ")],
    ),
    Experiment(
        "fig6b",
        "An L1 penalty hardly changes the success of AGR; after 1000 episodes, over 250 restarts, its coefficients are "
        "spread without it and gather around λ₄ with it.",
        Study(
            settings={**GRAPHENE, "episodes": 1000, "stop_on_success": False},
            arms={
                "β₁ = 0": AGR,
                "β₁ = 0.01": {**AGR, "representation_kwargs": {"beta_1": 0.01}},
                "β₁ = 0.1": {**AGR, "representation_kwargs": {"beta_1": 0.1}},
            },
        ),
        restarts=50,
        alike=[("β₁ = 0.01", "β₁ = 0"), ("β₁ = 0.1", "β₁ = 0")],
    ),
    Experiment(
        "fig7",
        "For the grain boundary one-hot needs about 4400 episodes and AGR 2200; after 5000, AGR has more than 80 %.",
        Study(settings=GRAIN_BOUNDARY, arms={"one-hot": ONE_HOT, "AGR": AGR}),
        restarts=20,
        paper_n50={"one-hot": 4400, "AGR": 2200},
        earlier=[("AGR", "one-hot")],
    ),
    Experiment(
        "fig8e",
        "Rings with random coefficients delay success much; started as one Gaussian they stay behind it and AGR.",
        Study(settings=GRAPHENE, arms=_displaced()),
        restarts=50,
        earlier=[
            ("AGR", "(i) uniform"),
            ("AGR", "(ii) envelope"),
            ("AGR", "(iii) one Gaussian"),
            ("Gaussian, λ = 1.25Δ", "(iii) one Gaussian"),
            ("(iii) one Gaussian", "(i) uniform"),
            ("(iii) one Gaussian", "(ii) envelope"),
        ],
    ),
    Experiment(
        "fig11a",
        "More channels make graphene harder, that of m = 3 a little easier again; none is as good as AGR.",
        Study(settings=GRAPHENE, arms=_angular()),
        restarts=50,
        earlier=_BY_CHANNELS,
    ),
    Experiment(
        "fig11b",
        "The same for the grain boundary.",
        Study(settings=GRAIN_BOUNDARY, arms=_angular()),
        restarts=20,
        paper_n50={"AGR": 2200},
        earlier=_BY_CHANNELS,
    ),
    Experiment(
        "fig12",
        "Gaussians of λ = Δ for both species find naphthalene in far fewer episodes than one-hot.",
        Study(settings=NAPHTHALENE, arms={"one-hot": ONE_HOT, "Gaussian, λ = Δ": gaussian(1.0, kernel_size=15)}),
        restarts=15,
        earlier=[("Gaussian, λ = Δ", "one-hot")],
    ),
]

PAPER: dict[str, Experiment] = {experiment.name: experiment for experiment in _FIGURES}
PAPER |= dict.fromkeys(("fig6c", "fig6d", "fig6e"), PAPER["fig6b"])
