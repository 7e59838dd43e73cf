"""docs/configuration.md is the page that the settings themselves write."""

from dataclasses import fields
from pathlib import Path

from typer.testing import CliRunner

from asla_agents import cli
from asla_agents.config import RunConfig
from asla_agents.config_page import settings_page
from asla_agents.config_toml import group_of
from asla_agents.representation_settings import representation_settings
from asla_agents.representations import REPRESENTATIONS

_PAGE = Path(__file__).parent.parent / "docs" / "configuration.md"


def test_the_page_is_up_to_date():
    assert _PAGE.read_text(encoding="utf-8") == settings_page(), "asla config --markdown > docs/configuration.md"


def test_the_command_prints_the_page():
    assert CliRunner().invoke(cli.app, ["config", "--markdown"]).output == settings_page()


def test_the_page_says_of_every_setting_what_it_means():
    names = list(RunConfig.model_fields)
    names += [part.name for f in RunConfig.model_fields.values() if (g := group_of(f.annotation)) for part in fields(g)]
    names += [name for kind in REPRESENTATIONS for name in representation_settings(kind).model_fields]
    rows = [line.split(" | ") for line in settings_page().splitlines() if line.startswith("| `")]
    assert [row[0].strip("| `") for row in rows] == names
    for name, kind, default, _, meaning in rows:
        assert len(kind) > 3, name
        assert default, name
        assert len(meaning) > 10, name


def test_a_range_on_the_page_is_the_rule_of_the_error():
    page = settings_page()
    assert "| `epsilon` | number | `0.01` | in [0, 1] |" in page
    assert "| `seed` | whole number | `0` | at least 0, below 4294967296 |" in page
    assert '| `activation` | text | `"silu"` | one of leaky-relu, relu, ' in page
    assert "| `amplitude` | whole number | `1` | 1 or -1 |" in page
