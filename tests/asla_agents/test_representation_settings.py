"""The settings of representations, those of one's own too, are checked by their types."""

import pytest

from asla_agents.config import RunConfig
from asla_agents.representation_settings import check_representation_kwargs, representation_settings
from asla_agents.representations import REPRESENTATIONS, Gaussian


class Sharp(Gaussian):
    """A Gaussian whose width is a setting with a type."""

    def __init__(self, observation_space, grid, sharpness: float = 2.0, kernel_size: int = 5):
        super().__init__(observation_space, grid, width_over_spacing=1 / sharpness, kernel_size=kernel_size)


class Untyped(Gaussian):
    """A Gaussian whose width is a setting without a type."""

    def __init__(self, observation_space, grid, sharpness=2.0):
        super().__init__(observation_space, grid, width_over_spacing=1 / sharpness)


def test_a_representation_added_by_name_is_a_setting_like_ours(monkeypatch):
    monkeypatch.setitem(REPRESENTATIONS, "sharp", Sharp)
    config = RunConfig(
        env_id="ASLA-Graphene-v0", representation="sharp", representation_kwargs={"sharpness": 4.0, "kernel_size": 7}
    )
    assert config.representation == "sharp"
    assert set(representation_settings("sharp").model_fields) == {"sharpness", "kernel_size"}
    with pytest.raises(ValueError, match="`sharpness` is 'much'"):
        check_representation_kwargs("sharp", {"sharpness": "much"})


def test_of_a_setting_of_several_kinds_the_name_alone_is_said():
    message = "`width_over_spacing` is 'a' but must be a valid number; `width_over_spacing` is 'a' but must be a valid"
    with pytest.raises(ValueError, match=f"^{message} array$"):
        check_representation_kwargs("gaussian", {"width_over_spacing": "a"})


def test_a_setting_without_a_type_is_named(monkeypatch):
    monkeypatch.setitem(REPRESENTATIONS, "untyped", Untyped)
    with pytest.raises(ValueError, match="`sharpness` of `__init__` of Untyped has no type but must have one"):
        check_representation_kwargs("untyped", {})
