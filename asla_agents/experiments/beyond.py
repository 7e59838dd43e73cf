"""Questions that the paper leaves open, asked in the same way."""

from asla_agents.experiments.experiment import (
    AGR,
    BORON_NITRIDE,
    GRAIN_BOUNDARY,
    GRAPHENE,
    ONE_HOT,
    Experiment,
    gaussian,
)
from asla_agents.study import Study

GRAPHENE_BEFORE = {"env_id": "ASLA-Graphene-v0", "episodes": 500, "warmup_episodes": 40}
STARTS_OVER_SPACING = (0.5, 1.0, 1.25, 2.0, 3.0)
_RANDOM = {"gradient_steps": 0, "exploration": {"epsilon": 1, "top_probability": 0}}

_QUESTIONS = [
    Experiment(
        "trainable-width",
        "Beyond the curves of the paper: where does λ end if it is trained? Section V says that it depends much on "
        "where it starts.",
        Study(
            settings={**GRAPHENE, "episodes": 1000, "stop_on_success": False},
            arms={f"λ from {start:g}Δ": gaussian(start, trainable_width=True) for start in STARTS_OVER_SPACING},
        ),
        restarts=20,
    ),
    Experiment(
        "species-widths",
        "Section VIII expects little of a λ of its own for each species, if the largest decides: here for a sheet of "
        "boron nitride.",
        Study(
            settings=BORON_NITRIDE,
            arms={
                "λ = 0.75Δ": gaussian(0.75),
                "λ = 1.25Δ": gaussian(1.25),
                "λ(B) = 1.25Δ, λ(N) = 0.75Δ": gaussian([1.25, 0.75]),
                "λ(B) = 0.75Δ, λ(N) = 1.25Δ": gaussian([0.75, 1.25]),
            },
        ),
        restarts=20,
    ),
    Experiment(
        "species-agr",
        "Section VIII suggests AGR for several species: here each has coefficients of its own, for a sheet of boron "
        "nitride.",
        Study(settings=BORON_NITRIDE, arms={"one-hot": ONE_HOT, "Gaussian, λ = 1.25Δ": gaussian(1.25), "AGR": AGR}),
        restarts=20,
    ),
    Experiment(
        "transfer",
        "The introduction names transfer from one problem to another as a strength of ASLA: here the agent that builds "
        "the grain boundary has built graphene before. Random builds come first in the first arm only.",
        Study(
            settings={**GRAIN_BOUNDARY, **AGR},
            arms={
                "from scratch": {},
                "from scratch, no random builds": {"warmup_episodes": 0},
                "from graphene": {"warmup_episodes": 0, "pretrained": GRAPHENE_BEFORE},
            },
        ),
        restarts=20,
    ),
    Experiment(
        "grain-boundary",
        "Does one Gaussian do for the grain boundary too, or does it take AGR? Fig. 7 of the paper has no Gaussian.",
        Study(settings=GRAIN_BOUNDARY, arms={"one-hot": ONE_HOT, "Gaussian, λ = 1.25Δ": gaussian(1.25), "AGR": AGR}),
        restarts=40,
        paper_n50={"one-hot": 4400, "AGR": 2200},
        earlier=[("AGR", "one-hot")],
    ),
    Experiment(
        "imagination",
        "A local energy model judges imagined builds before one of them is paid for: does that save energies?",
        Study(settings={**GRAPHENE, **gaussian(1.25)}, arms={"ASLA": {}, "with imagination": {"imagination": {}}}),
        restarts=50,
    ),
    Experiment(
        "network",
        "Every other build moves atoms of a low structure without the network: is it needed? Instead of its placements "
        "here are random ones.",
        Study(settings={**GRAPHENE, **gaussian(1.25)}, arms={"ASLA": {}, "no network": _RANDOM}),
        restarts=20,
    ),
]

BEYOND: dict[str, Experiment] = {experiment.name: experiment for experiment in _QUESTIONS}
