"""Looks at every node about twice a second, for as long as the drill lasts."""

import threading
import time

from . import ask
from .world import rss_mb

PERIOD = 0.5
HEALTH_EVERY = 4  # looks
ORDER_MIN = 0.95
# What waits in a node: frames not acknowledged, items not written, items asked for.
QUEUES = ("delivery_waiting", "items_unwritten", "items_waited_for")


class Watch:
    """`latest` holds of each name (time of the question, status or None)."""

    def __init__(self, world, samples):
        self.world = world
        self.latest = {}
        self.samples = samples  # (time, name, live, order) for the picture
        self.evicted = []   # (time, observer, whom) as seen in tables of peers
        self.lowest = {}    # name -> faults in its Lamport time, as text
        self.lamport = {}   # name -> the greatest that it said
        self.queue = self.rss = 0
        self.over = threading.Event()
        self.threads = [threading.Thread(target=self._look_at, args=(node,), daemon=True)
                        for node in world.nodes]
        for thread in self.threads:
            thread.start()

    def close(self):
        self.over.set()
        for thread in self.threads:
            thread.join(5)

    def _look_at(self, node):
        turn = 0
        while not self.over.is_set():
            begun = time.monotonic()
            turn += 1
            try:
                self._look_once(node, begun, turn)
            except (KeyError, TypeError, OSError) as why:
                self.world.say(f"{node}: an answer that is not understood: {why!r}")
            self.over.wait(max(0.05, begun + PERIOD - time.monotonic()))

    def _look_once(self, node, begun, turn):
        status = ask.status(node.control)
        self.latest[node.name] = (begun, status)
        pid = node.pid
        self.rss = max(self.rss, (pid and rss_mb(pid)) or 0)
        if status is None:
            return
        node.id = node.id or status["node"]
        phase = status["phase"]
        self.samples.append((begun, node.name, phase["live"], phase["order"]))
        highest = self.lamport.get(node.name, 0)
        if status["lamport"] < highest:
            self.lowest[node.name] = f"{status['lamport']} after {highest}"
        self.lamport[node.name] = max(highest, status["lamport"])
        if status["peers"]["evicted"]:
            for row in ask.peers(node.control) or []:
                if row["state"] == "evicted":
                    self.evicted.append((begun, node.name, row["node"]))
        if turn % HEALTH_EVERY == 0:
            counters = ask.counters(node.control)
            self.queue = max(self.queue, sum(counters.get(name, 0) for name in QUEUES))

    def missing(self, since, order=ORDER_MIN):
        """What is not whole yet, by looks that began after `since`; empty when all is."""
        count = len(self.world.nodes)
        wrong = []
        for node in self.world.nodes:
            begun, status = self.latest.get(node.name, (0, None))
            if begun < since:
                wrong.append(f"{node}: not asked yet")
            elif status is None:
                wrong.append(f"{node}: no answer")
            elif status["phase"]["live"] != count or status["peers"]["live"] != count - 1:
                wrong.append(f"{node}: sums {status['phase']['live']}, "
                             f"{status['peers']['live'] + 1} live, of {count}")
            elif (status["phase"]["order"] or 0) < order:
                wrong.append(f"{node}: r {status['phase']['order']:.2f}")
        return wrong

    def until_whole(self, since, limit):
        """(seconds until all are live everywhere, until r is high as well, what was missing
        at last); a time that did not come is None."""
        end, live = time.monotonic() + limit, None
        while True:
            now = time.monotonic()
            wrong = self.missing(since)
            if live is None and not self.missing(since, order=-1):
                live = now - since
            if not wrong:
                return live, now - since, []
            if now > end:
                return live, None, wrong
            time.sleep(0.05)
