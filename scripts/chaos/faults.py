"""The faults of processes and lines. Each has `targets`, which it is meant for, and `aimed`, which it is done to:
the same, unless the drill proves itself. What it says of its effect it reads at the targets."""

import contextlib
import os
import random
import signal
import subprocess
import sys
import time

from . import ask, net
from .world import start_of, state_of


class Fault:
    """`begin`, then `seconds` of it, then `proof` and `end`. `crashes`: a target comes back
    as a new run. `reachable`: a target may not be taken for dead meanwhile. `severs`: nothing
    passes between those that are `parted`. `careful`: what only its disk has may be lost."""

    seconds = 0
    crashes = False
    reachable = False
    severs = False
    careful = False
    memory = None  # set where a drill writes memory

    def __init__(self, world, targets, aimed, options):
        self.world, self.targets, self.aimed, self.options = world, targets, aimed, options
        self.names = {node.name for node in targets}
        self.rng = random.Random(options.seed)
        # What `end` undoes, however far `begin` came.
        self.pids, self.done = [], []

    def look(self):
        """Right before its begin: whose processes they are now."""
        self.before = {node.name: (node.pid, start_of(node.pid)) for node in self.targets}

    def begin(self):
        raise NotImplementedError

    def during(self):
        """What is done as soon as it acts."""

    def end(self):
        pass

    def parted(self, one, other):
        """Whether one of these names may take the other for dead meanwhile."""
        return not self.reachable and (one in self.names or other in self.names)

    def proof(self):
        """What shows that it acts on the targets; ValueError says that it does not."""
        raise NotImplementedError

    def after(self):
        """What must hold besides once all is whole: the list of what does not."""
        return []

    def settled(self):
        """The same, of memory, once it is the same everywhere."""
        return []

    def _gone(self, wait=3):
        end = time.monotonic() + wait
        for node in self.targets:
            pid, began = self.before[node.name]
            while start_of(pid) == began:
                if time.monotonic() > end:
                    raise ValueError(f"{node}: process {pid} lives")
                time.sleep(0.02)


class Kill(Fault):
    crashes = True

    def begin(self):
        pids = [node.pid for node in self.aimed]
        for pid in pids:
            os.kill(pid, signal.SIGKILL)

    def proof(self):
        self._gone()
        return f"{len(self.targets)} process(es) gone"


class Stop(Fault):
    crashes = True

    def __init__(self, *words, seconds=5):
        super().__init__(*words)
        self.seconds = seconds

    def begin(self):
        for node in self.aimed:
            self.done.append(node)
            self.world.stop(node)

    def proof(self):
        self._gone()
        back = [node for node in self.targets if node.pid]
        if back:
            raise ValueError(f"{back}: runs although it was stopped")
        return "stopped"

    def end(self):
        for node in self.done:
            self.world.start_again(node)


class Pause(Fault):
    def __init__(self, *words, seconds=10):
        super().__init__(*words)
        self.seconds = seconds

    def begin(self):
        self.pids = [node.pid for node in self.aimed]
        for pid in self.pids:
            os.kill(pid, signal.SIGSTOP)

    def proof(self):
        for node in self.targets:
            pid, began = self.before[node.name]
            if state_of(pid) != "T" or start_of(pid) != began:
                raise ValueError(f"{node}: process {pid} is in state {state_of(pid)}, not T")
        return "state T"

    def end(self):
        for pid in self.pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)


class Drop(Fault):
    """Cuts and losses: rules in the namespace of each."""

    def __init__(self, *words, seconds=30, percent=100, hooks=("input", "output")):
        super().__init__(*words)
        self.seconds, self.percent, self.hooks = seconds, percent, hooks
        self.reachable = percent < 100
        # Of what is cut one way only, something may still arrive.
        self.severs = percent == 100 and len(hooks) == 2

    def doors(self):
        """Where there are rules."""
        return self.targets

    def begin(self):
        self.pids = [node.pid for node in self.aimed]
        for pid in self.pids:
            net.drop(pid, self.hooks, self.percent)

    def proof(self):
        said = []
        for node in self.doors():
            hit, seen = net.dropped(node.pid)
            if not hit:
                raise ValueError(f"{node}: no packet was dropped, of {seen}")
            share = 100 * hit / seen
            far = abs(share - self.percent) > 0.5 * self.percent
            if seen >= 500 and self.percent < 100 and far:
                raise ValueError(f"{node}: {share:.1f} % lost, not {self.percent}")
            said.append((hit, seen))
        hit, seen = (sum(column) for column in zip(*said))
        return f"{hit} of {seen} packets dropped"

    def end(self):
        for pid in self.pids:
            net.heal(pid)


class CutLeg(Drop):
    """Nothing passes on the leg to the backbone; the others go on. All but the target must
    be one mesh again before its end."""

    def __init__(self, *words, seconds=45):
        super().__init__(*words, seconds=seconds)
        self.severs = False
        self.apart = []

    def begin(self):
        prefix = self.world.backbone
        self.pids = [node.pid for node in self.aimed]
        for pid in self.pids:
            net.drop(pid, self.hooks, leg=net.leg_on(pid, prefix))

    def proof(self):
        said = super().proof()
        left = len(self.world.nodes) - len(self.targets)
        for node in self.world.nodes:
            if node not in self.targets:
                status = ask.status(node.control)
                live = status["phase"]["live"] if status else None
                if live != left:
                    self.apart.append(f"{node} sums {live} of {left}")
        return said

    def after(self):
        return [f"not one mesh while the leg was cut: {'; '.join(self.apart[:3])}"] \
            if self.apart else []


class Unplug(Fault):
    """The cable, or the container's network, is taken off."""

    severs = True

    def __init__(self, *words, seconds=10):
        super().__init__(*words)
        self.seconds = seconds

    def begin(self):
        for node in self.aimed:
            self.done.append(node)
            self.world.unplug(node)

    def proof(self):
        plugged = [node for node in self.targets if self.world.is_plugged(node)]
        if plugged:
            raise ValueError(f"{plugged}: still plugged in")
        return "no leg on any bridge"

    def end(self):
        for node in self.done:
            self.world.plug(node)


class Slow(Fault):
    reachable = True

    def __init__(self, *words, seconds=30, ms=100):
        super().__init__(*words)
        self.seconds, self.ms = seconds, ms
        self.cables = None

    def begin(self):
        legs = [leg for node in self.aimed for leg in self.world.legs(node)]
        if not legs:
            return
        self.cables = subprocess.Popen(
            [sys.executable, "-B", os.path.join(os.path.dirname(__file__), "delayer.py"),
             self.world.switch, str(self.ms), *(":".join(leg) for leg in legs)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True)

    def proof(self):
        rtts = []
        for node in self.targets:
            for address in self.world.addresses_of(node):
                other = self._neighbour(node, address)
                answers, rtt = net.ping(other.pid, address)
                if not answers or not 1.8 * self.ms <= rtt * 1e3:
                    took = f"{rtt * 1e3:.1f} ms" if answers else "unanswered"
                    raise ValueError(f"{node}: ping from {other} is {took}, "
                                     f"asked for {2 * self.ms} ms")
                rtts.append(rtt * 1e3)
        if self.cables is None or self.cables.poll() is not None:
            raise ValueError("the delayer does not live")
        return f"ping {min(rtts):.0f} to {max(rtts):.0f} ms"

    def _neighbour(self, node, address):
        """Another one on the same bridge."""
        prefix = address.rsplit(".", 1)[0]
        for other in self.world.nodes:
            if other is not node and any(it.rsplit(".", 1)[0] == prefix
                                         for it in self.world.addresses_of(other)):
                return other
        raise ValueError(f"{node}: nobody else is on its bridge")

    def end(self):
        if self.cables is None:
            return
        lived = self.cables.poll() is None
        self.carried = 0
        try:
            out, _ = self.cables.communicate(timeout=10)
            self.carried = int(out.split()[-1])
        except (subprocess.TimeoutExpired, IndexError, ValueError):
            self.cables.kill()
            lived = False
        self.cables = None
        self.lived = lived and self.carried > 0

    def after(self):
        if not getattr(self, "lived", False):
            return ["the delayer died before its time or carried nothing"]
        return []
