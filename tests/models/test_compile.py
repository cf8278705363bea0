"""torch.compile sees the network as one graph, and torch.export takes it whole; both give the same numbers."""

from unittest import mock

import pytest
import torch

from ddpm_edu.models import checkpointing
from tests.models.helpers import inputs, off_by, small

NETS = {"ddpm": {"classes": 3}, "adm": {"told": "scale_shift", "resample": "in_block", "tokens": 5, "patch": 2}}


def gradients(call, net, given):
    net.zero_grad()
    out = call(**given)
    out.square().sum().backward()
    return torch.cat([out.detach().flatten(), *(p.grad.flatten() for p in net.parameters())])


@pytest.mark.parametrize("name", NETS)
def test_a_compiled_network_is_one_graph_with_the_same_result(name):
    """To 1e-6, with its gradients; fullgraph=True raises where Python would have to step in between."""
    torch.compiler.reset()
    net = small(**NETS[name])
    given = inputs(net.config)
    plain = gradients(net, net, given)
    compiled = torch.compile(net, fullgraph=True, backend="aot_eager")
    assert off_by(gradients(compiled, net, given), plain) < 1e-6


@pytest.mark.parametrize("enable", [checkpointing.enable, checkpointing.enable_selective])
@pytest.mark.filterwarnings("ignore:.*context_fn")
def test_checkpointing_can_be_compiled_too(enable):
    torch.compiler.reset()
    net = small(multipliers=(1,), attention=())
    given = inputs(net.config)
    plain = gradients(net, net, given)
    enable(net)
    compiled = torch.compile(net, fullgraph=True, backend="aot_eager")
    assert off_by(gradients(compiled, net, given), plain) < 1e-6


def looks_always(values):
    return True


def test_a_graph_that_breaks_would_be_noticed():
    """Negative control: the values of t looked at inside the graph, as they are outside."""
    torch.compiler.reset()
    net = small(multipliers=(1,), attention=())
    given = inputs(net.config)
    with mock.patch("ddpm_edu.models.inputs._can_look_at", looks_always):
        net(**given)
        with pytest.raises(torch._dynamo.exc.TorchDynamoException):
            torch.compile(net, fullgraph=True, backend="eager")(**given)


@pytest.mark.parametrize("name", NETS)
def test_an_exported_network_gives_the_same_for_any_batch(name):
    net = small(**NETS[name]).eval()
    given = inputs(net.config)
    batch = torch.export.Dim("batch", min=1, max=64)
    with torch.no_grad():
        exported = torch.export.export(net, (), given, dynamic_shapes={key: {0: batch} for key in given}).module()
        for n in (2, 5):
            more = inputs(net.config, n=n, seed=n)
            assert off_by(exported(**more), net(**more)) < 1e-6


def test_values_are_still_looked_at_outside_a_graph():
    """Compiling one network turns the checks off inside its graph, and nowhere else."""
    net = small(multipliers=(1,), attention=())
    given = inputs(net.config)
    with pytest.raises(ValueError, match="t = 5000"):
        net(**{**given, "t": torch.tensor([1, 5000])})
