"""The rows about memory: nothing is broken, and what is written on each is read on all; a
sector is cut off and writes on."""

import concurrent.futures
import time

from . import net
from .faults import Drop, Fault

SPREAD = 15  # seconds until what was written is read everywhere


class Spread(Fault):
    """Nothing is broken. What each node writes, each other one must read."""

    reachable = True

    def begin(self):
        self.keys = {node.name: f"shared/hello/{node.name}" for node in self.targets}
        put = lambda node: self.memory.put(node, self.keys[node.name])
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            writes = list(pool.map(put, self.aimed))
        refused = [write.node for write in writes if not write.acked]
        if refused:
            raise RuntimeError(f"nothing can be written at {', '.join(refused)}")
        self.values = {write.node: write.value for write in writes}

    def proof(self):
        wanted, end = set(self.keys.values()), time.monotonic() + SPREAD
        for node in self.targets:
            while missing := wanted - {key for key, _ in self.memory.held(node, "shared/hello/")}:
                if time.monotonic() > end:
                    raise ValueError(f"{node} does not read {sorted(missing)[:3]}")
                time.sleep(0.1)
        # Once by the verb as well: each the key of its neighbour.
        for node, other in zip(self.targets, self.targets[1:] + self.targets[:1]):
            got = self.memory.read(node, self.keys[other.name])
            if got != ([self.values[other.name]], False):
                raise ValueError(f"{node} reads {got} of {other}")
        return f"{len(wanted)} keys, each read on {len(self.targets)} nodes"


class CutSector(Drop):
    """Nothing passes between a sector and the backbone. Both sides write on: keys of their own,
    and one that is the other side's as well."""

    def parted(self, one, other):
        return (one in self.names) != (other in self.names)

    def doors(self):
        prefix = self.world.backbone
        return [node for node in self.targets
                if any(it.startswith(prefix) for it in self.world.addresses_of(node))]

    def begin(self):
        aimed = {node.name for node in self.aimed}
        self.inside = next(node for node in reversed(self.targets))
        self.outside = next(node for node in reversed(self.world.nodes)
                            if node.name not in self.names)
        self.third = self.world.root
        self.key = f"shared/sector/{time.monotonic_ns()}"
        # Both sides know a first value, and each will write over it.
        if self.aimed:
            self._put(self.third, self.key)
            self._until([self.inside, self.outside], self.key, 1)
        self.pids = [node.pid for node in self.doors() if node.name in aimed]
        for pid in self.pids:
            net.drop(pid, self.hooks, leg=net.leg_on(pid, self.world.backbone))

    def during(self):
        self.own, self.sides = {}, {}
        for node in (self.inside, self.outside):
            self.sides[node.name] = self._put(node, self.key).value
            self.own[node.name] = self._put(node, f"own/{node.id}/sector").value

    def proof(self):
        said = super().proof()
        # A part is told that it is no majority.
        write = self.memory.put(self.inside, self.key + "/majority", "--quorum", "majority",
                                "--timeout", "1s")
        if write.acked or not write.is_done:
            raise RuntimeError(f"{self.inside} does not say that a majority is out of its reach")
        return said

    def _put(self, node, key):
        write = self.memory.put(node, key)
        if not write.acked:
            raise RuntimeError(f"{node} does not take {key}")
        return write

    def _until(self, nodes, key, many, wait=10):
        """Until each of them has so many values there; what is not so at last."""
        end = time.monotonic() + wait
        for node in nodes:
            while len((got := self.memory.read(node, key))[0]) != many or got[1] != (many > 1):
                if time.monotonic() > end:
                    return [f"{node}: {got} stands under {key}, not {many}"]
                time.sleep(0.2)
        return []

    def settled(self):
        """Both values stand beside each other everywhere, each side's own is read on the other,
        and who writes the key again resolves it."""
        wrong, nodes = [], (self.inside, self.outside, self.third)
        both = sorted(self.sides.values()), True
        for node in nodes:
            if (got := self.memory.read(node, self.key)) != both:
                wrong.append(f"{node}: {got} under {self.key}, not {both}")
        for node, other in ((self.inside, self.outside), (self.outside, self.inside)):
            if (got := self.memory.read(other, f"own/{node.id}/sector"))[0] != [self.own[node.name]]:
                wrong.append(f"{other} reads {got} of {node}")
        self._put(self.third, self.key)
        return wrong + self._until(nodes, self.key, 1)
