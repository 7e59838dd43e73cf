"""Seeds that are ours alone."""

import torch

from asla_agents.randomness import torch_seeded


def test_what_is_drawn_is_that_of_the_seed_and_the_global_stream_goes_on_as_if_it_had_not_been():
    expected = torch.rand(3, generator=torch.Generator().manual_seed(5))
    before = torch.get_rng_state()
    with torch_seeded(5):
        torch.testing.assert_close(torch.rand(3), expected, rtol=0, atol=0)
    assert torch.equal(torch.get_rng_state(), before)


def test_streams_of_gpus_are_not_seeded(monkeypatch):
    seeded = []
    monkeypatch.setattr(torch.cuda, "manual_seed_all", seeded.append)
    with torch_seeded(5):
        torch.rand(1)
    assert not seeded


def test_without_a_seed_the_global_stream_is_drawn_from():
    torch.manual_seed(1)
    expected = torch.rand(2)
    torch.manual_seed(1)
    with torch_seeded(None):
        drawn = torch.rand(2)
    assert torch.equal(drawn, expected)
