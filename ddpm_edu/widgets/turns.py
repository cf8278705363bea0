"""Cells of a notebook and trainings in the background take turns: some of torch's state is one for all threads.

Dropout draws from torch's own generator. A cell that draws from it at the same time would change what a training
learns, and a cell that seeds it would not get the numbers of its seed. So a step and a cell never overlap: while a cell
runs, a training waits between two steps, and each finds torch as it left it. (And a cell that measures time measures
itself alone.) What a widget calls when it is moved is no cell: it should draw from a generator of its own.
"""

import contextlib
import threading
from collections import Counter, deque
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor


class Turns:
    """Any number of cells at a time, or one training. Cells go first; trainings go in the order of asking."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._cells: Counter[int] = Counter()  # by thread: a cell may run another
        self._queue: deque[object] = deque()  # trainings that wait
        self._busy = False  # a training computes

    def begin_cell(self) -> None:
        """Before a cell: waits for the end of the step that is being computed, if one is."""
        with self._changed:
            self._cells[threading.get_ident()] += 1
            self._changed.wait_for(lambda: not self._busy)

    def end_cell(self) -> None:
        """After it. (Where its beginning was not seen, nothing happens.)"""
        with self._changed:
            self._cells -= Counter([threading.get_ident()])  # leaves no negative counts, and no zeros
            self._changed.notify_all()

    @contextlib.contextmanager
    def lent(self) -> Iterator[None]:
        """Within it the cell that calls this does not count: for a cell that waits for a training."""
        own = threading.get_ident()
        with self._changed:
            depth = self._cells.pop(own, 0)
            self._changed.notify_all()
        try:
            yield
        finally:
            with self._changed:
                self._cells += Counter({own: depth})
                self._changed.wait_for(lambda: not (self._busy and depth))

    def take(self) -> None:
        """For a training: waits until no cell runs, and no other training that asked before."""
        ticket = object()
        with self._changed:
            self._queue.append(ticket)
            self._changed.wait_for(lambda: not self._cells and not self._busy and self._queue[0] is ticket)
            self._queue.popleft()
            self._busy = True

    def give(self) -> None:
        """And leaves it to others."""
        with self._changed:
            self._busy = False
            self._changed.notify_all()

    @property
    def wanted(self) -> bool:
        """Whether somebody waits."""
        with self._changed:
            return bool(self._cells or self._queue)


TURNS = Turns()
"""Those of this process."""


def follow_cells(turns: Turns) -> None:
    """From now on the cells of the notebook that this runs in take part. Elsewhere there are no cells."""
    try:
        from IPython import get_ipython
    except ImportError:
        return
    shell = get_ipython()
    if shell is not None:  # registered twice, a function is called once
        shell.events.register("pre_execute", turns.begin_cell)
        shell.events.register("post_execute", turns.end_cell)


class Share:
    """A training's part. As a context: it has the turn, and within :meth:`aside` it has not."""

    def __init__(self, turns: Turns) -> None:
        self.turns = turns

    def __enter__(self) -> "Share":
        self.turns.take()
        self._outside = Torch.now()
        return self

    def __exit__(self, *_: object) -> None:
        self._outside.put_back()
        self.turns.give()

    @contextlib.contextmanager
    def aside(self) -> Iterator[None]:
        """Lets others go first; they find torch as they left it, and so does the training afterwards."""
        mine = Torch.now()
        self._outside.put_back()
        self.turns.give()
        try:
            yield
        finally:
            self.turns.take()
            self._outside = Torch.now()
            mine.put_back()


class Torch(NamedTuple):
    """What torch has once for all threads of a process, and a step depends on.

    How many threads share out sums is no such thing: a training keeps the number that held when it was started.
    """

    generator: Tensor
    of_gpus: list[Tensor]
    dtype: torch.dtype
    deterministic: tuple[bool, bool]

    @classmethod
    def now(cls) -> "Torch":
        """As it is."""
        return cls(
            torch.get_rng_state(),
            torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else [],
            torch.get_default_dtype(),
            (torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()),
        )

    def put_back(self) -> None:
        """As it was."""
        torch.set_rng_state(self.generator)
        if self.of_gpus:
            torch.cuda.set_rng_state_all(self.of_gpus)
        torch.set_default_dtype(self.dtype)
        enabled, only_warns = self.deterministic
        torch.use_deterministic_algorithms(enabled, warn_only=only_warns)
