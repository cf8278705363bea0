"""The benchmarks' own arithmetic, and that docs/benchmarks.md is what the results say. No time is measured here."""

import importlib.util
import itertools
import json
import math
import shutil
import subprocess
import sys
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import torch

from benchmarks import cost, gaussian, in_browser, operations, run, sampling_step, tables
from ddpm_edu import closed_form, oracles, sampling, schedules, widgets
from tests.mutants import Mutant

RESULTS = tables.RESULTS
LINEAR, COSINE = gaussian.SCHEDULES["linear"], gaussian.SCHEDULES["cosine"]
HUGGING_FACE = {sampler: theirs for sampler, (_, theirs) in gaussian.FAMILIES.items()}


def lands(schedule, steps, method, **options):
    return gaussian.landing(gaussian.ours(schedule, steps, method, **options))


# ---------------------------------------------------------------- samplers on a Gaussian


def test_all_of_ddpm_lands_where_the_closed_form_says():
    """But for the last step, where the closed form adds the noise that a sampler leaves out."""
    s = schedules.cosine(100)
    for variance, last in (("beta", s.beta[1]), ("posterior", s.posterior_variance[2])):
        with mock.patch.dict(gaussian.SCHEDULES, short=s):
            landing = lands("short", 100, "ddpm", variance=variance)
        mean, square = closed_form.gaussian(s, 0.3, 0.5, variance).marginal()
        assert landing.mean == pytest.approx(mean, abs=1e-9)
        assert landing.std == pytest.approx((square - last.item()) ** 0.5, abs=1e-9)


def test_ddim_lands_on_the_golden_spread():
    """Worked out elsewhere: std of DDIM on cosine-1000, data N(mean, 0.5^2)."""
    for steps, std in {5: 0.361826, 10: 0.426826, 20: 0.462110, 50: 0.484450, 100: 0.492130}.items():
        landing = lands("cosine", steps, "ddim")
        assert landing.std == pytest.approx(std, abs=6e-7) and landing.mean == pytest.approx(0.3, abs=1e-4)


def test_the_landing_is_what_many_samples_show():
    """By counting, with draws that the fit has not seen; 5 standard errors allowed."""
    n, landing = 200_000, lands("linear", 10, "ddpm")
    x = sampling.sample(
        oracles.Gaussian(0.3, 0.5).denoiser(LINEAR), LINEAR, (n, 1), "ddpm", 10,
        generator=torch.Generator().manual_seed(5), dtype=torch.float64,
    )  # fmt: skip
    assert abs(x.mean().item() - landing.mean) < 5 * landing.std / n**0.5
    assert abs(x.std().item() - landing.std) < 5 * landing.std / (2 * n) ** 0.5
    assert abs(x.std().item() - 0.5) > 5 * landing.std / (2 * n) ** 0.5, "and this is not the data's"


def test_what_is_not_affine_leaves_a_residual():
    walk = gaussian.ours("linear", 10, "ddpm")
    assert gaussian.landing(walk).residual < 1e-12
    assert gaussian.landing(walk._replace(x0=walk.x0.clamp(-1, 1))).residual > 0.01
    assert gaussian.landing(walk._replace(drawn=walk.drawn._replace(z=walk.drawn.z.flip(0)))).residual > 0.1


def test_the_exact_noise_is_the_oracles_and_between_times_that_of_sigma_between():
    x = torch.linspace(-3, 3, 7, dtype=torch.float64)[:, None]
    for s in (LINEAR, COSINE):
        for t in (1, 500, 999, 1000):
            want = oracles.Gaussian(0.3, 0.5).denoiser(s)(x, torch.full((7,), t)).eps
            assert torch.allclose(gaussian.exact_eps(s, x, float(t)), want, atol=1e-12)
        sigma = np.interp(249.75, np.arange(1001), np.sqrt(1 / s.alpha_bar.numpy() - 1))
        score = -(x * math.hypot(1, sigma) - 0.3) / (0.25 + sigma**2)  # of x_0 + sigma eps, in the open
        assert torch.allclose(gaussian.exact_eps(s, x, 249.75), -sigma * score, atol=1e-12)


def test_diffusers_on_our_list_lands_where_ours_does():
    for sampler in ("DDPM, posterior", "DDIM", "DPM-Solver++(2M)", "DPM-Solver++(2M) SDE", "Heun"):
        kind, options = HUGGING_FACE[sampler]
        theirs = gaussian.hugging_face("linear", 10, kind, timestep_spacing="trailing", **options)
        own = gaussian.FAMILIES[sampler][0]("linear", 10)
        assert theirs.asked == own.asked, sampler
        assert gaussian.landing(theirs)[:2] == pytest.approx(gaussian.landing(own)[:2], abs=2e-5), sampler
        other = gaussian.hugging_face("linear", 10, kind, **options)
        assert other.asked != own.asked, f"{sampler}: its own list is another"


def test_differs_61_trailing_steps_of_diffusers_are_62_and_end_far_outside():
    kind, options = HUGGING_FACE["DDIM"]
    walk = gaussian.hugging_face("linear", 61, kind, timestep_spacing="trailing", **options)
    assert len(walk.asked) == 62 and walk.asked[-1] == 0
    assert gaussian.landing(walk).std > 50 and lands("linear", 61, "ddim").std < 0.5


@pytest.mark.skipif(importlib.util.find_spec("denoising_diffusion_pytorch") is None, reason="requirements/peers.txt")
def test_denoising_diffusion_pytorch_takes_the_same_list_and_lands_there():
    for schedule in ("linear", "cosine"):
        walk, own = gaussian.lucidrains(schedule, 20), gaussian.ours(schedule, 20, "ddim")
        assert walk.asked == own.asked and len(walk.x0) > 20
        assert gaussian.landing(walk)[:2] == pytest.approx(gaussian.landing(own)[:2], abs=1e-4)


def counted_from_0(s, x, t):
    return EXACT(s, x, max(t - 1, 1.0))


EXACT, LANDING, SEEDS = gaussian.exact_eps, gaussian.landing, itertools.count(1)
MUTANTS = (
    Mutant(
        "diffusers' times are counted from 0",
        "benchmarks.gaussian.exact_eps",
        counted_from_0,
        (test_diffusers_on_our_list_lands_where_ours_does,),
    ),
    Mutant(
        "what the steps add is forgotten: the spread is x_T's alone",
        "benchmarks.gaussian.landing",
        lambda walk: LANDING(walk._replace(drawn=walk.drawn._replace(z=walk.drawn.z[:, :0]))),
        (test_all_of_ddpm_lands_where_the_closed_form_says, test_the_landing_is_what_many_samples_show),
    ),
    Mutant(
        "what is fitted was drawn from another stream",
        "benchmarks.gaussian.stream",
        lambda: torch.Generator().manual_seed(next(SEEDS)),
        (test_what_is_not_affine_leaves_a_residual, test_all_of_ddpm_lands_where_the_closed_form_says),
    ),
)


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_mistake_in_the_measurement_is_noticed(mutant):
    for test in mutant.killed_by:
        assert not mutant.survives(test), test.__name__


# ---------------------------------------------------------------- a step beside the peers


def test_the_two_networks_are_one():
    own, theirs = sampling_step.networks()
    x, t = sampling_step.start((2, 1, 28, 28)), torch.tensor([3, 700])
    with torch.no_grad():
        out = own(x, t)
        assert out.std() > 0.01
        torch.testing.assert_close(out, theirs(x, t).sample, atol=1e-4, rtol=1e-4)


def test_every_contestant_takes_as_many_steps_as_it_is_timed_for():
    """Counted at the network, which is asked once a step."""
    for sampler in sampling_step.SAMPLERS:
        calls = []

        def count(x, t, calls=calls):
            calls.append(x.shape)
            return torch.zeros_like(x)

        own, kind, options = sampling_step.SAMPLERS[sampler]
        for walk in (
            sampling_step.ours(count, (1, 1, 8, 8), 5, **own),
            sampling_step.hugging_face(count, (1, 1, 8, 8), 5, kind, **options),
        ):
            calls.clear()
            walk()
            walk()
            assert calls == [(1, 1, 8, 8)] * 10


def test_turns_are_taken_in_turn_and_the_first_is_not_counted():
    seen = []
    times = sampling_step.race({"a": lambda: seen.append("a"), "b": lambda: seen.append("b")}, 2, 3)
    assert "".join(seen) == "abababab" and [len(found) for found in times.values()] == [3, 3]
    entry = sampling_step.entry("x", "y", {"ddpm_edu": [1.0, 9.0, 2.0], "peer": [3.0, 4.0, 100.0]})
    assert entry["times ours"] == {"ddpm_edu": 1.0, "peer": 2.0} and entry["milliseconds"]["peer"] == 4000


# ---------------------------------------------------------------- what people wait for


@pytest.mark.skipif(sys.platform == "win32", reason="no wait4")
def test_memory_is_the_childs_own_and_its_childrens_and_time_is_wall_time():
    """This process has torch in it, and is larger than what it measures."""
    nothing = cost.measured(
        [sys.executable, "-S", "-c", "import sys, time; time.sleep(0.2); print('said'); sys.exit(3)"]
    )
    assert nothing.status == 3 and nothing.output == "said\n" and nothing.seconds >= 0.2 and nothing.mebibytes < 60
    large = "x = b'1' * (150 * 2**20)"
    nested = f"import subprocess, sys; subprocess.run([sys.executable, '-S', '-c', {large!r}])"
    for code in (large, nested):
        assert 150 < cost.measured([sys.executable, "-S", "-c", code]).mebibytes < 210


def test_every_control_of_a_widget_is_moved_from_end_to_end_and_back():
    box, drawn = widgets.schedule_explorer(), []
    box.controls["t"].observe(lambda change: drawn.append(change["new"]), "value")
    times = operations.move(box, "t")
    assert drawn[:2] == [1, 144] and drawn[-2:] == [1000, 200] and len(times) == len(drawn) == operations.MOVES + 1
    assert [operations.values(box.controls["family"])[i] for i in (0, -1)] == [
        "linear",
        box.controls["family"].options[-1],
    ]


def test_all_widgets_are_measured():
    not_measured = {"by_doubling", "player", "playground", "quiz", "training_dashboard"}
    with_kernel, without = set(operations.explorers()), set(in_browser.MAKERS)
    assert with_kernel | without == set(widgets.__all__) - not_measured and not with_kernel & without


def test_every_test_file_is_in_one_suite():
    root = operations.ROOT
    given = [root / path for paths in operations.suites().values() for path in paths]
    files = sorted((root / "tests").rglob("test_*.py"))
    assert files and all(sum(path == one or one in path.parents for one in given) == 1 for path in files)
    assert root / "notebooks" in given


def test_the_outcome_of_pytest_without_its_time():
    assert operations.outcome("==== 12 passed, 1 skipped in 3.21s ====") == "12 passed, 1 skipped"
    assert operations.outcome("no tests ran in 0.01s") == "no tests ran"


# ---------------------------------------------------------------- the page


@pytest.mark.parametrize("path", [tables.PAGE, tables.README], ids=["benchmarks.md", "readme"])
def test_the_page_is_what_the_results_say(path):
    text = path.read_text(encoding="utf-8")
    assert tables.PLACE.search(text)
    assert tables.page(text, RESULTS) == text, "run python benchmarks/tables.py"


def test_another_number_makes_another_page(tmp_path):
    text = tables.PAGE.read_text(encoding="utf-8")
    for path in RESULTS.glob("*.json"):
        shutil.copy(path, tmp_path)
    found = json.loads((tmp_path / "gaussian.json").read_text())
    found["entries"][0]["error"] += 0.01
    (tmp_path / "gaussian.json").write_text(json.dumps(found))
    assert tables.page(text, tmp_path) != text


def test_a_result_that_is_not_there_yet_says_so(tmp_path):
    page = tables.page(tables.PAGE.read_text(encoding="utf-8"), tmp_path)
    assert page.count("*Not measured yet: `python benchmarks/") == len(tables.TABLES) and "| ---" not in page


def test_each_result_has_one_place_on_the_page_and_each_place_a_script():
    text = tables.PAGE.read_text(encoding="utf-8")
    places = [place["name"] for place in tables.PLACE.finditer(text)]
    assert sorted(places) == sorted(tables.TABLES) and text.count("<!-- begin") == len(places)
    assert {path.stem for path in RESULTS.glob("*.json")} <= set(tables.TABLES)
    for name, (_, script) in tables.TABLES.items():
        assert (tables.FOLDER / script.split()[0]).exists(), name


def test_each_table_is_made_by_one_of_the_two_lists():
    listed = [script for scripts in run.LISTS.values() for script in scripts]
    for name, (_, script) in tables.TABLES.items():
        assert sum(f"{one} ".startswith(f"{script} ") for one in listed) == 1, name


def test_a_table_of_quality():
    entry = {"budget": 600, "steps": 1234, "parameters": 5, "frechet": {"fashion": 1.234, "turned": 2.0}}
    result = {
        "real": {"fashion": 0.1, "turned": 0.2},
        "noise": {"fashion": 90.0, "turned": 80.0},
        "contestants": {"ddpm_edu": {"entries": [entry]}},
    }
    assert "| ddpm_edu | 10 | 1,234 | 5 | 1.23 | 2.00 |" in tables.quality(result)


def test_one_that_fails_does_not_stop_the_others(tmp_path, monkeypatch):
    monkeypatch.setattr(run, "FOLDER", tmp_path)
    (tmp_path / "bad.py").write_text("raise SystemExit(1)")
    (tmp_path / "good.py").write_text("import sys; open(sys.argv[1], 'w').close()")
    assert run.run(("bad.py", f"good.py {tmp_path}/done")) == ["bad.py"] and (tmp_path / "done").exists()


def test_the_lists_are_what_make_calls():
    makefile = (Path(operations.ROOT) / "Makefile").read_text()
    assert "\nbenchmark: $(STAMP)\n\t$(PY) benchmarks/run.py short\n" in makefile
    assert "\nbenchmark-long: $(STAMP)\n\t$(PY) benchmarks/run.py long\n" in makefile
    refused = subprocess.run([sys.executable, run.__file__, "medium"], capture_output=True, text=True, check=False)
    assert refused.returncode == 2 and "short or long" in refused.stderr
