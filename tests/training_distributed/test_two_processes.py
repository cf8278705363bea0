"""Two processes, started once by torchrun, against one: gradients, resumed runs, a bad process, sharded weights.

What they did is in two.py. That they were two is part of what is tested.
"""

import shutil
import sys
from dataclasses import replace

import pytest
import torch

from ddpm_edu import models, training
from ddpm_edu.errors import CheckpointError
from ddpm_edu.training import checkpoint, sharded
from ddpm_edu.training.distributed import Team
from ddpm_edu.training.meter import read_log
from tests.training_distributed import setting, two
from tests.training_distributed.setting import CONFIG, CPU, STEPS
from tests.training_distributed.test_shares import whole_batch

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform == "win32", reason="torchrun and gloo need a POSIX system"),
]
ALONE = Team(0, 1, CPU)


@pytest.fixture(scope="module")
def by_one(tmp_path_factory):
    """The run by one process, from beginning to end."""
    folder = tmp_path_factory.mktemp("one")
    training.train(CONFIG, folder, progress=False)
    return folder


def test_they_hear_each_other(found):
    assert [each["words"]["any"] for each in found] == [[False, True, True, True]] * 2
    assert [each["words"]["sum"].tolist() for each in found] == [[3.0, 30.0]] * 2


@pytest.mark.parametrize("name", STEPS)
def test_gradients_are_the_average_of_the_shares_bit_for_bit(found, tmp_path, name):
    """Also with dropout, which is drawn for each process."""
    first, second = setting.shares(STEPS[name], tmp_path, 2)
    for each in found:
        both = each["gradients"][name]
        for key, g in both.items():
            assert torch.equal(g, (first[key] + second[key]) / 2), key
    assert setting.off_by(first, second) > 0.01, "the two shares differ, so that the average says something"


@pytest.mark.parametrize("name", ["uneven", "in parts"])
def test_gradients_are_those_of_one_process(found, tmp_path, name):
    """In float64 to 1e-12. In float32, which is all that the loop itself computes in on a CPU, to 1e-6 (of 0.4)."""
    exactly = whole_batch(STEPS[name], tmp_path, torch.float64)
    assert setting.off_by(found[0]["exact gradients"][name], exactly) < 1e-12
    assert setting.off_by(found[0]["gradients"][name], whole_batch(STEPS[name], tmp_path)) < 1e-6


def test_computing_blocks_twice_changes_nothing(found):
    gradients = found[0]["gradients"]
    assert setting.off_by(gradients["computed twice"], gradients["uneven"]) < 1e-6


# ---------------------------------------------------------------- other world sizes


def test_a_run_by_two_is_the_run_by_one(place, found, by_one):
    """Up to the order in which float32 sums are taken, through twelve steps of Adam (measured: 2e-6, of steps of 1e-3).

    Of a key's bias Adam sees rounding alone (its gradient is 0, since softmax does not feel it): that is the 2e-6.
    """
    one, two = setting.learnt(by_one), setting.learnt(place / "by two")
    assert setting.off_by(one, two) < 2e-5
    assert max((one[key] - start).abs().max() for key, start in two_at(place, 0).items()) > 5e-3, "and it has moved"


def test_two_then_one_then_two_is_the_run_by_one(place, found, by_one):
    assert setting.off_by(setting.learnt(by_one), setting.learnt(place / "in turn")) < 2e-5
    steps = [event["step"] for event in read_log(place / "in turn" / "log.jsonl") if event["kind"] == "loss"]
    assert steps == [*range(1, 13)]


def test_the_two_are_not_one(place, found, by_one):
    """The control: were one process to do all the work, the sums would be taken in the same order, bit for bit."""
    for run in ("by two", "in turn"):
        assert setting.off_by(setting.learnt(by_one), setting.learnt(place / run)) > 0


def test_gradients_are_packed_in_one_way_from_the_first_step(found):
    """DistributedDataParallel packs them anew after its first backward pass. With three processes or more the order of
    a sum depends on it, and a resumed run would differ from an undisturbed one in its last bits (with gloo, by 2e-7).
    Its own account is one step behind.
    """
    assert [each["other_world_sizes"]["packed"] for each in found] == [[False] + [True] * 11] * 2


def two_at(place, step):
    (path,) = (place / "by two" / "checkpoints").glob(f"step-{step:08d}-*.pt")
    return {key: t for key, t in setting.tensors(checkpoint.load(path)).items() if key.startswith("/net/")}


def test_what_is_logged_is_of_both(place, found, by_one):
    """The loss of a step is the mean over the whole batch, and each step is in the log once."""
    one, two = (read_log(folder / "log.jsonl") for folder in (by_one, place / "by two"))
    assert [event["loss"] for event in two] == pytest.approx([event["loss"] for event in one], rel=1e-5)
    assert len((place / "by two" / "log.jsonl").read_text().splitlines()) == 12


# ---------------------------------------------------------------- who writes, who speaks


def test_only_the_first_writes(place, found):
    first, second = (each["files_written"]["files"] for each in found)
    assert second == []
    assert {"checkpoints", "samples", "log.jsonl"} <= {part for name in first for part in name.split("/")}


def test_only_the_first_speaks(ended, found):
    """One warning for both, in a run that gives cause for one; nothing is printed."""
    assert ended.out == ""
    assert ended.err.count("TrainingWarning: after 6 steps 100% of the average '0.9999'") == 1
    assert "Warning" not in ended.err.replace("TrainingWarning", "", 1)


# ---------------------------------------------------------------- a bad process, a late one, one elsewhere


def test_nan_in_one_stops_both_and_changes_nothing(found):
    for each in found:
        seen = each["one_bad_process"]
        assert seen["error"] == "NonFiniteLossError"
        assert seen["says"].startswith("step 5: ") and seen["step"] == 5
        assert seen["untouched"], "weights, averages and optimiser are those after five good steps"


def test_the_second_looks_before_the_first_writes(found):
    """Or it would find the first's checkpoint of step 0, and resume="never" would stop it, and it alone."""
    assert [each["a_late_reader"] for each in found] == [{"step": 2}] * 2


def test_processes_that_find_different_checkpoints_stop(found):
    for each in found:
        assert each["another_disk"]["error"] == "CheckpointError"
        assert "do not share this folder" in each["another_disk"]["says"]
    assert "finds step-00000004-" in found[0]["another_disk"]["says"]
    assert "finds None" in found[1]["another_disk"]["says"]


def test_where_another_training_runs_both_leave(found):
    """And at once: the second does not wait for the first, which alone has asked for the lock."""
    for each in found:
        assert each["a_second_training"][False] == 2
    first, second = (each["a_second_training"][True] for each in found)
    assert "another training runs in" in first and "taken" in first
    assert "the main process may not train in" in second and "taken" in second


def test_each_process_has_all_images(found):
    """Shares of them would be learned from in a way that no resumed run and no other number of processes could."""
    for each in found:
        assert "the 2 processes hold different images" in each["other_images"]["shares"]
        assert each["other_images"]["all"] == 2


# ---------------------------------------------------------------- sharded


def unsharded(steps):
    """Network, optimiser and average in one piece, after so many steps in one process, the average written out."""
    net = two.network()
    optimiser = torch.optim.Adam(net.parameters(), 1e-3)
    average = {name: p.detach().clone() for name, p in net.named_parameters()}
    for step in range(steps):
        optimiser.zero_grad()
        two.loss(net, step, 0, 1).backward()
        optimiser.step()
        average = {name: 0.9 * average[name] + 0.1 * p.detach() for name, p in net.named_parameters()}
    return sharded.state(net, optimiser, average)


def of(kind, state):
    """The tensors of one kind, but for keys' biases: their gradient is rounding alone, which Adam makes steps of."""
    return {key: t for key, t in state.items() if key.startswith(kind) and not key.endswith("attend.k.bias")}


@pytest.mark.parametrize("kind", ["net", "average", "adam.exp_avg", "adam.step"])
def test_three_steps_in_shares_are_three_steps(found, kind):
    """Measured: 2e-7."""
    alone = unsharded(3)
    for each in found:
        assert setting.off_by(of(kind, each["in_shares"]["three"]), of(kind, alone)) < 1e-6
    if kind != "adam.step":
        assert setting.off_by(of(kind, alone), of(kind, unsharded(2))) > 1e-5


def test_each_holds_half(found):
    first, second = (each["in_shares"]["held"] for each in found)
    everything = found[0]["in_shares"]["all"]
    assert first + second == everything
    assert 0.45 * everything < second <= first < 0.55 * everything


def test_written_by_two_read_by_two(found):
    for each in found:
        assert setting.off_by(each["in_shares"]["five"], each["in_shares"]["five, taken up"]) == 0
        assert setting.off_by(each["in_shares"]["five"], each["in_shares"]["three"]) > 1e-3


def fresh(config=setting.NET):
    net = models.UNet(config)
    return sharded.state(net, torch.optim.Adam(net.parameters()), sharded.average(net))


def test_written_by_two_read_by_one(place, found):
    """Without a process group; and what it fills is what the network and Adam go on with."""
    torch.manual_seed(1)
    net = models.UNet(setting.NET)
    optimiser, average = torch.optim.Adam(net.parameters(), 1e-3), sharded.average(net)
    sharded.load(place / "shares", sharded.state(net, optimiser, average), ALONE)
    assert setting.off_by(sharded.state(net, optimiser, average), found[0]["in_shares"]["three"]) == 0
    two.learn(net, optimiser, average, range(3, 5), ALONE)
    five = sharded.state(net, optimiser, average)
    assert setting.off_by(of("net", five), of("net", found[0]["in_shares"]["five"])) < 1e-6
    assert setting.off_by(of("average", five), of("average", found[0]["in_shares"]["five"])) < 1e-6


def test_what_is_written_holds_numbers_only(place, found):
    assert {path.suffix for path in (place / "shares").iterdir()} == {".safetensors"}
    assert len([*(place / "shares").iterdir()]) == 2


def test_two_states_do_not_mix(found):
    for each in found:
        assert "is there already" in each["in_shares"]["again"]


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda folder: next(folder.glob("shard-00001*")).unlink(), "a share of .* is missing"),
        (lambda folder: next(folder.glob("shard-00002*")).unlink(), "Size mismatch|Missing key|is missing"),
        (lambda folder: [path.unlink() for path in folder.iterdir()], "Missing key"),
        (lambda folder: [path.write_bytes(b"") for path in folder.iterdir()], "is no sharded checkpoint"),
        (lambda folder: shutil.rmtree(folder), "there is no folder"),
    ],
    ids=["first share gone", "second share gone", "nothing there", "empty files", "no folder"],
)
def test_damaged_shares_are_refused(place, found, tmp_path, damage, words):
    shutil.copytree(place / "shares", tmp_path / "shares")
    sharded.load(tmp_path / "shares", fresh(), ALONE)  # as long as they are whole
    damage(tmp_path / "shares")
    with pytest.raises(CheckpointError, match=words):
        sharded.load(tmp_path / "shares", fresh(), ALONE)


@pytest.mark.parametrize("other", [{"width": 16}, {"blocks": 2}], ids=["wider", "deeper"])
def test_shares_of_another_network_are_refused(place, found, other):
    with pytest.raises(CheckpointError, match=r"is no sharded checkpoint of this network \(.*: (Size mism|Missing k)"):
        sharded.load(place / "shares", fresh(replace(setting.NET, **other)), ALONE)


def test_one_process_writes_too_and_what_a_killed_one_left_is_gone(tmp_path):
    state = fresh()
    left = tmp_path / ".a.part" / "shard-00009-model-00001-of-00001.safetensors"
    left.parent.mkdir()
    left.write_bytes(b"half of it")
    sharded.save(tmp_path / "a", state, ALONE)
    assert [path.name for path in tmp_path.iterdir()] == ["a"] and len([*(tmp_path / "a").iterdir()]) == 1
    again = fresh()
    sharded.load(tmp_path / "a", again, ALONE)
    assert setting.off_by(state, again) == 0
