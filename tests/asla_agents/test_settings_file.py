"""Settings in a file: what is read, and what is said of a file that is wrong."""

import pytest

from asla_agents.settings_file import SettingsFileError, read_settings


def written(tmp_path, name, content):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_toml_and_json_are_read_with_or_without_a_byte_order_mark(tmp_path, mark):
    expected = {"episodes": 3, "exploration": {"epsilon": 0.5}, "name": "λ"}
    toml = 'episodes = 3\nname = "λ"\n[exploration]\nepsilon = 0.5\n'
    json = '{"episodes": 3, "exploration": {"epsilon": 0.5}, "name": "λ"}'
    assert read_settings(written(tmp_path, "a.toml", mark + toml.encode())) == expected
    assert read_settings(written(tmp_path, "a.JSON", mark + json.encode())) == expected


@pytest.mark.parametrize(
    ("name", "content", "rule"),
    [
        ("a.yaml", "a: 1", r"must end in \.toml or \.json"),
        ("a.toml", "a = 1\nb = [1, 2\nc = 3\n", r"must be TOML: .*line 3"),
        ("a.json", '{\n"a": 1,\n}', r"must be JSON: .*line [23]"),
        ("a.toml", "a = 1\na = 2\n", r"must be TOML: .*(twice|overwrite).*line 2"),
        ("a.json", '{"b": {"a": 1, "a": 2}}', "`a` is there twice but must be there once"),
        ("a.json", "[1]", "must hold a JSON object"),
        ("a.json", b'{"a":\n "\xff"}', "line 2, must be text in UTF-8"),
        ("a.toml", "a = 1".encode("utf-16"), "line 1, must be text in UTF-8"),
        ("a.toml", "a.b = [1, 2021-01-01]", r"`a\.b\.1` is 2021-01-01 but must not be a date"),
        ("a.json", "9" * 5000, "digits"),
        ("a.toml", "a = " + "9" * 5000, "digits"),
        ("a.toml", "a = 0x" + "f" * 5000, "`a` has 20000 bits but must have at most 1000"),
        ("a.json", "[" * 100_000, "nested too deep"),
        ("a.toml", "a = " + "[" * 100_000, "nested too deep"),
        ("a.json", b" " * (1 << 20) + b"{}", "larger than 1048576 bytes"),
    ],
    ids=range(15),
)
def test_a_wrong_file_is_named_with_the_place_and_the_rule(tmp_path, name, content, rule):
    path = written(tmp_path, name, content)
    with pytest.raises(SettingsFileError, match=rf"(?s){name}.*{rule}"):
        read_settings(path)


def test_a_file_that_is_not_there_and_a_directory_are_refused(tmp_path):
    (tmp_path / "is.toml").mkdir()
    for name in ("no.toml", "is.toml"):
        with pytest.raises(SettingsFileError, match=rf"{name} but must be a file"):
            read_settings(tmp_path / name)
