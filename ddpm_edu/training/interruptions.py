"""Asked to stop by a cluster (SIGTERM), a person (Ctrl-C), a thread: finish the step, save, and only then leave."""

import signal
import threading
from types import FrameType, TracebackType


class StopRequest:
    """True once somebody has asked. As a context: SIGTERM and Ctrl-C set ``signal`` and no more; a second Ctrl-C
    interrupts at once.

    Outside of the main thread signals cannot be caught: there :meth:`ask` is the only way. What was there before is put
    back. A request that was heard stays true, so each training needs a new one.
    """

    def __init__(self) -> None:
        self.signal: int | None = None
        self._asked = False
        self._before: dict[int, object] = {}

    def __bool__(self) -> bool:
        return self._asked or self.signal is not None

    def ask(self) -> None:
        """Asks, as a signal does, from any thread; ``signal`` stays None."""
        self._asked = True

    def __enter__(self) -> "StopRequest":
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                self._before[number] = signal.signal(number, self._heard)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def _heard(self, number: int, frame: FrameType | None) -> None:
        if self.signal is not None and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.signal = number
