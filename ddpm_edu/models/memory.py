"""How many bytes are alive, operation by operation; on the meta device, of what is far too large for this machine."""

from collections.abc import Callable
from typing import Any

from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode


class Alive(TorchDispatchMode):
    """Within ``with Alive() as alive:`` every tensor that an operation makes is watched until it is freed.

    ``tag`` may be set at any time: what is made from then on is counted under it. ``peak``: the most bytes that were
    alive at once, so far. Tensors made before, such as weights, do not count.
    """

    def __init__(self) -> None:
        super().__init__()
        self.tag, self.peak = "", 0
        self._made: dict[StorageWeakRef, tuple[str, int]] = {}
        self._bytes = 0  # of all in _made, the freed ones among them until they are looked at

    def by_tag(self) -> dict[str, int]:
        """Bytes that are alive now, by the tag under which they were made."""
        self._forget_freed()
        found: dict[str, int] = {}
        for tag, size in self._made.values():
            found[tag] = found.get(tag, 0) + size
        return found

    def _forget_freed(self) -> None:
        self._made = {storage: made for storage, made in self._made.items() if not storage.expired()}
        self._bytes = sum(size for _, size in self._made.values())

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = {StorageWeakRef(tensor.untyped_storage()) for tensor in _tensors((args, kwargs))}
        results = func(*args, **(kwargs or {}))
        for tensor in _tensors(results):
            storage = StorageWeakRef(tensor.untyped_storage())
            if storage not in given and storage not in self._made:  # views and results in place are nothing new
                self._made[storage] = (self.tag, tensor.untyped_storage().nbytes())
                self._bytes += self._made[storage][1]
        if self._bytes > self.peak:
            self._forget_freed()
            self.peak = max(self.peak, self._bytes)
        return results


def _tensors(tree: Any) -> list[Tensor]:
    return [leaf for leaf in pytree.tree_leaves(tree) if isinstance(leaf, Tensor)]


def peak_bytes(work: Callable[[], object]) -> int:
    """The most bytes that are alive at once while ``work()`` runs, made by it; what it was given does not count."""
    with Alive() as alive:
        work()
    return alive.peak
