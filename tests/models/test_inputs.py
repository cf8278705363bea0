"""What a learner gives a U-Net by mistake: each a clear error, never a wrong number in silence."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ddpm_edu.errors import ConfigError, DDPMError, ShapeError, TimestepError
from tests.models.helpers import config, inputs, small

X, T4 = torch.zeros(4, 3, 8, 8), torch.arange(1, 5)
GREY = X[:, :1]
LABELS = torch.arange(4)
COLOUR, TOLD, READS, GOES_BY = (
    small(channels=3),
    small(channels=3, classes=3),
    small(channels=3, tokens=5),
    small(channels=3, extra_channels=1),
)
PATCHED, DEEP, GREY_NET = small(channels=3, patch=2), small(channels=3, multipliers=(1, 1, 1, 1)), small()


def ask(x=X, t=T4, net=COLOUR, **condition):
    return lambda: net(x, t, **condition)


ROWS = {
    # the image
    "grey for colour": (ask(GREY), ShapeError, r"\(N, 3, height, width\), got \(4, 1, 8, 8\).*grey.*channels=1"),
    "colour for grey": (ask(net=GREY_NET), ShapeError, r"\(N, 1, .*got \(4, 3, 8, 8\).*in colour.*channels=3"),
    "five channels": (ask(torch.zeros(4, 5, 8, 8)), ShapeError, r"got \(4, 5, 8, 8\).*other data.*channels=5"),
    "channels last": (ask(torch.zeros(4, 8, 8, 3)), ShapeError, r"got \(4, 8, 8, 3\).*channels-last.*permute\(0, 3"),
    "one image, no batch": (ask(X[0], T4[:1]), ShapeError, r"shape \(3, 8, 8\): an image without a batch.*x\[None\]"),
    "one grey image, no batch": (ask(GREY[0], T4[:1], GREY_NET), ShapeError, r"\(1, 8, 8\).*x\[None\]"),
    "grey images without their channel": (ask(GREY[:, 0], T4, GREY_NET), ShapeError, r"\(4, 8, 8\).*x\[:, None\]"),
    "one image, channels last": (ask(torch.zeros(8, 8, 3)), ShapeError, r"got \(8, 8, 3\).*without an axis"),
    "a flat row": (ask(torch.zeros(4, 192)), ShapeError, r"got \(4, 192\)"),
    "uint8": (ask(X.to(torch.uint8)), ShapeError, r"floats in \[-1, 1\], got torch\.uint8.*to_model_range"),
    "int64": (ask(X.long()), ShapeError, r"got torch\.int64"),
    "a NumPy array": (ask(X.numpy()), ShapeError, r"x_t must be a torch tensor, got ndarray"),
    "an empty batch": (ask(X[:0], T4[:0]), ShapeError, r"empty batch, shape \(0, 3, 8, 8\)"),
    "height 15 of four levels": (
        ask(torch.zeros(4, 3, 15, 16), net=DEEP),
        ShapeError,
        r"height 15 is not a multiple of 8, and 4 levels.*nearest: 8 or 16",
    ),
    "width 20 of four levels": (
        ask(torch.zeros(4, 3, 16, 20), net=DEEP),
        ShapeError,
        r"width 20 is not a multiple of 8.*nearest: 16 or 24",
    ),
    "smaller than one multiple": (ask(torch.zeros(4, 3, 4, 8), net=DEEP), ShapeError, r"height 4.*nearest: 8\. "),
    "patches count too": (
        ask(torch.zeros(4, 3, 6, 8), net=PATCHED),
        ShapeError,
        r"height 6 is not a multiple of 4, and 2 levels behind 2x2 patches.*4 or 8",
    ),
    "no pixels": (ask(torch.zeros(4, 3, 0, 8)), ShapeError, r"height 0"),
    # the time
    "t of one for four": (ask(t=T4[:1]), TimestepError, r"shape \(4,\), one time an image, got \(1,\)"),
    "t 0-d": (ask(t=torch.tensor(5)), TimestepError, r"shape \(4,\).*got \(\)"),
    "t a Python number": (ask(t=5), TimestepError, r"shape \(4,\).*got 5\. Fix: torch\.full"),
    "t a list": (ask(t=[1, 2, 3, 4]), TimestepError, r"got \[1, 2, 3, 4\]"),
    "t a NumPy array": (ask(t=np.arange(4)), TimestepError, r"shape \(4,\)"),
    "t a column": (ask(t=T4[:, None]), TimestepError, r"got \(4, 1\)"),
    "t too short": (ask(t=T4[:3]), TimestepError, r"shape \(4,\).*got \(3,\)"),
    "one image, four times": (ask(X[:1]), TimestepError, r"shape \(1,\).*got \(4,\)"),
    "t float": (ask(t=T4.float()), TimestepError, r"must be int64.*got torch\.float32.*t\.long\(\)"),
    "t int32": (ask(t=T4.int()), TimestepError, r"got torch\.int32"),
    "t bool": (ask(t=T4 > 2), TimestepError, r"got torch\.bool"),
    "t = -1": (ask(t=T4 - 2), TimestepError, r"up to T = 1000, got t = -1\."),
    "t = -7": (ask(t=torch.tensor([1, -7, 3, 4])), TimestepError, r"got t = -7"),
    "t = T + 1": (ask(t=T4 + 997), TimestepError, r"up to T = 1000, got t = 1001\. .*more steps"),
    "t = 5000": (ask(t=torch.tensor([1, 2, 5000, 4])), TimestepError, r"got t = 5000"),
    # the label
    "no labels": (ask(net=TOLD), ConfigError, r"made for 3 classes, and no labels.*or 3 \(net\.no_label\)"),
    "labels for a network without": (ask(labels=LABELS), ConfigError, r"knows no classes"),
    "label too large": (ask(net=TOLD, labels=LABELS + 1), ConfigError, r"in 0\.\.2 \(3: no label\), got 4\. .*from 1"),
    "label -1": (ask(net=TOLD, labels=LABELS - 1), ConfigError, r"got -1"),
    "one label for four": (ask(net=TOLD, labels=LABELS[:1]), ShapeError, r"shape \(4,\).*got torch\.int64 \(1,\)"),
    "label a Python number": (ask(net=TOLD, labels=2), ShapeError, r"shape \(4,\).*got 2\. .*torch\.full"),
    "labels a list": (ask(net=TOLD, labels=[0, 1, 2, 3]), ShapeError, r"shape \(4,\).*got \[0, 1, 2, 3\]"),
    "labels 0-d": (ask(net=TOLD, labels=LABELS[0]), ShapeError, r"got torch\.int64 \(\)"),
    "labels one-hot": (ask(net=TOLD, labels=torch.eye(4).long()), ShapeError, r"got torch\.int64 \(4, 4\)"),
    "labels float": (ask(net=TOLD, labels=LABELS.float()), ShapeError, r"got torch\.float32 \(4,\).*labels\.long\(\)"),
    # what else a network may read
    "no tokens": (ask(net=READS), ConfigError, r"has tokens=5, and was called without tokens"),
    "tokens for a network without": (
        ask(tokens=torch.zeros(4, 2, 5)),
        ConfigError,
        r"has tokens=None, and was called with tokens",
    ),
    "one text for four": (
        ask(net=READS, tokens=torch.zeros(1, 2, 5)),
        ShapeError,
        r"shape \(4, tokens, 5\), got \(1, 2, 5\).*expand",
    ),
    "tokens of another width": (ask(net=READS, tokens=torch.zeros(4, 2, 6)), ShapeError, r"got \(4, 2, 6\)"),
    "tokens without their axis": (ask(net=READS, tokens=torch.zeros(4, 5)), ShapeError, r"got \(4, 5\)"),
    "no picture to go by": (ask(net=GOES_BY), ShapeError, r"extra of shape \(4, 1, 8, 8\), got None"),
    "a picture of half the size": (
        ask(net=GOES_BY, extra=torch.zeros(4, 1, 4, 4)),
        ShapeError,
        r"got \(4, 1, 4, 4\).*brought to the size",
    ),
    "one picture for four": (ask(net=GOES_BY, extra=GREY[:1]), ShapeError, r"got \(1, 1, 8, 8\)"),
    "a picture for a network without": (ask(extra=GREY), ShapeError, r"extra of shape \(4, 0, 8, 8\), got \(4, 1"),
}


def refuses(row):
    call, error, message = ROWS[row]
    with pytest.raises(error, match=f"(?s){message}") as raised:
        call()
    assert isinstance(raised.value, DDPMError)
    assert len(str(raised.value)) > 50


@pytest.mark.parametrize("row", ROWS)
def test_a_clear_error(row):
    refuses(row)


def test_no_time_is_shared_cut_or_wrapped_in_silence():
    for row in (row for row in ROWS if row.startswith("t ")):
        refuses(row)


def test_no_label_is_shared_or_left_out_in_silence():
    for row in (row for row in ROWS if "label" in row):
        refuses(row)


def test_no_image_is_taken_in_another_layout_or_type():
    for row in ("channels last", "grey for colour", "one image, no batch", "uint8", "a NumPy array", "an empty batch"):
        refuses(row)


def test_sizes_are_looked_at_before_the_levels_fail():
    for row in ("height 15 of four levels", "width 20 of four levels", "patches count too"):
        refuses(row)


def test_the_fixes_that_the_messages_name_work():
    """Negative control: the right call is accepted, so it is the mistake that was refused."""
    assert COLOUR(X, T4).shape == X.shape
    assert COLOUR(torch.zeros(4, 8, 8, 3).permute(0, 3, 1, 2), T4).shape == X.shape
    assert COLOUR(X[0][None], T4[:1]).shape == (1, 3, 8, 8)
    assert GREY_NET(GREY[:, 0][:, None], T4).shape == GREY.shape
    assert COLOUR(X, torch.full((4,), 5)).shape == X.shape
    assert TOLD(X, T4, torch.full((4,), TOLD.no_label)).shape == X.shape
    assert READS(X, T4, tokens=torch.zeros(1, 2, 5).expand(4, -1, -1)).shape == X.shape
    assert GOES_BY(X, T4, extra=GREY).shape == X.shape
    assert DEEP(torch.zeros(4, 3, 8, 24), T4).shape == (4, 3, 8, 24)


def test_the_ends_of_the_chain_are_legal():
    """0 because weights of DDPM's code count from 0; T because ours count to T."""
    assert COLOUR(X[:2], torch.tensor([0, 1000])).shape == (2, 3, 8, 8)
    short = small(T=10)
    assert short(GREY[:2], torch.tensor([0, 10])).shape == (2, 1, 8, 8)
    with pytest.raises(TimestepError, match="T = 10, got t = 11"):
        short(GREY[:2], torch.tensor([0, 11]))


@given(st.integers(1, 40), st.integers(1, 40), st.sampled_from([1, 2]), st.integers(1, 3))
def test_the_sizes_that_a_message_names_are_right(height, width, patch, levels):
    """Every size is either taken, or refused with the two multiples next to it."""
    from ddpm_edu.models.inputs import check_image

    c = config(patch=patch, multipliers=(1,) * levels, attention=())
    step = patch * 2 ** (levels - 1)
    x = torch.empty(1, 1, height, width, device="meta")
    if height % step == 0 and width % step == 0:
        check_image(c, x)
        return
    name, size = ("height", height) if height % step else ("width", width)
    near = [k * step for k in (size // step, size // step + 1) if k]
    with pytest.raises(
        ShapeError, match=f"{name} {size} .*multiple of {step}.*nearest: {' or '.join(map(str, near))}\\."
    ):
        check_image(c, x)


BENT = {
    "x_bchw": [lambda x: x[:1], lambda x: x[0], lambda x: x[:, None], lambda x: x[:, :, None]],
    "t": [lambda t: t[:1], lambda t: t[0], lambda t: t[:, None], lambda t: t.repeat(2)],
    "labels": [lambda y: y[:1], lambda y: y[0], lambda y: y[:, None], lambda y: y.repeat(2)],
    "tokens": [lambda z: z[:1], lambda z: z[0], lambda z: z[:, 0], lambda z: z[:, None]],
    "extra": [lambda e: e[:1], lambda e: e[0], lambda e: e[:, 0], lambda e: e[:, None], lambda e: e[:, :, :1, :1]],
}


def accepts(net, given):
    try:
        net(**given)
    except DDPMError:
        return False
    return True


def test_nothing_broadcasts_in_silence():
    """One axis of one argument bent, everything else right: refused, whatever the argument."""
    net = small(classes=3, tokens=5, extra_channels=1)
    right = inputs(net.config, n=3)
    assert accepts(net, right)
    for name, ways in BENT.items():
        for i, bend in enumerate(ways):
            assert not accepts(net, {**right, name: bend(right[name])}), (name, i)
