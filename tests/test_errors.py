"""What error messages have in common: the names that a misspelling may have meant."""

from ddpm_edu.errors import did_you_mean, nearest

NAMES = ("linear", "linear_scaled", "cosine", "sigmoid", "net.T")


def test_a_misspelling_is_near_whatever_its_case():
    assert nearest("consine", NAMES) == nearest("COSINE", NAMES) == ["cosine"]
    assert nearest("linear-scaled", NAMES) == ["linear_scaled", "linear"], "the nearest first"
    assert nearest("net.t", NAMES) == nearest("Net.T", NAMES) == ["net.T"]
    assert len(nearest("step", [f"step{n}" for n in range(9)])) == 2, "no more than two"


def test_what_is_far_is_not_named():
    for given in ("warp", "", 3, [1, 2]):
        assert nearest(given, NAMES) == []


def test_the_words():
    assert did_you_mean(["a"]) == " Did you mean a?"
    assert did_you_mean(map(repr, ["a", "b"])) == " Did you mean 'a' or 'b'?"
    assert did_you_mean([]) == ""
