"""What was written while things broke, and what of it must be found afterwards."""

import dataclasses
import math
import threading

LOST = "acknowledged and lost"


@dataclasses.dataclass
class Write:
    """One `memory put`, or `rm` where `value` is None. Times are of time.monotonic."""

    node: str
    key: str
    value: str | None
    began: float
    ended: float = math.inf     # of one that was not answered: it may still be made
    lamport: int | None = None
    acked: bool = False
    is_done: bool | None = None  # None: nobody knows

    def __str__(self):
        return f"{self.key} = {self.value} at {self.node}"


class Ledger:
    def __init__(self):
        self.writes = []
        self.cuts = []  # (since, until, whether two names were apart)
        self.lock = threading.Lock()

    def add(self, write):
        with self.lock:
            self.writes.append(write)

    def judge(self, held):
        """`held`: of some nodes, the pairs (key, value) that each has. Returns the acknowledged
        writes that are nowhere but at their writer, and the keys that were deleted and are back.
        Each is told once."""
        with self.lock:
            writes = list(self.writes)
        of_key = {}
        for write in writes:
            of_key.setdefault(write.key, []).append(write)
        lost, back = [], set()
        for write in writes:
            others = [pairs for name, pairs in held.items() if name != write.node]
            if not write.acked:
                continue
            if write.value is None:
                back |= {old.key for old in of_key[write.key] if old.value is not None
                         and any((old.key, old.value) in pairs for pairs in held.values())
                         and old.lamport is not None and old.lamport < write.lamport}
            elif not any((write.key, write.value) in pairs for pairs in others) \
                    and not any(self._replaces(new, write) for new in of_key[write.key]):
                lost.append(write)
        with self.lock:
            self.writes = [write for write in self.writes
                           if write.key not in back and not any(write is it for it in lost)]
        return lost, back

    def _replaces(self, new, old):
        """Whether `new` may have seen `old` and so stand in its place. Who has seen a write has
        a higher Lamport time; what was cut off from it all the while has not seen it."""
        if new is old or new.is_done is False or new.ended < old.began:
            return False
        if new.lamport is not None and new.lamport <= (old.lamport or 0):
            return False
        return not any(since <= min(new.began, old.began) and max(new.ended, old.ended) <= until
                       and new.node != old.node and apart(new.node, old.node)
                       for since, until, apart in self.cuts)
