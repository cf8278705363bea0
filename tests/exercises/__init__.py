import pytest

pytest.register_assert_rewrite("tests.exercises.proof")  # so that a failure shows what was compared
