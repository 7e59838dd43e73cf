"""Rules that settings share; what breaks one is a ValueError that names setting, value and rule."""

from typing import Any


def check_at_least(settings: Any, least: float, *names: str) -> None:
    """Raise ValueError if one of these attributes is lower."""
    for name in names:
        if not getattr(settings, name) >= least:
            raise ValueError(f"`{name}` is {getattr(settings, name)} but must be at least {least}")


def check_shares(settings: Any, *names: str) -> None:
    """Raise ValueError if one of these attributes is outside [0, 1]."""
    for name in names:
        if not 0 <= getattr(settings, name) <= 1:
            raise ValueError(f"`{name}` is {getattr(settings, name)} but must lie in [0, 1]")
