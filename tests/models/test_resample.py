"""Half and twice the size, against loops over windows and against the enlarged image itself."""

import numpy as np
import torch
import torch.nn.functional as F

from ddpm_edu.models import resample
from tests.models.helpers import awake


def image(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def layer(kind, channels=3):
    return awake(kind(channels), std=0.5).double()


def windows(h, weight, bias, first):
    """A 3x3 convolution with stride 2 whose first window begins at pixel (first, first); what lies outside is 0."""
    c, height, width = h.shape
    out = np.zeros((len(weight), height // 2, width // 2))
    for o, y, x in np.ndindex(out.shape):
        out[o, y, x] = bias[o]
        for i, dy, dx in np.ndindex(c, 3, 3):
            row, column = 2 * y + first + dy, 2 * x + first + dx
            if 0 <= row < height and 0 <= column < width:
                out[o, y, x] += weight[o, i, dy, dx] * h[i, row, column]
    return out


def down_by_hand(kind, first):
    net, h = layer(kind), image(2, 3, 6, 4)
    weight, bias = net.conv.weight.detach().numpy(), net.conv.bias.detach().numpy()
    return net(h).detach().numpy(), np.stack([windows(one.numpy(), weight, bias, first) for one in h])


def test_down_right_padded_window_by_window():
    """The first window begins at pixel (0, 0), so its centre is (1, 1); beyond the last row and column there is 0."""
    np.testing.assert_allclose(*down_by_hand(resample.DownRightPadded, 0), rtol=1e-12)


def test_down_padded_window_by_window():
    """The first window begins at pixel (-1, -1), so its centre is (0, 0)."""
    np.testing.assert_allclose(*down_by_hand(resample.DownPadded, -1), rtol=1e-12)


def test_the_two_look_at_different_pixels():
    ours, symmetric = layer(resample.DownRightPadded), layer(resample.DownPadded)
    symmetric.load_state_dict(ours.state_dict())
    h = image(1, 3, 8, 8)
    assert ours(h).shape == symmetric(h).shape == (1, 3, 4, 4)
    assert (ours(h) - symmetric(h)).abs().max() > 0.1
    # one pixel in the corner is seen by one window here and by one there, under different weights
    dot = torch.zeros(1, 3, 8, 8, dtype=torch.float64)
    dot[0, 0, 0, 0] = 1
    for net, place in ((ours, (0, 0)), (symmetric, (1, 1))):
        seen = net(dot)[0, :, 0, 0] - net.conv.bias
        torch.testing.assert_close(seen, net.conv.weight[:, 0, place[0], place[1]])


def test_up_is_the_convolution_of_the_enlarged_image():
    """To rounding, with every gradient, on images of several shapes."""
    for shape in ((1, 3, 1, 1), (2, 3, 4, 4), (1, 3, 2, 5), (2, 3, 7, 3)):
        ours, plain = layer(resample.Up), torch.nn.Conv2d(3, 3, 3, padding=1).double()
        plain.load_state_dict(ours.conv.state_dict())
        a, b = (image(*shape).requires_grad_() for _ in range(2))
        enlarged = b.repeat_interleave(2, 2).repeat_interleave(2, 3)
        out, expected = ours(a), plain(enlarged)
        assert out.shape == (*shape[:2], 2 * shape[2], 2 * shape[3])
        torch.testing.assert_close(out, expected, rtol=1e-12, atol=1e-13)
        direction = image(*out.shape, seed=1)
        (out * direction).sum().backward()
        (expected * direction).sum().backward()
        for ours_, theirs in ((a, b), (ours.conv.weight, plain.weight), (ours.conv.bias, plain.bias)):
            torch.testing.assert_close(ours_.grad, theirs.grad, rtol=1e-12, atol=1e-12)


def test_up_tells_its_four_pixels_apart():
    """What is above once and what is to the left ten times, in the enlarged image: another sum for each of the four."""
    net = layer(resample.Up, channels=1)
    with torch.no_grad():
        net.conv.weight.zero_()[0, 0] = torch.tensor([[0, 1, 0], [10, 0, 0], [0, 0, 0]])
        net.conv.bias.zero_()
    h = torch.arange(1.0, 10.0, dtype=torch.float64).reshape(1, 1, 3, 3)
    middle = net(h)[0, 0, 2:4, 2:4]  # the four pixels that come of the 5 in the middle of 1..9
    assert middle.tolist() == [[2 + 40, 2 + 50], [5 + 40, 5 + 50]]


def test_four_kernels_together_have_the_weight_of_one():
    """Each of the four keeps the sum over the window; 4 times 2x2 in place of 4 times 3x3 numbers."""
    w = image(5, 3, 3, 3)
    kernels = resample.four_kernels(w)
    assert kernels.shape == (20, 3, 2, 2)
    for kernel in kernels.view(4, 5, 3, 2, 2):
        torch.testing.assert_close(kernel.sum((2, 3)), w.sum((2, 3)))


def test_up_leaves_no_checkerboard():
    """Equal weights everywhere make a flat image flat, away from the border; a transposed convolution does not."""
    net = layer(resample.Up, channels=1)
    with torch.no_grad():
        net.conv.weight.fill_(1)
    flat = torch.ones(1, 1, 6, 6, dtype=torch.float64)
    assert net(flat)[..., 1:-1, 1:-1].std() < 1e-12
    board = F.conv_transpose2d(flat, torch.ones(1, 1, 3, 3, dtype=torch.float64), stride=2)
    assert board[..., 2:-2, 2:-2].std() > 0.5


def test_average_and_repeat_by_hand():
    h = torch.tensor([[1.0, 3, 0, 0], [5, 7, 0, 4]])[None, None]
    assert resample.average(h).tolist() == [[[[4, 1]]]]
    assert resample.repeat(torch.tensor([[1.0, 2]])[None, None]).tolist() == [[[[1, 1, 2, 2], [1, 1, 2, 2]]]]


def test_the_average_undoes_the_repetition():
    h = image(2, 3, 4, 6)
    torch.testing.assert_close(resample.average(resample.repeat(h)), h)
