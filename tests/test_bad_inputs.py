"""What a learner gets wrong on the way in: each a clear error (or warning), never a wrong number in silence.

Every row is (call, error, what the message must say). The message tells what was given, what is allowed and the fix.
Bad images and files are in tests/data/test_bad_inputs.py.
"""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ddpm_edu import forward, schedules
from ddpm_edu.errors import DataError, DDPMError, ScheduleError, ShapeError, TimestepError

S = schedules.linear(1000)
X, NOISE, T8 = torch.zeros(8, 3, 4, 4), torch.ones(8, 3, 4, 4), torch.arange(1, 9)


def sample(x=X, t=T8, noise=None):
    return lambda: forward.q_sample(S, x, t, torch.zeros_like(x) if noise is None else noise)


ROWS = {
    "T = 0": (lambda: schedules.linear(0), ScheduleError, r"T must be an integer >= 1, got 0"),
    "T < 0": (lambda: schedules.cosine(-3), ScheduleError, r"got -3"),
    "T = 10.5": (lambda: schedules.linear(10.5), ScheduleError, r"10\.5 of type float.*int\(T\)"),
    "T = '1000'": (lambda: schedules.sigmoid("1000"), ScheduleError, r"'1000' of type str"),
    "T = True": (lambda: schedules.quadratic(True), ScheduleError, r"True of type bool"),
    "beta_end = 2": (lambda: schedules.linear(10, 1e-4, 2), ScheduleError, r"beta_end must lie in \(0, 1\], got 2"),
    "beta too big after scaling": (lambda: schedules.linear_scaled(10), ScheduleError, r"beta_T = 2.*T >= 20"),
    "beta = 0": (lambda: schedules.from_betas([0.1, 0.0, 0.2]), ScheduleError, r"beta\[2\] = 0"),
    "beta < 0": (lambda: schedules.from_betas([-0.1, 0.1]), ScheduleError, r"beta\[1\] = -0\.1"),
    "beta = 1 before the end": (lambda: schedules.from_betas([0.1, 1.0, 0.2]), ScheduleError, r"beta\[2\] = 1"),
    "betas falling": (lambda: schedules.linear(10, 0.02, 1e-4), ScheduleError, r"beta_start = 0\.02 is larger"),
    "NaN beta": (lambda: schedules.from_betas([0.1, math.nan]), ScheduleError, r"value number 2 is nan"),
    "infinite beta": (lambda: schedules.from_betas(np.array([math.inf])), ScheduleError, r"value number 1 is inf"),
    "NaN end": (lambda: schedules.linear(10, math.nan), ScheduleError, r"beta_start must be a finite number"),
    "text for an end": (lambda: schedules.linear(10, "small"), ScheduleError, r"beta_start.*'small'"),
    "no betas": (lambda: schedules.from_betas([]), ScheduleError, r"shape \(0,\)"),
    "betas in a matrix": (lambda: schedules.from_betas(torch.rand(2, 2)), ScheduleError, r"shape \(2, 2\)"),
    "betas as text": (lambda: schedules.from_betas("linear"), ScheduleError, r"got str"),
    "unknown name": (lambda: schedules.by_name("consine"), ScheduleError, r"linear.*Did you mean 'cosine'\?"),
    "cosine offset < 0": (lambda: schedules.cosine(10, -1), ScheduleError, r"s must be a number >= 0, got -1"),
    "sigmoid ends swapped": (lambda: schedules.sigmoid(10, 3, -3), ScheduleError, r"start < end"),
    "alpha_bar without its 1": (lambda: schedules.from_alpha_bar([0.9, 0.5]), ScheduleError, r"alpha_bar_0 = 1"),
    "alpha_bar rising": (lambda: schedules.from_alpha_bar([1, 0.5, 0.6]), ScheduleError, r"alpha_bar\[2\] = 0\.6"),
    "alpha_bar < 0": (lambda: schedules.from_alpha_bar([1, 0.5, -0.1]), ScheduleError, r"alpha_bar\[2\] = -0\.1"),
    "respacing out of range": (lambda: schedules.respace(S, [1, 1001]), ScheduleError, r"1\.\.1000"),
    "respacing from 0": (lambda: schedules.respace(S, [0, 10]), ScheduleError, r"0-based"),
    "respacing downwards": (lambda: schedules.respace(S, [1000, 1]), ScheduleError, r"strictly increasing"),
    "respacing to nothing": (lambda: schedules.respace(S, []), ScheduleError, r"strictly increasing"),
    "respacing to halves": (lambda: schedules.respace(S, [1.5, 2.5]), ScheduleError, r"integers"),
    "one step to zero SNR": (
        lambda: schedules.zero_terminal_snr(schedules.from_betas([0.9999])),
        ScheduleError,
        r"needs T >= 2",
    ),
    # the forward process
    "uint8 images": (
        sample(X.to(torch.uint8), noise=NOISE),
        DataError,
        r"x0 is uint8.*raw pixels.*to_model_range\(x0\)",
    ),
    "integer noise": (sample(noise=NOISE.long()), DataError, r"noise is int64"),
    "empty batch": (sample(X[:0], T8[:0]), ShapeError, r"empty batch, shape \(0, 3, 4, 4\)"),
    "a bare number": (sample(torch.tensor(1.0), T8[:1]), ShapeError, r"shape \(\)"),
    "a NumPy array": (sample(X, noise=NOISE.numpy()), ShapeError, r"noise must be a torch tensor, got ndarray"),
    "channels last": (sample(torch.zeros(8, 16, 16, 3)), ShapeError, r"channels-last.*permute\(0, 3, 1, 2\)"),
    "one image, no batch": (sample(torch.zeros(3, 16, 16), T8), TimestepError, r"shape \(3,\).*got \(8,\)"),
    "float64 beside float32": (sample(X.double(), noise=NOISE), ShapeError, r"float32.*float64.*\.float\(\)"),
    "t of one for eight": (sample(t=T8[:1]), TimestepError, r"shape \(8,\).*got \(1,\)"),
    "t 0-d": (sample(t=torch.tensor(5)), TimestepError, r"got \(\)"),
    "t a Python number": (sample(t=5), TimestepError, r"got int 5.*torch\.full\(\(8,\), t\)"),
    "t a list": (sample(t=[5] * 8), TimestepError, r"got list"),
    "t a column": (sample(t=T8[:, None]), TimestepError, r"got \(8, 1\).*flatten"),
    "t too short": (sample(t=T8[:3]), TimestepError, r"shape \(8,\).*got \(3,\)"),
    "t = 0": (sample(t=T8 - 1), TimestepError, r"1\.\.1000, got 0"),
    "t = -1": (sample(t=T8 - 2), TimestepError, r"got -1.*counted from 0"),
    "t = T + 1": (sample(t=T8 + 993), TimestepError, r"got 1001"),
    "t float": (sample(t=T8.float()), TimestepError, r"int64, got torch\.float32.*t\.long\(\)"),
    "t int32": (sample(t=T8.int()), TimestepError, r"int64, got torch\.int32"),
    "noise of one channel": (sample(noise=NOISE[:, :1]), ShapeError, r"\(8, 1, 4, 4\).*\(8, 3, 4, 4\).*randn_like"),
    "noise of one sample": (sample(noise=NOISE[:1]), ShapeError, r"\(1, 3, 4, 4\)"),
    "noise without batch": (sample(noise=NOISE[0]), ShapeError, r"noise has shape \(3, 4, 4\)"),
    "one image, eight times": (sample(X[:1], T8), TimestepError, r"shape \(1,\).*got \(8,\)"),
    "variance 0": (lambda: forward.squared_correlation(S, 0.0), DataError, r"variance must be > 0, got 0"),
    "variance NaN": (lambda: forward.squared_correlation(S, math.nan), DataError, r"got nan"),
}


@pytest.mark.filterwarnings("ignore::ddpm_edu.errors.ScheduleWarning")
@pytest.mark.parametrize("row", ROWS)
def test_a_clear_error(row):
    call, error, message = ROWS[row]
    with pytest.raises(error, match=f"(?s){message}") as raised:
        call()
    text = str(raised.value)
    assert text.endswith((".", "?", ")")) and len(text) > 60, text


def test_float64_images_are_legal():
    assert forward.q_sample(S, X.double(), T8, NOISE.double()).dtype == torch.float64


def test_nothing_is_normalised_in_secret():
    """At t = 1 an image is all but unchanged: whoever scales it must have done so before."""
    x = torch.linspace(-1, 1, 48).reshape(1, 3, 4, 4)
    torch.testing.assert_close(forward.q_sample(S, x, T8[:1], torch.zeros_like(x)), x, atol=1e-4, rtol=0)


def bent(shape, axis, how):
    """The shape with one axis dropped, added, set to 1, or changed by one."""
    return {
        "drop": (*shape[:axis], *shape[axis + 1 :]),
        "add": (*shape[:axis], 1, *shape[axis:]),
        "one": (*shape[:axis], 1, *shape[axis + 1 :]),
        "more": (*shape[:axis], shape[axis] + 1, *shape[axis + 1 :]),
    }[how]


CALLS = {
    "q_step": lambda a, t, b: forward.q_step(S, a, t, b),
    "q_sample": lambda a, t, b: forward.q_sample(S, a, t, b),
    "q_posterior": lambda a, t, b: forward.q_posterior(S, a, b, t),
}


@given(
    st.sampled_from(sorted(CALLS)),
    st.lists(st.integers(2, 4), min_size=1, max_size=4),
    st.sampled_from(["a", "t", "b"]),
    st.integers(0, 3),
    st.sampled_from(["drop", "add", "one", "more"]),
)
def test_nothing_broadcasts_in_silence(name, shape, argument, axis, how):
    """One axis of one argument bent, everything else right: refused, whatever the function."""
    shapes = {"a": tuple(shape), "t": (shape[0],), "b": tuple(shape)}
    right = {k: torch.ones(v, dtype=torch.int64 if k == "t" else torch.float32) for k, v in shapes.items()}
    CALLS[name](**right)  # the call as it should be is accepted
    old = shapes[argument]
    wrong = bent(old, axis % len(old), how)
    right[argument] = torch.ones(wrong, dtype=right[argument].dtype)
    with pytest.raises(DDPMError):
        CALLS[name](**right)
