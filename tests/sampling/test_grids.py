import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ddpm_edu import sampling
from ddpm_edu.errors import ConfigError, TimestepError
from ddpm_edu.sampling import grids


@given(st.integers(1, 4000).flatmap(lambda T: st.tuples(st.just(T), st.integers(1, T))))
@example((1000, 600))  # the published failure: 1000 // 600 = 1, and the chain starts at 599
@example((7, 5))
def check_a_grid(chain):
    T, steps = chain
    grid = grids.uniform(T, steps)
    assert len(grid) == steps
    assert grid[0][0] == T and grid[-1][1] == 0, "from T to 0"
    assert all(t > s for t, s in grid)
    assert [s for _, s in grid[:-1]] == [t for t, _ in grid[1:]], "chained"
    lengths = {t - s for t, s in grid}
    assert max(lengths) - min(lengths) <= 1, "as equal as whole numbers allow"


def test_every_number_of_steps_makes_a_grid_from_T_to_0():
    check_a_grid()


def test_every_number_of_steps_of_small_chains():
    for T in range(1, 41):
        for steps in range(1, T + 1):
            check_a_grid.hypothesis.inner_test((T, steps))


def test_grids_known_by_hand():
    assert grids.uniform(1000, 4) == [(1000, 750), (750, 500), (500, 250), (250, 0)]
    assert grids.uniform(5, 2) == [(5, 3), (3, 0)]  # 2.5 rounds up
    assert grids.uniform(3, 3) == [(3, 2), (2, 1), (1, 0)]


@pytest.mark.parametrize(
    ("steps", "words"),
    [(1001, "steps=1001 > T=1000"), (0, ">= 1, got 0"), (-5, "got -5"), (2.5, r"got 2\.5"), (True, "got True")],
)
def test_impossible_numbers_of_steps(steps, words):
    with pytest.raises(ConfigError, match=words):
        grids.uniform(1000, steps)


@pytest.mark.parametrize(
    ("grid", "words"),
    [
        ([], "at least one"),
        ([1000, 500, 0], "list of pairs"),
        ([(1000, 500), (400, 0)], "gap: the step from 1000 ends at 500, the next starts at 400"),
        ([(1000, 500), (500, 1)], "ends at 1"),
        ([(901, 0)], "starts at 901, not at T = 1000"),
        ([(1000, 1000)], r"got \(1000, 1000\)"),
        ([(1001, 0)], r"0 <= s < t <= 1000"),
        ([(1000, -1)], r"got \(1000, -1\)"),
    ],
)
def test_grids_that_are_none(grid, words):
    with pytest.raises(TimestepError, match=words):
        grids.check(grid, 1000, from_noise=True)


def test_a_start_below_T_needs_its_own_x():
    grids.check([(500, 0)], 1000, from_noise=False)


def test_the_default_grids():
    assert sampling.METHODS["ddpm"].steps(400) == 400
    assert sampling.METHODS["ddim"].steps(400) == 50
    assert sampling.METHODS["ddim"].steps(20) == 20
