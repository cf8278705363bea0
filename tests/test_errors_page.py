"""docs/errors.md: each mistake of the catalogue is made, and found; mended, it is not. The page is what they print."""

import re
from dataclasses import replace
from pathlib import Path

import pytest

from tools import errors

ROOT = Path(__file__).resolve().parents[1]
LESSONS = errors.catalogue(ROOT)
ENTRIES = {entry.id: entry for lesson in LESSONS for entry in lesson.entries}
LONGEST = 12  # lines of a cell
each = pytest.mark.parametrize("entry", ENTRIES.values(), ids=ENTRIES.keys())


@pytest.fixture(scope="module")
def printed():
    """What each cell prints as it stands: by its code, and run once."""
    return {entry.code: errors.run(entry.code) for entry in ENTRIES.values()}


@each
def test_the_cell_shows_the_mistake(entry, printed):
    assert entry.says in printed[entry.code]


@each
def test_the_mended_cell_shows_none(entry):
    if not entry.mend:
        return  # nothing to mend in a cell: the fix is to look at another number
    after = errors.run(entry.mended)
    assert entry.says not in after
    if errors.exercise(entry):
        assert re.search(r"^\[x\] .*: right\.$", after, re.MULTILINE), after
    else:
        assert not re.search(r"^(\w+(Error|Warning): |Not right yet)", after, re.MULTILINE), after


def test_nearly_all_can_be_mended():
    assert sum(not entry.mend for entry in ENTRIES.values()) <= 2
    assert all(entry.mend for entry in ENTRIES.values() if errors.exercise(entry))


def test_the_page_is_what_the_cells_print(printed):
    page = (ROOT / errors.PAGE).read_text(encoding="utf-8")
    assert errors.masked(page) == errors.masked(errors.page(ROOT, printed.__getitem__)), "run python -m tools.errors"


def test_every_core_lesson_has_at_least_four():
    core = [path.stem for path in sorted((ROOT / "notebooks/source").glob("0[1-7]_*.py"))]
    assert [lesson.stem for lesson in LESSONS] == core and len(core) == 7
    assert all(len(lesson.entries) >= 4 for lesson in LESSONS)


@each
def test_found_by_names_something_callable(entry):
    assert callable(errors.named(entry.found_by)) or isinstance(errors.named(entry.found_by), property)


@each
def test_the_check_that_is_named_is_the_one_that_the_cell_calls(entry):
    if errors.exercise(entry):
        module, check = entry.found_by.split(".")[-2:]
        assert re.search(rf"^{module}\.{check}\(my_\w+\)|^{module}\.{check}\(mine\)", entry.code, re.MULTILINE)


@each
def test_an_entry_is_short_and_plain(entry):
    lines = entry.code.strip().splitlines()
    assert len(lines) <= LONGEST and max(map(len, lines)) <= 120
    assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9A-Z]+)*", entry.id)
    assert not re.search(r"[|`*$<>\n]|\.$", entry.symptom), "it stands in a table and a heading"
    assert len(entry.symptom) <= 120


def test_no_two_entries_share_an_anchor_or_a_symptom():
    every = [entry for lesson in LESSONS for entry in lesson.entries]
    assert len({e.id for e in every}) == len({e.symptom for e in every}) == len(every)


def test_every_link_of_the_index_has_its_anchor():
    page = (ROOT / errors.PAGE).read_text(encoding="utf-8")
    links, anchors = re.findall(r'<a href="#([^"]+)">', page), re.findall(r'<a id="([^"]+)"></a>', page)
    assert links == anchors == list(ENTRIES)


# ---------------------------------------------------------------- negative controls


def test_a_page_with_another_output_or_fix_is_noticed(printed):
    page = errors.page(ROOT, printed.__getitem__)
    silent = errors.page(ROOT, lambda code: "nothing of the kind")
    assert errors.masked(page) != errors.masked(silent)
    assert errors.masked(page) != errors.masked(page.replace("```diff\n-", "```diff\n+", 1))


def test_last_digits_do_no_harm_and_words_do():
    page = "x\n```text\nmean 0.51, 3e-05\n  and -7 of 62%\n```\ny 0.5"
    assert errors.masked(page) == errors.masked(page.replace("0.51", "0.52").replace("3e-05", "0.00003"))
    assert errors.masked(page) == errors.masked(page.replace("\n  and", " and"))  # broken elsewhere
    assert errors.masked(page) != errors.masked(page.replace("mean", "median"))
    assert errors.masked(page) != errors.masked(page.replace("y 0.5", "y 0.6"))  # no output


def test_what_is_to_be_mended_must_stand_there_once():
    entry = replace(ENTRIES["noise-times-beta"], mend=(("no such text", ""),))
    with pytest.raises(ValueError, match="0 times"):
        _ = entry.mended


def test_an_error_that_is_none_of_ours_is_not_taken_for_a_finding():
    with pytest.raises(NameError):
        errors.run("no_such_name")


def test_a_cell_leaves_neither_progress_nor_numbers_behind(tmp_path, monkeypatch):
    import torch

    monkeypatch.setenv("DDPM_EDU_PROGRESS", str(tmp_path / "progress.json"))
    before = torch.get_rng_state()
    errors.run(ENTRIES["noise-times-beta"].code)
    errors.run("import torch\ntorch.manual_seed(1), torch.rand(3)")
    assert not list(tmp_path.iterdir()) and torch.equal(before, torch.get_rng_state())
