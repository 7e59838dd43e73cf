"""Files are whole: the old one, or the new one."""

import os
from pathlib import Path

import pytest

from asla_env import whole_file as module
from asla_env.whole_file import is_partial, remove_partial_files, whole_file


@pytest.fixture
def path(tmp_path):
    (tmp_path / "picture.png").write_text("old")
    return tmp_path / "picture.png"


def write(path, text):
    with whole_file(path) as partial:
        assert partial.suffix == path.suffix
        partial.write_text(text)


def test_a_file_is_replaced_by_the_new_one(path):
    write(path, "new")
    assert path.read_text() == "new"
    assert [file.name for file in path.parent.iterdir()] == ["picture.png"]


@pytest.mark.parametrize("error", [OSError("No space left on device"), KeyboardInterrupt()])
def test_a_write_that_fails_or_is_interrupted_leaves_the_old_file_and_no_other(path, error):
    def half():
        with whole_file(path) as partial:
            partial.write_text("ne")
            raise error

    with pytest.raises(type(error)):
        half()
    assert path.read_text() == "old"
    assert [file.name for file in path.parent.iterdir()] == ["picture.png"]


def test_a_disk_that_is_full_when_the_file_is_made_safe_leaves_the_old_one(path, monkeypatch):
    def full(*_):
        raise OSError("No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write(path, "new")
    assert path.read_text() == "old"
    assert [file.name for file in path.parent.iterdir()] == ["picture.png"]


def test_file_and_name_outlive_a_power_failure(path, monkeypatch):
    synced = []
    monkeypatch.setattr(module, "_sync", lambda path, _: synced.append(path.name))
    write(path, "new")
    assert synced == [f"picture.{os.getpid()}.partial.png", path.parent.name]


def test_two_processes_may_write_the_same_file(path, monkeypatch):
    with whole_file(path) as ours:
        ours.write_text("ours")
        monkeypatch.setattr(os, "getpid", lambda: 1)
        write(path, "theirs")
        assert path.read_text() == "theirs"
    assert path.read_text() == "ours"
    assert [file.name for file in path.parent.iterdir()] == ["picture.png"]


def test_what_a_killed_process_left_is_known_and_removed(path):
    left = path.with_name("picture.1.partial.png")
    left.write_text("ne")
    (path.parent / "partial.txt").write_text("somebody's own")
    assert [is_partial(file) for file in (left, path)] == [True, False]
    remove_partial_files(path.parent)
    assert {file.name for file in path.parent.iterdir()} == {"picture.png", "partial.txt"}


@pytest.mark.parametrize("parent", ["missing", "picture.png"])
def test_a_file_that_cannot_be_written_is_named_as_it_was_given(path, monkeypatch, parent):
    monkeypatch.chdir(path.parent)
    with pytest.raises(OSError, match=f"'{parent}/new.png'"):
        write(Path(parent) / "new.png", "new")
    assert path.read_text() == "old"


@pytest.mark.skipif(os.name == "nt", reason="links need rights on Windows")
def test_of_a_link_the_file_is_replaced_that_it_points_to(path, tmp_path):
    link = tmp_path / "link.png"
    link.symlink_to(path)
    write(link, "new")
    assert link.is_symlink()
    assert path.read_text() == "new"


def test_a_directory_is_no_file_that_can_be_written(path):
    with pytest.raises(IsADirectoryError, match=f"Is a directory: '{path.parent}'"), whole_file(path.parent):
        pass


def test_a_device_is_written_in_place():
    device = Path(os.devnull)
    with whole_file(device) as partial:
        assert partial == device
        partial.write_text("new")
    assert not device.is_file()
