"""The settings that each representation has, with their kinds: what its class takes beside image and grid."""

import inspect
import json
import re
from collections.abc import Mapping
from functools import cache
from typing import Any, get_type_hints

from pydantic import BaseModel, ConfigDict, ValidationError, create_model

from asla_agents.representations import REPRESENTATIONS
from asla_agents.settings_error import one_line

_GIVEN = ("self", "observation_space", "grid")


@cache
def representation_settings(name: str) -> type[BaseModel]:
    """Model of the settings of a representation; their ranges are checked when it is made, for a grid.

    Parameters
    ----------
    name
        One of `REPRESENTATIONS`.

    Raises
    ------
    ValueError
        If `__init__` of its class gives a setting no type, by which it could be checked.
    """
    function: Any = REPRESENTATIONS[name].__init__
    hints = get_type_hints(function)
    parameters = [p for p in inspect.signature(function).parameters.values() if p.name not in _GIVEN]
    for parameter in parameters:
        if parameter.name not in hints:
            where = f"`{parameter.name}` of `__init__` of {REPRESENTATIONS[name].__name__}"
            raise ValueError(f"{where} has no type but must have one, by which settings of {name!r} are checked")
    fields: dict[str, Any] = {parameter.name: (hints[parameter.name], parameter.default) for parameter in parameters}
    return create_model(name, __config__=ConfigDict(extra="forbid"), **fields)


def check_representation_kwargs(name: str, settings: Mapping[str, Any]) -> None:
    """Raise ValueError if a representation does not have these settings, or one is of another kind.

    Parameters
    ----------
    name
        One of `REPRESENTATIONS`.
    settings
        The settings by name.
    """
    model = representation_settings(name)
    unknown = [setting for setting in settings if setting not in model.model_fields]
    if unknown:
        rule = f"must be one of {', '.join(model.model_fields)}" if model.model_fields else "must be left out"
        raise ValueError(f"`{unknown[0]}` is no setting of {name!r} but {rule}")
    try:
        model.model_validate_json(json.dumps(settings), strict=True)  # as in JSON, lists may stand for tuples
    except ValidationError as error:
        text = one_line(error, model)  # where a setting may be of several kinds, their names stand behind its own
        raise ValueError(re.sub(r"`(\w+(?:\.\d+)*)\.[^`\d][^`]*`", r"`\1`", text)) from error
