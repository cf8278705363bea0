import pytest
import torch

from tests.training_distributed import setting


@pytest.fixture(scope="package")
def place(tmp_path_factory):
    """Where the two have written."""
    return tmp_path_factory.mktemp("two")


@pytest.fixture(scope="package")
def ended(place):
    return setting.end(setting.begin("tests.training_distributed.two", place), 150)


@pytest.fixture(scope="package")
def found(place, ended):
    """What each of the two has seen."""
    assert ended.code == 0, ended.err[-3000:]
    return [torch.load(place / f"found-{rank}.pt", weights_only=True) for rank in (0, 1)]
