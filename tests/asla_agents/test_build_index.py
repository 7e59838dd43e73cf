import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from asla_agents.build_index import BuildIndex

N_SITES = 12
STRUCTURES = st.sets(st.integers(0, N_SITES - 1), min_size=1, max_size=6)


@given(st.lists(STRUCTURES, max_size=300), st.sets(st.integers(0, N_SITES - 1), max_size=4))
def test_it_finds_the_builds_that_have_all_atoms_and_one_more(builds, wanted):
    index = BuildIndex(N_SITES)
    for build in builds:
        index.add(np.array(sorted(build)))
    images, further = np.array([sorted(wanted)], dtype=np.int64), np.arange(N_SITES)[None]
    expected = [[wanted | {site} <= build for build in builds] for site in range(N_SITES)]
    np.testing.assert_array_equal(index.builds_with(images, further), np.reshape(expected, (N_SITES, len(builds))))


def test_any_of_the_images_will_do_but_with_its_own_further_atom():
    index = BuildIndex(N_SITES)
    for build in ([1, 2, 3], [4, 5, 6], [1, 5, 7]):
        index.add(np.array(build))
    found = index.builds_with(np.array([[1], [4]]), np.array([[2, 5], [6, 7]]))
    assert found.tolist() == [[True, True, False], [False, False, True]]
