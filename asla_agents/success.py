"""How many episodes it takes: success curves of many restarts, and what may be said about them.

A restart that ended without a success is censored at its own last episode: it would have found the structure later, or
never. What is estimated from such data is the curve of Kaplan and Meier.
"""

import warnings
from dataclasses import dataclass
from numbers import Real

import numpy as np
import scipy  # which imports `scipy.stats` when it is used first
from numpy.typing import ArrayLike, NDArray

_RESAMPLES = 2000


@dataclass(frozen=True)
class SuccessCurve:
    """Fraction of restarts that know the structure, by episode."""

    episodes: NDArray[np.int64]
    """Episodes at which the curve steps up, ascending; it is 0 before the first."""
    probability: NDArray[np.float64]
    """The fraction from each of these episodes on."""
    low: NDArray[np.float64]
    """Lower end of its confidence band; nan where the data do not tell."""
    high: NDArray[np.float64]
    """Upper end of its confidence band; nan where the data do not tell."""


@dataclass(frozen=True)
class Interval:
    """An estimate and its confidence interval."""

    value: float
    low: float
    high: float


def success_curve(found_at: ArrayLike, episodes: ArrayLike, confidence: float = 0.95) -> SuccessCurve:
    """Kaplan-Meier success curve with a log-log confidence band.

    Parameters
    ----------
    found_at
        Episode of the first success of each restart, nan if there is none, shape (restarts,).
    episodes
        Episodes that each restart ran, shape (restarts,).
    confidence
        Of the band.

    Raises
    ------
    ValueError
        If there is no restart, a success lies outside the episodes of its restart, or `confidence` outside of (0, 1).
    """
    data = _censored(found_at, episodes)
    _check_confidence(confidence)
    cdf = scipy.stats.ecdf(data).cdf
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The confidence interval is undefined", RuntimeWarning)  # nan says it too
        band = cdf.confidence_interval(confidence, method="log-log")
    steps = np.isin(cdf.quantiles, np.asarray(found_at, dtype=float))
    parts = (cdf.probabilities, band.low.probabilities, band.high.probabilities)
    return SuccessCurve(cdf.quantiles[steps].astype(np.int64), *(part[steps] for part in parts))


def n50(found_at: ArrayLike, episodes: ArrayLike, confidence: float = 0.95, seed: int = 0) -> Interval:
    """Episodes until half of the restarts know the structure, with a bootstrap interval (percentiles).

    A value is inf where the restarts ended before half of them knew it.

    Parameters
    ----------
    found_at, episodes
        As for `success_curve`.
    confidence
        Of the interval.
    seed
        Of the resampling.

    Raises
    ------
    ValueError
        As for `success_curve`.
    """
    _censored(found_at, episodes)
    _check_confidence(confidence)
    found, ran = np.asarray(found_at, dtype=float), np.asarray(episodes, dtype=float)
    rng = np.random.default_rng(seed)
    draws = rng.integers(len(found), size=(_RESAMPLES, len(found)))
    medians = _medians(found[draws], ran[draws])
    tail = (1 - confidence) / 2
    low, high = np.quantile(medians, [tail, 1 - tail], method="nearest")  # between inf and a number is no middle
    return Interval(median_episode(found, ran), float(low), float(high))


def log_rank(found_at: ArrayLike, episodes: ArrayLike, other_found_at: ArrayLike, other_episodes: ArrayLike) -> float:
    """p-value of the log-rank test that two success curves are the same.

    Parameters
    ----------
    found_at, episodes, other_found_at, other_episodes
        Both groups of restarts, as for `success_curve`.

    Raises
    ------
    ValueError
        As for `success_curve`.
    """
    groups = _censored(found_at, episodes), _censored(other_found_at, other_episodes)
    with np.errstate(invalid="ignore"):
        p_value = float(scipy.stats.logrank(*groups).pvalue)
    return 1.0 if np.isnan(p_value) else p_value  # no success came while both were running: nothing tells them apart


def median_episode(found_at: ArrayLike, episodes: ArrayLike) -> float:
    """First episode at which the success curve reaches one half, inf if it does not; arguments as for it."""
    return float(_medians(np.asarray(found_at, dtype=float), np.asarray(episodes, dtype=float)))


def _medians(found: NDArray[np.float64], ran: NDArray[np.float64]) -> NDArray[np.float64]:
    """The same of many samples of restarts, shape (...), whose entries have shape (..., restarts)."""
    times = np.where(np.isnan(found), ran, found)
    order = np.lexsort((np.isnan(found), times))  # at one episode, successes count before those that end
    at_risk = np.arange(times.shape[-1], 0, -1)
    is_found = ~np.isnan(np.take_along_axis(found, order, axis=-1))
    survival = np.cumprod(np.where(is_found, 1 - 1 / at_risk, 1.0), axis=-1)
    below = survival <= 0.5 + 1e-12
    first = np.argmax(below, axis=-1, keepdims=True)
    medians = np.take_along_axis(np.take_along_axis(times, order, axis=-1), first, axis=-1)
    return np.where(below.any(axis=-1), medians[..., 0], np.inf)


def _check_confidence(confidence: float) -> None:
    """Raise ValueError unless it is one of an interval."""
    if not (isinstance(confidence, Real) and 0 < confidence < 1):
        raise ValueError(f"`confidence` is {confidence!r} but must lie between 0 and 1")


def _censored(found_at: ArrayLike, episodes: ArrayLike) -> "scipy.stats.CensoredData":
    """Restarts as scipy takes them; ValueError if they are none."""
    found, ran = np.asarray(found_at, dtype=float), np.asarray(episodes, dtype=float)
    if found.ndim != 1 or found.shape != ran.shape or not len(found):
        raise ValueError(
            f"`found_at` and `episodes` have shapes {found.shape} and {ran.shape} but must have one entry for each "
            "of at least one restart"
        )
    if not np.all((ran >= 1) & np.isfinite(ran)):
        raise ValueError(f"`episodes` is {ran.tolist()} but each must be at least 1")
    if np.any((found < 1) | (found > ran)):
        raise ValueError(f"`found_at` is {found.tolist()} but each must be nan or lie in the episodes of its restart")
    return scipy.stats.CensoredData.right_censored(np.where(np.isnan(found), ran, found), np.isnan(found))
