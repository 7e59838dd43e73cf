"""Defaults of before, with which rows of studies were made that count as long as there are no newer ones."""

from typing import Any

_SETTINGS = {"warmup_episodes": 40}
_EXPLORATION = {"refined_share": 0.3}


def with_earlier_defaults(settings: dict[str, Any]) -> dict[str, Any]:
    """Settings of a `RunConfig` that say what the defaults said before they were changed."""
    return _SETTINGS | settings | {"exploration": _EXPLORATION | dict(settings.get("exploration") or {})}
