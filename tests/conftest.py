import pytest
import torch


@pytest.fixture(autouse=True)
def _one_thread():
    """Networks this small gain nothing from a second thread, and lose much where another process wants the core."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
