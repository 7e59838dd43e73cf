"""Giving memory back to the operating system."""

import ctypes
import platform

import pytest

from asla_agents.memory import release_free_memory


def test_memory_can_be_released_again_and_again():
    for _ in range(3):
        release_free_memory()


@pytest.mark.parametrize("libc", [("", ""), ("musl", "1.2.5")])
def test_without_glibc_nothing_is_done(monkeypatch, libc):
    def fail(name):
        raise OSError(f"{name}: cannot open shared object file")

    monkeypatch.setattr(platform, "libc_ver", lambda: libc)
    monkeypatch.setattr(ctypes, "CDLL", fail)
    release_free_memory()
