"""What every exercise check is held to, whatever it checks: the four tests that each file of checks has."""

from collections.abc import Iterable, Mapping
from types import ModuleType
from typing import Any

import pytest

from ddpm_edu.exercises import CheckFailed

PROVEN: dict[Any, tuple[Iterable, Mapping]] = {}  # all that was handed to of(): check -> (right answers, wrong ones)


def blank(*_):
    """An exercise that nobody has touched."""
    raise NotImplementedError


def of(modules: ModuleType | Iterable[ModuleType], exercises: Mapping[Any, tuple[Iterable, Mapping]]):
    """The tests of the checks in ``modules``, in the order of the names that a file gives them.

    ``exercises``: check -> (right answers, {name of a wrong one: (the answer, words that its message must have)}).
    """
    PROVEN.update(exercises)
    names = {check.__name__: check for check in exercises}
    wrong_ones = [pytest.param(name, how, id=f"{name}: {how}") for name, c in names.items() for how in exercises[c][1]]

    @pytest.mark.parametrize("name", names)
    def is_kind_to_a_blank(name, capsys):
        names[name](blank)
        assert "not yet" in capsys.readouterr().out

    @pytest.mark.parametrize("name", names)
    def takes_right_answers(name, capsys):
        for right in exercises[names[name]][0]:
            names[name](right)
            assert "right." in capsys.readouterr().out

    @pytest.mark.parametrize(("name", "how"), wrong_ones)
    def names_the_mistake(name, how):
        wrong, words = exercises[names[name]][1][how]
        with pytest.raises(CheckFailed) as refusal:
            names[name](wrong)
        assert words in str(refusal.value)
        assert "\n" not in str(refusal.value)

    def every_check_is_listed():
        rooms = [modules] if isinstance(modules, ModuleType) else modules
        checks = {f for room in rooms for f in vars(room).values() if hasattr(f, "__wrapped__")}
        assert {check for check in checks if not hasattr(check, "cache_info")} == set(exercises)

    return is_kind_to_a_blank, takes_right_answers, names_the_mistake, every_check_is_listed
