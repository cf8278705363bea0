import subprocess
import sys

import pytest
import torch

from ddpm_edu import data, losses, models, schedules
from ddpm_edu.errors import ConfigError, ShapeError

S = schedules.linear_scaled(100)
T3 = torch.tensor([1, 50, 100])


def awake(net):
    """A network whose last layer is not at zero, as after some training."""
    torch.manual_seed(0)
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return net


def test_an_untrained_network_says_zero_and_its_loss_is_that_of_the_noise():
    g = torch.Generator().manual_seed(0)
    x0 = data.moons(500, g)
    t, noise = torch.randint(1, 101, (500,), generator=g), torch.randn(500, 2, generator=g)
    net = models.MLP(2)
    assert (net(x0, t) == 0).all()
    torch.testing.assert_close(losses.simple(net, S, x0, t, noise), noise.square().mean(1))


@pytest.mark.parametrize("shape", [(2,), (1, 8, 8), (3, 4)])
def test_the_result_has_the_shape_of_x(shape):
    x = torch.randn(3, *shape)
    net = awake(models.MLP(x[0].numel(), width=16, depth=2))
    assert net(x, T3).shape == x.shape
    torch.testing.assert_close(net(x, T3).flatten(1), net(x.flatten(1), T3))


def test_twice_the_numbers_are_twice_the_channels():
    net = awake(models.MLP(64, width=16, out=128))
    x = torch.randn(3, 1, 8, 8)
    assert net(x, T3).shape == (3, 2, 8, 8)
    assert models.MLP(2, width=16, out=4)(torch.randn(3, 2), T3).shape == (3, 4)


def test_each_sample_is_seen_alone_and_at_its_own_time():
    net = awake(models.MLP(2, width=16))
    x = torch.randn(1, 2).expand(3, 2)
    together = net(x, T3)
    torch.testing.assert_close(together[1:2], net(x[:1], T3[1:2]))
    assert (together[0] - together[2]).abs().max() > 1e-3, "the time matters"


def test_every_parameter_is_trained():
    net = awake(models.MLP(2, width=16))
    net(torch.randn(3, 2), T3).square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in net.parameters())


def test_float64_works_too():
    assert awake(models.MLP(2, width=16)).double()(torch.randn(3, 2).double(), T3).dtype == torch.float64


def test_what_does_not_fit_is_refused():
    net = models.MLP(2)
    with pytest.raises(ShapeError, match=r"samples of 2 numbers.*\(3, 3\)"):
        net(torch.zeros(3, 3), T3)
    with pytest.raises(ShapeError, match=r"t \(1,\)"):
        net(torch.zeros(3, 2), T3[:1])
    with pytest.raises(ConfigError, match="multiple of dim"):
        models.MLP(2, out=3)
    with pytest.raises(ConfigError, match="depth=0"):
        models.MLP(2, depth=0)


def test_networks_know_nothing_of_diffusion():
    """Importing the networks must import no room that knows alpha_bar."""
    code = "import sys, ddpm_edu.models; print(*sorted(m for m in sys.modules if m.startswith('ddpm_edu')))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    rooms = {name.split(".")[1] for name in done.stdout.split() if "." in name}
    assert rooms == {"errors", "models"}
