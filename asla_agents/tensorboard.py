"""What a search writes for TensorBoard: scalars of every episode, and now and then pictures."""

from collections import deque
from importlib.util import find_spec
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from stable_baselines3.common.logger import Image, Logger, TensorBoardOutputFormat

from asla_agents import pictures
from asla_agents.callbacks import EpisodeCallback
from asla_env.render import rgb

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from asla_agents.asla import ASLA

_LAST = 20  # episodes over which their rate is measured


class TensorBoard(EpisodeCallback):
    """Record scalars after each episode and pictures now and then; their steps are episodes.

    Records go to the logger of the agent: `tensorboard_logger`, or any of Stable-Baselines3 that is set by
    ``model.set_logger`` or made for its argument `tensorboard_log`. In the latter case give `learn` a `log_interval`
    that is never reached: what Stable-Baselines3 itself writes has placements for steps.

    Parameters
    ----------
    pictures_every
        Episodes between two sets of pictures; there is one more at the end.

    Raises
    ------
    ValueError
        If `pictures_every` is not at least 1.
    """

    def __init__(self, pictures_every: int = 100) -> None:
        super().__init__()
        if pictures_every < 1:
            raise ValueError(f"`pictures_every` is {pictures_every} but must be at least 1")
        self._every = pictures_every
        self._waiting: list[dict[str, Any]] = []
        self._ends = deque[float](maxlen=_LAST + 1)
        self._episode, self._pictured = 0, 0

    def on_episode(self, info: dict[str, Any]) -> bool:
        """Keep what is known of the episode; the agent has yet to learn from it."""
        self._ends.append(perf_counter())
        self._waiting.append(info)
        return True

    def _on_training_start(self) -> None:
        self._episode = self._pictured = self._agent.episodes
        self._ends.append(perf_counter())

    def _on_rollout_start(self) -> None:
        self._write(is_last=False)

    def _on_training_end(self) -> None:
        self._write(is_last=True)

    @property
    def _agent(self) -> "ASLA":
        return cast("ASLA", self.model)

    def _write(self, is_last: bool) -> None:
        """Write what happened since the last round of builds, that agent and pictures with the last of its episodes."""
        while self._waiting:
            self._episode += 1
            self._record(_of_episode(self._waiting.pop(0)))
            if not self._waiting:
                self._record(self._of_agent())
            self.logger.dump(self._episode)
        is_due = is_last or self._episode // self._every > self._pictured // self._every
        if is_due and self._episode > self._pictured:
            self._pictured = self._episode
            self._record({name: Image(rgb(figure), "HWC") for name, figure in self._pictures().items()})
            self.logger.dump(self._episode)

    def _record(self, values: dict[str, Any]) -> None:
        """Record what there is of these values."""
        for name, value in values.items():
            if not isinstance(value, float) or np.isfinite(value):
                self.logger.record(name, value)

    def _of_agent(self) -> dict[str, Any]:
        """Scalars of the search as a whole."""
        agent, best = self._agent, self._agent.best
        values: dict[str, Any] = {
            "search/found": float(agent.explorer.found),
            "search/warming_up": float(agent.explorer.is_warming_up),
            "search/episodes_since_lowest": agent.builds.episodes_since_lowest,
            "search/updates": agent.updates,
        }
        if best is not None:
            values["search/best_energy"] = best.energy
            values["search/best_energy_above_reference"] = best.energy_above_reference
        if (seconds := self._ends[-1] - self._ends[0]) > 0:
            values["search/episodes_per_second"] = (len(self._ends) - 1) / seconds
        for name, symbol, numbers in pictures.learned(agent.q_map.features_extractor, agent.problem.species):
            group = f"{name}_{symbol}" if symbol else name
            values |= {f"{group}/{i}": number for i, number in enumerate(numbers, 1)}
        return values

    def _pictures(self) -> dict[str, "Figure"]:
        """Q-map of the empty template, best structure and the representation as it is now."""
        agent = self._agent
        problem, representation, best = agent.problem, agent.q_map.features_extractor, agent.best
        figures = {
            "pictures/q_map": pictures.first_q_map(agent),
            "pictures/kernel": pictures.kernels(representation, problem.species),
            "pictures/coefficients": pictures.coefficients(representation, problem.species),
        }
        if best is not None:
            figures["pictures/best"] = pictures.structure(best.placed, problem, f"{best.energy:.3f} eV")
        return {name: figure for name, figure in figures.items() if figure is not None}


def check_tensorboard() -> None:
    """Raise ImportError if TensorBoard is missing."""
    if find_spec("tensorboard") is None:
        raise ImportError("`tensorboard` needs TensorBoard, which cannot be imported: `pip install asla[tensorboard]`")


def tensorboard_logger(folder: Path, episodes: int = 0) -> Logger:
    """Make a logger that writes events for TensorBoard; to be closed at the end.

    Parameters
    ----------
    folder
        Where they are written, beside those that are there.
    episodes
        Episodes that ended before. Later events of the same folder, by a search that did not come to its next
        checkpoint, are taken back.

    Raises
    ------
    ImportError
        If TensorBoard is missing.
    """
    check_tensorboard()
    from tensorboard.compat.proto.event_pb2 import Event, SessionLog

    output = TensorBoardOutputFormat(str(folder))
    if output.writer.file_writer is not None:
        start = SessionLog(status=SessionLog.START)
        output.writer.file_writer.add_event(Event(session_log=start), episodes + 1)
    return Logger(str(folder), [output])


def _of_episode(info: dict[str, Any]) -> dict[str, Any]:
    """Scalars of one episode."""
    is_computed = info["calculator_error"] is None
    return {
        "episode/energy": info["energy"] if is_computed else np.nan,
        "episode/energy_above_reference": info["energy_above_reference"] if is_computed else np.nan,
        "episode/is_success": float(info["is_success"]),
        "episode/length": len(info["placed"]),
        "episode/dead_end": float(info["dead_end"]),
        "episode/calculator_failed": float(not is_computed),
    }
