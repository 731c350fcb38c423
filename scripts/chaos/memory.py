"""Writes replicated memory at every node while things break, and says whether any of it was lost."""

import concurrent.futures
import itertools
import json
import subprocess
import threading
import time

from . import ask
from .ledger import LOST, Ledger, Write

RATE = 1.5  # writes a second, of all nodes together
PATIENCE = 60  # seconds until a verb that does not return is ended
REST = 45  # until all that were asked for are answered
QUORUM = ("--quorum", "majority", "--timeout", "5s")
BOARDS = 3  # keys that everybody overwrites
# What a verb says that has surely done nothing.
NOT_DONE = ("not_running", "not_found")


def text(value):
    return json.dumps(value, separators=(",", ":"))


class Memory:
    def __init__(self, world, say):
        self.world, self.say = world, say
        self.ledger = Ledger()
        self.focus, self.careful = [], False
        self.turns = {node.name: at for at, node in enumerate(world.nodes)}
        self.busy = set()
        self.numbers = itertools.count()
        self.going, self.lock = False, threading.Lock()
        self.over = threading.Event()
        self.pool = concurrent.futures.ThreadPoolExecutor(len(world.nodes))
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def go(self, focus, careful):
        """Writes everywhere, and more often at those of `focus`. If `careful`, they count only
        what others have as well: what their own disks alone have will be lost."""
        with self.lock:
            self.focus, self.careful, self.going = focus, careful, True

    def rest(self):
        """No more writes; whether all that were asked for came to an end."""
        with self.lock:
            self.going = False
        end = time.monotonic() + REST
        while self.busy and time.monotonic() < end:
            time.sleep(0.05)
        return not self.busy

    def close(self):
        self.over.set()
        self.thread.join(5)
        self.pool.shutdown(wait=False, cancel_futures=True)

    def _run(self):
        around = itertools.cycle(self.world.nodes)
        for number in itertools.count():
            if self.over.wait(1 / RATE):
                return
            with self.lock:
                if not self.going:
                    continue
                few = self.focus if number % 3 == 0 else []
                ahead = itertools.chain(few, itertools.islice(around, len(self.world.nodes)))
                node = next((it for it in ahead if it.id and it.name not in self.busy), None)
                if node:
                    self.busy.add(node.name)
                    self.pool.submit(self._turn, node)

    def _turn(self, node):
        """A key of its own, one that all overwrite, one that is deleted again, a new one."""
        turn = self.turns[node.name]
        self.turns[node.name] += 1
        own = f"own/{node.id}"
        lap, step = divmod(turn, 5)
        careful = self.careful and node in self.focus
        more = QUORUM if careful or step == 4 else ()
        try:
            if step == 3:
                self.remove(node, f"{own}/passing{lap}", *more)
            else:
                key = (f"{own}/state", f"shared/board{lap % BOARDS}", f"{own}/passing{lap}", None,
                       f"shared/{node.name}/{lap}")[step]
                self.put(node, key, *more)
        except Exception as why:  # a thread of the pool would keep it to itself
            self.say(f"{node}: a write could not be asked for: {why!r}")
        finally:
            self.busy.discard(node.name)

    def put(self, node, key, *words):
        """Writes a value that nobody else writes; the `Write`."""
        value = text({"by": node.name, "n": next(self.numbers)})
        return self._write(node, Write(node.name, key, value, time.monotonic()),
                           "put", key, value, *words)

    def remove(self, node, key, *words):
        return self._write(node, Write(node.name, key, None, time.monotonic()), "rm", key, *words)

    def _write(self, node, write, *words):
        # Before it is asked for: it may be made, whatever becomes of the question.
        self.ledger.add(write)
        code, said = self.verb(node, *words)
        write.acked, write.lamport = code == 0, said.get("lamport")
        if write.lamport is not None:
            write.is_done, write.ended = True, time.monotonic()
        elif code in (2, 4) or said.get("code") in NOT_DONE:
            write.is_done = False
        return write

    def verb(self, node, *words):
        """`chorus --json memory WORDS` at a node: its exit code, or None, and what it said."""
        try:
            done = subprocess.run(
                [str(word) for word in self.world.command(node, "--json", "memory", *words)],
                stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=PATIENCE)
            return done.returncode, json.loads(done.stdout or "{}")
        except (subprocess.TimeoutExpired, ValueError, KeyError, RuntimeError):
            return None, {}

    def read(self, node, key):
        """What `memory get` prints there: the values, as `put` wrote them, and whether it calls
        them a conflict."""
        _, got = self.verb(node, "get", key)
        return sorted(text(it["value"]) for it in got.get("values", ())), got.get("conflict")

    def digests(self):
        said = {node.name: ask.status(node.control) for node in self.world.nodes}
        return {name: it and it["memory"]["digest"] for name, it in said.items()}

    def until_same(self, limit):
        """Seconds until all nodes have the same digest; None and who has which if they never do."""
        begun = time.monotonic()
        while True:
            digests = self.digests()
            if None not in digests.values() and len(set(digests.values())) == 1:
                return time.monotonic() - begun, []
            if time.monotonic() - begun > limit:
                return None, [f"{name}: {str(it)[:8]}" for name, it in digests.items()]
            time.sleep(0.2)

    def held(self, node, prefix=""):
        """The pairs (key, value) that a node has itself: its keys, and what it reads there."""
        pairs = set()
        for row in self._pages(node, prefix):
            got = ask.ask(node.control, "memory", ask={"get": {"key": row["key"], "within_ms": None}})
            pairs |= {(row["key"], value["text"]) for value in (got or [])[1:]}
        return pairs

    def _pages(self, node, prefix):
        start = None
        while True:
            page = {"of": "keys", "prefix": prefix, "from": start}
            lines = ask.ask(node.control, "memory", 10, ask={"page": page})
            if not lines or "next" not in lines[-1]:
                raise RuntimeError(f"{node} does not list its memory: {lines}")
            for line in lines[:-1]:
                yield from (row for row in line["rows"] if row["values"])
            start = lines[-1]["next"]
            if start is None:
                return

    def check(self, limit, looked_at):
        """Once all is quiet: what this adds to the result of a row, and what is wrong."""
        wrong = [] if self.rest() else [f"writes without an end at {sorted(self.busy)}"]
        took, differ = self.until_same(limit)
        if took is None:
            wrong.append(f"not the same memory everywhere {limit} s after the last write: "
                         + ", ".join(differ))
        held = {node.name: self.held(node) for node in looked_at}
        if took is not None and len({frozenset(pairs) for pairs in held.values()}) > 1:
            wrong.append(f"{', '.join(held)}: one digest, but not the same values")
        lost, back = self.ledger.judge(held)
        if lost:
            wrong.append(f"{LOST}: {len(lost)}, such as {lost[0]}")
        if back:
            wrong.append(f"deleted and back: {len(back)}, such as {min(back)}")
        acked = sum(write.acked for write in self.ledger.writes) + len(lost)
        return {"acked_writes": acked, "acked_writes_lost": len(lost), "memory_s": took}, wrong
