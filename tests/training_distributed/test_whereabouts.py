"""Which process this is, and on which device: from the environment, and from what there is."""

from unittest import mock

import pytest
import torch

from ddpm_edu.errors import ConfigError
from ddpm_edu.training.distributed import Team, pick_device, together


def gpus(count):
    return mock.patch("torch.cuda.device_count", return_value=count)


DEVICES = [
    (0, None, 0, "cpu"),
    (0, "cpu", 3, "cpu"),
    (2, None, 0, "cuda:0"),
    (2, None, 1, "cuda:1"),
    (2, "cuda", 1, "cuda:1"),  # or all processes would share the first
    (2, "cuda:0", 1, "cuda:0"),
    (2, "cpu", 1, "cpu"),
    (2, torch.device("cuda", 1), 0, "cuda:1"),
]


@pytest.mark.parametrize(("count", "wanted", "local_rank", "given"), DEVICES)
def test_each_process_has_a_device_of_its_own(count, wanted, local_rank, given):
    with gpus(count):
        assert pick_device(wanted, local_rank) == torch.device(given)


WRONG = [
    (0, "cuda", 0, "cuda:0 is asked for, and there is no CUDA GPU"),
    (1, "cuda:3", 0, "cuda:3 is asked for, and there are cuda:0 to cuda:0"),
    (2, None, 2, "cuda:2 is asked for, and there are cuda:0 to cuda:1.*more processes than GPUs"),
    (2, "cuda", 2, "cuda:2 is asked for"),
    (0, "gpu", 0, "a device is called cpu, .*got 'gpu'"),
    (0, "", 0, "got ''"),
    (0, 3, 0, "got 3"),
    (0, "meta", 0, "got 'meta'"),
    (0, "cuda:x", 0, "got 'cuda:x'"),
]


@pytest.mark.parametrize(("count", "wanted", "local_rank", "words"), WRONG)
def test_devices_that_are_not_there(count, wanted, local_rank, words):
    with gpus(count), pytest.raises(ConfigError, match=rf"{words}.*Fix: "):
        pick_device(wanted, local_rank)


@pytest.mark.parametrize("there", [False, True])
def test_a_macs_gpu(there):
    with mock.patch("torch.backends.mps.is_available", return_value=there):
        if there:
            assert pick_device("mps") == torch.device("mps")
        else:
            with pytest.raises(ConfigError, match="mps is asked for, and this is no Mac"):
                pick_device("mps")


@pytest.fixture
def told(monkeypatch):
    """Sets the environment of one of several processes, as torchrun or somebody else does."""

    def tell(**values):
        for name in ("WORLD_SIZE", "RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT"):
            monkeypatch.delenv(name, raising=False)
        for name, value in values.items():
            monkeypatch.setenv(name, value)

    return tell


RENDEZVOUS = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29999"}


@pytest.mark.parametrize("environment", [{}, {"WORLD_SIZE": "1"}, {"WORLD_SIZE": "1", "RANK": "0", **RENDEZVOUS}])
def test_alone(told, environment):
    told(**environment)
    with together("cpu") as team:
        assert team == Team(0, 1, torch.device("cpu"))
        assert team.is_main


@pytest.mark.parametrize("wanted", ["cuda:0", "cuda:1", torch.device("cuda", 0)])
def test_one_gpu_is_not_given_to_all(told, wanted):
    """Each of two processes would take it. Alone it may be named, and "cuda" gives each its own."""
    told(WORLD_SIZE="2", RANK="1", LOCAL_RANK="1", **RENDEZVOUS)
    with (
        gpus(2),
        pytest.raises(ConfigError, match=r"cuda:\d is asked for, by each of 2 processes.*Fix: device=None"),
        together(wanted),
    ):
        pass
    with (
        gpus(2),
        mock.patch("torch.cuda.set_device", side_effect=ZeroDivisionError) as taken,  # before it talks to the other
        pytest.raises(ZeroDivisionError),
        together("cuda"),
    ):
        pass
    taken.assert_called_once_with(torch.device("cuda:1"))
    told()
    with gpus(2), mock.patch("torch.cuda.set_device"), together(wanted) as team:
        assert team == Team(0, 1, torch.device(wanted))


NO_TEAM = [
    ({"WORLD_SIZE": "2"}, "one of several processes, and not which: .*'RANK': None"),
    ({"WORLD_SIZE": "2", "RANK": "0"}, "'MASTER_ADDR': None"),
    ({"WORLD_SIZE": "2", "RANK": "0", "MASTER_ADDR": "127.0.0.1"}, "'MASTER_PORT': None"),
    ({"WORLD_SIZE": "two", "RANK": "0", **RENDEZVOUS}, "'WORLD_SIZE': 'two'"),
    ({"WORLD_SIZE": "2", "RANK": "-1", **RENDEZVOUS}, "'RANK': '-1'"),
    ({"WORLD_SIZE": "2", "RANK": "2", **RENDEZVOUS}, "RANK=2 of WORLD_SIZE=2"),
    ({"WORLD_SIZE": "0", "RANK": "0", **RENDEZVOUS}, "RANK=0 of WORLD_SIZE=0"),
    ({"WORLD_SIZE": "2", "RANK": "0", "LOCAL_RANK": "x", **RENDEZVOUS}, "one of several processes"),
]


@pytest.mark.parametrize(("environment", "words"), NO_TEAM, ids=str)
@pytest.mark.timeout(20)
def test_an_environment_that_describes_no_team(told, environment, words):
    """At once: torch itself would wait for the others for half an hour."""
    told(**environment)
    with pytest.raises(ConfigError, match=rf"{words}.*Fix: start it by torchrun"), together("cpu"):
        pass
