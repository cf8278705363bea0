"""Every mutant of the catalogue is killed by each test it names; its exercise check refuses it in the right words."""

import pytest

from ddpm_edu.exercises import CheckFailed
from tests.mutants import Mutant
from tests.mutants.catalogue import ALL

KILLS = [pytest.param(m, t, id=f"{m.name} / {t.__name__}") for m in ALL for t in m.killed_by]
REFUSALS = [pytest.param(m, id=m.name) for m in ALL if m.refused_by]


@pytest.mark.filterwarnings("ignore::ddpm_edu.errors.ScheduleWarning")
@pytest.mark.parametrize(("mutant", "test"), KILLS)
def test_killed(mutant, test):
    assert not mutant.survives(test), f"{test.__name__} passes with: {mutant.name}"


@pytest.mark.parametrize("test", sorted({t for m in ALL for t in m.killed_by}, key=lambda t: t.__name__))
def test_the_same_test_passes_without_the_mutant(test):
    """Else "killed" would mean nothing."""
    test()


@pytest.mark.parametrize("mutant", REFUSALS)
def test_refused_by_the_exercise_check_in_the_right_words(mutant):
    check, words = mutant.refused_by
    with pytest.raises(CheckFailed) as refusal:
        check(mutant.wrong)
    assert words in str(refusal.value)


def test_every_mutant_has_someone_who_must_notice():
    assert all(m.killed_by or m.refused_by for m in ALL)
    assert len({m.name for m in ALL}) == len(ALL)


def test_a_harmless_change_survives():
    """Negative control of the harness: the right function put in its own place is not 'killed'."""
    from ddpm_edu import forward
    from tests import test_forward

    same = Mutant("the right step", "ddpm_edu.forward.q_step", forward.q_step)
    assert same.survives(test_forward.test_one_step_has_variance_beta)
