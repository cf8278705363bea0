"""What a learner gets wrong about parameterisations, losses, the bound and the oracles: each a clear error.

Every row is (call, error, what the message must say), as in test_bad_inputs.py.
"""

import functools
import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ddpm_edu import closed_form, elbo, losses, oracles, reverse, schedules
from ddpm_edu import parameterization as P
from ddpm_edu.errors import ConfigError, DataError, DDPMError, ScheduleError, ShapeError, TimestepError
from tests.test_bad_inputs import bent

S = schedules.linear(1000)
X, T8 = torch.zeros(8, 3, 4, 4), torch.arange(1, 9)
GAUSSIAN = oracles.Gaussian(0.0, 1.0).denoiser(S)
ONE = torch.ones(1)


def bound(denoise=GAUSSIAN, x0=X, decoder=elbo.density, **options):
    return lambda: elbo.variational_bound(denoise, S, x0, decoder=decoder, **options)


def simple(net=lambda x, t: x, x0=X, t=T8, noise=X, **options):
    return lambda: losses.simple(net, S, x0, t, noise, **options)


def lambda_denoiser(x0, eps=None):
    return lambda x, t: P.Denoised(x0, x if eps is None else eps)


def late(t):
    return torch.tensor([t])


ROWS = {
    # parameterisations
    "prediction type of another library": (
        lambda: P.denoiser(lambda x, t: x, S, "epsilon"),
        ConfigError,
        r"eps, x0, v, score; got 'epsilon'",
    ),
    "prediction type misspelt": (simple(predicts="vv"), ConfigError, r"got 'vv'"),
    "first_t = 2": (lambda: P.denoiser(lambda x, t: x, S, "eps", first_t=2), ConfigError, r"0 or 1.*got 2"),
    "twice the channels": (
        lambda: P.denoiser(lambda x, t: torch.cat([x, x], 1), S, "v")(X, T8),
        ShapeError,
        r"\(8, 6, 4, 4\) for x_t of \(8, 3, 4, 4\).*learned variance",
    ),
    "one channel of eps": (lambda: P.x0_from_eps(S, X, T8, X[:, :1]), ShapeError, r"eps has shape \(8, 1, 4, 4\)"),
    "t = 0 for a conversion": (lambda: P.eps_from_x0(S, X, T8 - 1, X), TimestepError, r"1\.\.1000, got 0"),
    "eps at zero SNR": (
        lambda: P.x0_from_eps(schedules.zero_terminal_snr(S), X[:1], late(1000), X[:1]),
        TimestepError,
        r"t = 1000, where alpha_bar is 0.*predict v or x0",
    ),
    "a denoiser of another T": (
        lambda: P.check_schedule(GAUSSIAN, schedules.cosine(400)),
        ScheduleError,
        r"linear, T=1000.*cosine, T=400",
    ),
    # steps back
    "variance misspelt": (bound(variance="fixd"), ConfigError, r"beta, posterior, optimal, learned.*'fixd'"),
    "variance a list": (bound(variance=[0.1] * 1001), ConfigError, r"or a table, got \[0\.1"),
    "variance table without entry 0": (bound(variance=S.beta[1:]), ShapeError, r"\(1001,\).*got \(1000,\)"),
    "variance table that is 0 at t = 1": (
        bound(variance=S.posterior_variance),
        ConfigError,
        r"> 0, got 0 at t = 1.*variance=\"posterior\"",
    ),
    "variance table of NaN": (bound(variance=S.beta * math.nan), ConfigError, r"> 0, got nan"),
    "optimal without an error": (
        bound(oracles.FiniteDataset(X).denoiser(S), variance="optimal"),
        ConfigError,
        r"eps_mse.*reverse\.Optimal",
    ),
    "learned without a fraction": (bound(variance="learned"), ConfigError, r"variance_fraction"),
    "error table of another T": (lambda: reverse.optimal(S, torch.ones(401)), ShapeError, r"\(1001,\).*got \(401,\)"),
    "a pair the wrong way": (lambda: reverse.pair_beta(S, late(3), late(5)), TimestepError, r"s < t <= 1000"),
    "a pair past the end": (lambda: reverse.pair_beta(S, late(1001), late(5)), TimestepError, r"t = \[1001\]"),
    "a negative time with a table": (
        lambda: reverse.pair_variance(S, late(-1), late(-2), S.beta),
        TimestepError,
        r"t = \[-1\]",
    ),
    "the bound's width at t = 0": (lambda: reverse.bound_variance(S, late(0), "beta"), TimestepError, r"t = \[0\]"),
    "one earlier time for all": (lambda: reverse.pair_beta(S, T8 + 1, late(1)), TimestepError, r"two int64 tensors"),
    "fractions of another batch": (
        lambda: reverse.bound_variance(S, T8, "learned", torch.ones(1, 3)),
        ShapeError,
        r"variance_fraction has shape \(1, 3\) for 8 times",
    ),
    # the bound
    "a network for a denoiser": (
        bound(lambda x, t: x),
        ConfigError,
        r"Denoised\(x0, eps\).*returned Tensor.*parameterization\.denoiser",
    ),
    "a denoiser of another shape": (bound(lambda_denoiser(X[:, :1])), ShapeError, r"\(8, 1, 4, 4\)"),
    "a decoder not made": (bound(decoder=elbo.discretized), ConfigError, r"discretized\(levels\).*got <function"),
    "a decoder by name": (bound(decoder="density"), ConfigError, r"got 'density'"),
    "levels 1": (lambda: elbo.discretized(1), ConfigError, r"integer >= 2, got 1"),
    "levels 256.0": (lambda: elbo.density_of(256.0), ConfigError, r"got 256\.0"),
    "levels True": (lambda: elbo.discretized(True), ConfigError, r"got True"),
    "digits as photographs": (
        bound(x0=torch.full((1, 1, 8, 8), -0.875), decoder=elbo.discretized(256)),
        DataError,
        r"256 grey levels.*17",
    ),
    "raw pixels": (bound(x0=X.to(torch.uint8)), DataError, r"uint8.*raw pixels"),
    "pixels 0..16 as floats": (bound(x0=16 * ONE[None], decoder=elbo.discretized(17)), DataError, r"17 grey levels"),
    "noise of one sample": (bound(noise=X[:1]), ShapeError, r"noise has shape \(1, 3, 4, 4\)"),
    "nobody's samples": (bound(x0=X[:0]), ShapeError, r"empty batch"),
    "bits of a density": (lambda: bound(x0=X[:1, :1, :1, :1])().bits_per_dim, ConfigError, r"unit.*density_of"),
    "a guess of one channel": (
        lambda: elbo.denoising_term(S, X, X[:, :1], T8, S.beta[T8]),
        ShapeError,
        r"x0_hat has shape \(8, 1, 4, 4\)",
    ),
    "a table for its values": (
        lambda: elbo.denoising_term(S, X, X, T8, S.beta),
        ShapeError,
        r"\(8,\), one a sample.*got \(1001,\)",
    ),
    # losses
    "prediction of one channel": (simple(lambda x, t: x[:, :1]), ShapeError, r"\(8, 1, 4, 4\).*\(8, 3, 4, 4\)"),
    "weight counted from t = 1": (simple(weight=torch.ones(1000)), ShapeError, r"\(1001,\).*got \(1000,\)"),
    "weight in a column": (simple(weight=torch.ones(1001, 1)), ShapeError, r"got \(1001, 1\)"),
    "gamma = 0": (lambda: losses.min_snr(0), ConfigError, r"gamma must be a number > 0, got 0"),
    "gamma NaN": (lambda: losses.min_snr(math.nan), ConfigError, r"got nan"),
    "k < 0": (lambda: losses.p2(k=-1), ConfigError, r"k must be a number > 0, got -1"),
    "sigma_data as text": (lambda: losses.edm("0.5"), ConfigError, r"sigma_data.*'0\.5'"),
    "weight of another library": (lambda: losses.uniform(S, "v_prediction"), ConfigError, r"eps, x0, v; got 'v_pred"),
    "bound's weight, unknown variance": (lambda: losses.vlb(S, "eps", "fixed_small"), ConfigError, r"'fixed_small'"),
    "bound's weight on eps at zero SNR": (
        lambda: losses.vlb(schedules.zero_terminal_snr(S), "eps"),
        ConfigError,
        r"vlb is infinite at t = 1000.*predict v or x0",
    ),
    "quartiles of t = 0": (lambda: losses.by_quartile(S, T8 - 1, torch.ones(8)), TimestepError, r"got 0"),
    "quartiles of unreduced losses": (lambda: losses.by_quartile(S, T8, X), ShapeError, r"shape \(N,\)"),
    "quartiles of fewer losses": (lambda: losses.by_quartile(S, T8, torch.ones(3)), TimestepError, r"\(3,\)"),
    # oracles and closed forms
    "std 0": (lambda: oracles.Gaussian(0.0, 0.0), DataError, r"std must be > 0, got 0.*FiniteDataset"),
    "std of one dimension 0": (lambda: oracles.Gaussian(0.0, torch.tensor([1.0, 0.0])), DataError, r"got 0"),
    "a mean of another size": (
        lambda: oracles.Gaussian(torch.zeros(5)).score(S, torch.zeros(8, 1), T8),
        ShapeError,
        r"shape \(1,\).*shape \(5,\)",
    ),
    "weights that do not add up": (
        lambda: oracles.Mixture(torch.tensor([0.5, 0.4]), torch.zeros(2, 1), torch.ones(2)),
        DataError,
        r"add up to 0\.9.*weights / weights\.sum\(\)",
    ),
    "a weight of 0": (
        lambda: oracles.Mixture(torch.tensor([1.0, 0.0]), torch.zeros(2, 1), torch.ones(2)),
        DataError,
        r"weights must be > 0",
    ),
    "one std for two means": (
        lambda: oracles.Mixture(torch.tensor([0.5, 0.5]), torch.zeros(2, 1), ONE),
        ShapeError,
        r"2 means.*\(1,\)",
    ),
    "a mixture in another dimension": (
        lambda: oracles.Mixture(ONE, torch.zeros(1, 3), ONE).log_density(S, torch.zeros(8, 1), T8),
        ShapeError,
        r"shape \(1,\).*3 numbers",
    ),
    "a covariance that is none": (
        lambda: oracles.FullGaussian(torch.zeros(2), torch.tensor([[1.0, 2.0], [2.0, 1.0]])),
        DataError,
        r"negative eigenvalue -1",
    ),
    "a covariance of another size": (
        lambda: oracles.FullGaussian(torch.zeros(3), torch.eye(2)),
        ShapeError,
        r"\(3,\) and \(2, 2\)",
    ),
    "an empty data set": (lambda: oracles.FiniteDataset(torch.zeros(0, 2)), ShapeError, r"n >= 1.*got \(0, 2\)"),
    "a chain of std 0": (lambda: closed_form.gaussian(S, 0.3, 0.0), DataError, r"std one > 0.*0\.3 and 0\.0"),
    "a chain of mean NaN": (lambda: closed_form.gaussian(S, math.nan, 1.0), DataError, r"got nan"),
    "a chain with learned variance": (lambda: closed_form.gaussian(S, 0.3, 0.5, "learned"), ConfigError, r"fraction"),
}


@pytest.mark.parametrize("row", ROWS)
def test_a_clear_error(row):
    call, error, message = ROWS[row]
    with pytest.raises(error, match=f"(?s){message}") as raised:
        call()
    text = str(raised.value)
    assert text.endswith((".", "?", ")")) and len(text) > 60, text


FULL = torch.ones(2, 2)
CALLS = {
    "x0_from_eps": lambda a, t, b: P.x0_from_eps(S, a, t, b),
    "eps_from_x0": lambda a, t, b: P.eps_from_x0(S, a, t, b),
    "x0_from_v": lambda a, t, b: P.x0_from_v(S, a, t, b),
    "eps_from_v": lambda a, t, b: P.eps_from_v(S, a, t, b),
    "v_from": lambda a, t, b: P.v_from(S, a, t, b),
    "score_from_eps": lambda a, t, b: (P.score_from_eps(S, t, a), losses.mse(a, b)),
    "eps_from_score": lambda a, t, b: (P.eps_from_score(S, t, a), losses.mse(a, b)),
    "pair_mean": lambda a, t, b: reverse.pair_mean(S, a, b, t, t - 1),
    "denoising_term": lambda a, t, b: elbo.denoising_term(S, a, b, t, S.beta[t]),
    "learned denoising_term": lambda a, t, b: elbo.denoising_term(S, a, a, t, b),
    "vlb_term": lambda a, t, b: losses.vlb_term(a, torch.full_like(a, 0.5), S, b, t, elbo.density),
    "hybrid": lambda a, t, b: losses.hybrid(a, torch.full_like(a, 0.5), S, b, b, t, b, elbo.density),
    "simple": lambda a, t, b: losses.simple(lambda x, t: x, S, a, t, b),
    "prediction": lambda a, t, b: losses.simple(lambda x, t: b, S, a, t, a),
    "clipped": lambda a, t, b: P.clipped(S, a, t, P.Denoised(b, a), P.static_clip),
}


def refused(call):
    try:
        call()
    except DDPMError:
        return True
    return False


BENDS = ("drop", "add", "one", "more")


@settings(max_examples=12, deadline=None)
@given(st.lists(st.integers(2, 4), min_size=2, max_size=4))
def test_nothing_broadcasts_in_silence(shape):
    """One axis of one argument bent, everything else right: refused, whatever the function, argument and axis."""
    shapes = {"a": tuple(shape), "t": (shape[0],), "b": tuple(shape)}
    for name, call in CALLS.items():
        right = {k: torch.ones(v, dtype=torch.int64 if k == "t" else torch.float32) for k, v in shapes.items()}
        call(**right)  # the call as it should be is accepted
        for argument, old in shapes.items():
            for axis, how in itertools.product(range(len(old)), BENDS):
                wrong = bent(old, axis, how)
                if name == "learned denoising_term" and wrong == (shape[0],):
                    continue  # one variance a sample is as good
                bad = right | {argument: torch.ones(wrong, dtype=right[argument].dtype)}
                assert refused(functools.partial(call, **bad)), f"{name} takes {argument} of shape {wrong} for {old}"


KNOWING = {
    "Gaussian": lambda shape: oracles.Gaussian(torch.zeros(shape), 0.5),
    "Mixture": lambda shape: oracles.Mixture(torch.tensor([0.5, 0.5]), torch.zeros(2, *shape), torch.ones(2)),
    "FiniteDataset": lambda shape: oracles.FiniteDataset(torch.zeros(3, *shape)),
}


@settings(max_examples=12, deadline=None)
@given(st.lists(st.integers(2, 4), min_size=1, max_size=3))
def test_oracles_do_not_broadcast(shape):
    right = {"x": torch.zeros(5, *shape, dtype=torch.float64), "t": torch.ones(5, dtype=torch.int64)}
    for name, method in itertools.product(KNOWING, ("score", "posterior_mean", "denoiser")):
        oracle = KNOWING[name](shape)
        ask = oracle.denoiser(S) if method == "denoiser" else functools.partial(getattr(oracle, method), S)
        ask(*right.values())
        for argument, old in right.items():
            for axis, how in itertools.product(range(old.ndim), ("drop", "one", "more")):
                wrong = torch.ones(bent(tuple(old.shape), axis, how), dtype=old.dtype)
                bad = (right | {argument: wrong}).values()
                assert refused(functools.partial(ask, *bad)), f"{name}.{method} takes {argument} {tuple(wrong.shape)}"
