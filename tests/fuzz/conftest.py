"""Anything at all, and what may come of it.

`pytest tests/fuzz --hypothesis-profile thorough` tries twenty times as much.
"""

import traceback
from pathlib import Path

import pytest
from hypothesis import settings

import asla_agents
import asla_env

OURS = tuple(str(Path(package.__file__).parent) for package in (asla_env, asla_agents))
settings.register_profile("thorough", max_examples=2000, deadline=None)


def attempt(function, *arguments, errors=(ValueError, TypeError), **settings):
    """Call a function: what it returns, and the error that it raises if that is one that a user understands.

    Such an error is raised by a line of ours, and names an argument or a file. Any other one is passed on.
    """
    try:
        return function(*arguments, **settings), None
    except errors as error:
        where = traceback.extract_tb(error.__traceback__)[-1].filename
        if where.startswith(OURS) and ("`" in str(error) or "/" in str(error)):
            return None, error
        raise


@pytest.fixture(scope="session", name="attempt")
def attempt_fixture():
    return attempt
