import pytest
import torch

# Networks this small gain nothing from a second thread, and lose much where another process wants the core. Said here,
# and not in a fixture alone, so that what the fixtures of a module compute is computed as in its tests: sums of floats
# depend on how they are shared out. And a process that never had a second thread can be forked.
torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _one_thread():
    """Whatever a test has set, the next one begins with one thread."""
    yield
    torch.set_num_threads(1)
