"""Checkpoints: whole or not there, refused when damaged, and never executed."""

import json
import os
import pickle
import zipfile

import pytest
import torch

from asla_agents.checkpoint import CheckpointError, State, read_checkpoint, write_checkpoint

STATE = State({"rng": 2**127 + 1, "energies": [1.5, None]}, {"weights": {"a": torch.arange(3.0)}, "steps": [1, 2]})


@pytest.fixture
def path(tmp_path):
    write_checkpoint(tmp_path / "checkpoint.zip", STATE)
    return tmp_path / "checkpoint.zip"


def test_what_is_written_is_read_back_to_the_last_bit(path):
    plain, tensors = read_checkpoint(path)
    assert plain.items() >= STATE.plain.items()
    assert torch.equal(tensors["weights"]["a"], STATE.tensors["weights"]["a"])
    assert tensors["steps"] == [1, 2]


def test_a_write_that_fails_leaves_the_old_file_whole_and_no_other(path, monkeypatch):
    before = path.read_bytes()

    def full(*_):
        raise OSError("No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_checkpoint(path, State({"rng": 1}, {}))
    assert path.read_bytes() == before
    assert [file.name for file in path.parent.iterdir()] == ["checkpoint.zip"]


@pytest.mark.parametrize("length", [0, 1, 10, 100, -1, -30, -200])
def test_a_file_that_is_cut_off_is_refused(path, length):
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(CheckpointError, match=r"`path` is .*checkpoint\.zip but must be a whole checkpoint of ASLA"):
        read_checkpoint(path)


@pytest.mark.parametrize("share", [0.1, 0.3, 0.5, 0.7])
def test_a_file_with_a_changed_byte_is_refused(path, share):
    content = bytearray(path.read_bytes())
    content[int(share * len(content))] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(CheckpointError):
        read_checkpoint(path)


@pytest.mark.parametrize(
    ("plain", "rule"),
    [
        ({}, "must be a checkpoint of ASLA"),
        ({"format": "asla-checkpoint", "version": 99}, "must be of version 7"),
        ([], "must be a checkpoint of ASLA"),
    ],
)
def test_another_format_or_version_is_refused(path, plain, rule):
    with zipfile.ZipFile(path) as archive:
        tensors = archive.read("tensors.pt")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("state.json", json.dumps(plain))
        archive.writestr("tensors.pt", tensors)
    with pytest.raises(CheckpointError, match=rule):
        read_checkpoint(path)


class Evil:
    """What runs a command when it is unpickled."""

    def __reduce__(self):
        return os.mkdir, ("executed",)


@pytest.mark.parametrize("dump", [lambda evil: pickle.dumps(evil, protocol=2), None], ids=["pickle", "torch"])
def test_code_in_a_checkpoint_is_not_executed(path, tmp_path, monkeypatch, dump):
    monkeypatch.chdir(tmp_path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("state.json", json.dumps({"format": "asla-checkpoint", "version": 5}))
        with archive.open("tensors.pt", "w") as file:
            if dump is None:
                torch.save({"weights": Evil()}, file)
            else:
                file.write(dump(Evil()))
    with pytest.raises(CheckpointError):
        read_checkpoint(path)
    assert not (tmp_path / "executed").exists()


def test_a_file_that_is_not_there_is_no_damaged_one(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_checkpoint(tmp_path / "checkpoint.zip")


def test_a_name_without_an_ending_gets_one_and_directories_are_made(tmp_path):
    write_checkpoint(tmp_path / "new" / "model", STATE)
    assert [file.name for file in (tmp_path / "new").iterdir()] == ["model.zip"]
    assert read_checkpoint(tmp_path / "new" / "model").plain["rng"] == STATE.plain["rng"]
    (tmp_path / "new" / "model.zip").rename(tmp_path / "other")
    assert read_checkpoint(tmp_path / "other").plain["rng"] == STATE.plain["rng"]
