"""Runs rows: whole before, the fault, whole after, and what must have held all along."""

import subprocess
import sys
import time

from .ledger import Write
from .world import SMALL_DISK

START_LIMIT = 90
# Longer than a look and an answer take, so that the last eviction is seen as well.
SETTLE = 1.0
IDLE = "the fault does not act"


class Drill:
    def __init__(self, world, watch, memory, options, say, bands):
        self.world, self.watch, self.options, self.say = world, watch, options, say
        self.memory = memory  # or None, where nothing is written
        self.bands = bands  # (from, to, label) for the picture

    def _targets(self, row, rng):
        wanted = SMALL_DISK if row.target == "small-disk" else self.options.target or row.target
        found = self.world.find(wanted)
        if not found:
            print(f"--target {wanted}: no node has this name, role or sector", file=sys.stderr)
            raise SystemExit(2)
        is_role = wanted in {node.role for node in self.world.nodes}
        return [rng.choice(found)] if is_role else found

    def _aim(self, targets):
        """Whom it is done to: the targets, or, to prove the drill, nobody or another."""
        if self.options.dud not in ("nothing", "elsewhere"):
            return targets
        if self.options.dud == "nothing":
            return []
        others = [node for node in self.world.nodes if node not in targets]
        return others[-1:] or targets[:1]

    def row(self, row, rng, short=False):
        world, watch = self.world, self.watch
        targets = self._targets(row, rng)
        fault = row.make(world, targets, self._aim(targets), self.options,
                         **((row.short or {}) if short else {}))
        fault.memory = self.memory
        label = row.label.format(fault.seconds)
        result = {"fault": label, "row": row.key,
                  "target": "all" if len(targets) == len(world.nodes) else
                  ",".join(node.name for node in targets)}
        wrong = []
        self.say(f"{label}: {result['target']}")
        _, whole, missing = watch.until_whole(time.monotonic(), 60)
        if whole is None:
            wrong.append(f"not whole before: {'; '.join(missing[:3])}")
        runs = {name: status["incarnation"] for name, (_, status) in watch.latest.items() if status}
        ids = {node.name: node.id for node in world.nodes}
        watch.queue = watch.rss = 0
        fault.look()
        if self.memory:
            self.memory.go(targets, fault.careful)
            if self.options.dud == "forget":
                self.memory.ledger.add(Write(world.root.name, f"shared/dud/{row.key}", "1", 0,
                                             acked=True, is_done=True))
        begun_wall, begun = time.time(), time.monotonic()
        try:
            self._act(fault, begun, result, wrong)
        finally:
            fault.end()
            # Not before: while it is undone it still acts.
            ended = time.monotonic()
        since = ended if fault.seconds else begun
        live, whole, missing = watch.until_whole(ended, row.limit)
        offset = ended - since
        wrong += fault.after()
        memory = self._memory(fault, row.limit, "proof" in result, wrong)
        time.sleep(SETTLE)
        over = time.monotonic()
        self.bands.append((begun, ended if fault.seconds else begun + (whole or row.limit),
                           label))

        if whole is None:
            wrong.append(f"not whole {row.limit} s after: {'; '.join(missing[:3])}")
        if row.live and (live is None or live + offset > row.live):
            wrong.append(f"not live everywhere within {row.live} s")
        back = None if whole is None else whole + offset
        deaths, detect = self._deaths(begun, begun_wall, over, fault,
                                      None if whole is None else ended - begun + whole)
        if deaths:
            wrong.append("evicted although it could be reached: " + self._words(deaths))
        if row.known and detect is not None and detect > row.known:
            wrong.append(f"known only after {detect:.1f} s")
        if row.known and detect is None and whole is None:
            wrong.append("neither known nor back")
        wrong += self._identities(ids, runs, fault, targets)
        result |= {
            "detect_s": detect, "recover_s": back,
            "live_s": None if live is None else live + offset,
            **memory, "split_decisions": None, "false_deaths": len(deaths),
            "most_counted": max((live for at, _, live, _ in list(watch.samples)
                                 if begun <= at <= over), default=None),
            "peak_queue": watch.queue, "rss_max_mb": round(watch.rss, 1),
            "back_before": detect is None and fault.crashes and whole is not None,
            "wrong": wrong, "ok": not wrong}
        if (result["most_counted"] or 0) > len(world.nodes):
            self.say(f"  note: a node summed up {result['most_counted']} phases "
                     f"of {len(world.nodes)} nodes")
        said = [result["proof"]] if "proof" in result else []
        if memory["acked_writes"] is not None:
            said.append(f"{memory['acked_writes']} writes acknowledged so far")
        self.say(f"  {'ok' if not wrong else 'FAILED: ' + '; '.join(wrong)} ({'; '.join(said)})")
        return result

    def _act(self, fault, begun, result, wrong):
        """The fault up to its end, and the proof of it. What fails turns the row red."""
        try:
            fault.begin()
            acts = time.monotonic()
            fault.during()
            hold = min(fault.seconds, 3) if self.options.dud else fault.seconds
            time.sleep(max(0, acts + hold - time.monotonic()))
            result["proof"] = fault.proof()
            if self.memory and fault.severs:
                self.memory.ledger.cuts.append((acts, time.monotonic(), fault.parted))
        except ValueError as why:
            wrong.append(f"{IDLE}: {why}")
        except (RuntimeError, OSError, subprocess.SubprocessError, KeyError, TypeError) as why:
            wrong.append(f"the fault could not be made: {type(why).__name__}: {why}")

    def _memory(self, fault, limit, acted, wrong):
        """What memory adds to a row, now that all is whole."""
        if not self.memory:
            return {"acked_writes": None, "acked_writes_lost": None, "memory_s": None}
        try:
            nodes = self.world.nodes
            found, bad = self.memory.check(limit, {*fault.targets[:1], nodes[0], nodes[-1]})
            wrong += bad
            if found["memory_s"] is not None and acted:
                wrong += fault.settled()
            return found
        except (RuntimeError, OSError, LookupError, TypeError) as why:
            wrong.append(f"memory cannot be looked at: {type(why).__name__}: {why}")
            return {"acked_writes": None, "acked_writes_lost": None, "memory_s": None}

    def _deaths(self, begun, begun_wall, over, fault, back):
        """The pairs (observer, whom) of reachable nodes of which one took the other for
        dead, and when a target was, in seconds. `back` seconds after its begin all
        is whole, and from then on nobody is excused."""
        names = {node.id: node.name for node in self.world.nodes if node.id}
        shorts = {key[:8]: name for key, name in names.items()}
        seen = [(at - begun, observer, names.get(whom))
                for at, observer, whom in list(self.watch.evicted) if begun <= at <= over]
        # The looks may miss one that was short; the logs do not.
        seen += [(at - begun_wall, observer, shorts.get(whom))
                 for at, observer, whom in self.world.evictions(begun_wall)]
        deaths, detect = set(), None
        for at, observer, whom in seen:
            late = back is not None and at > back
            if whom is None:
                continue
            if late or not fault.parted(observer, whom):
                deaths.add((observer, whom))
            elif observer not in fault.names:
                detect = at if detect is None else min(detect, at)
        return deaths, detect

    @staticmethod
    def _words(deaths):
        """Who was evicted by whom; many are counted."""
        by, words = {}, lambda names: ", ".join(names) if len(names) < 4 else f"{len(names)} nodes"
        for observer, whom in sorted(deaths):
            by.setdefault(whom, []).append(observer)
        groups = {}
        for whom, observers in by.items():
            groups.setdefault(tuple(observers), []).append(whom)
        return "; ".join(f"{words(whoms)} by {words(observers)}"
                         for observers, whoms in groups.items())

    def _identities(self, ids, runs, fault, targets):
        wrong, crashed = [], {node.name for node in targets} if fault.crashes else set()
        for node in self.world.nodes:
            _, status = self.watch.latest[node.name]
            if status is None or node.name not in runs:
                continue  # said already
            if status["node"] != ids[node.name]:
                wrong.append(f"{node}: another identity")
            grown = status["incarnation"] - runs[node.name]
            if node.name in crashed and grown < 1:
                wrong.append(f"{node}: incarnation {status['incarnation']} as before")
            if node.name not in crashed and grown and not self.options.dud:
                wrong.append(f"{node}: ended and came back, though nothing was done to it")
            if (fall := self.watch.lowest.pop(node.name, None)):
                wrong.append(f"{node}: Lamport time fell: {fall}")
        return wrong
