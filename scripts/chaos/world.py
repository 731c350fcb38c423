"""A mesh that can be broken: its nodes, and what both worlds have in common."""

import concurrent.futures
import datetime
import os
import pathlib
import re
import subprocess
import tempfile

from . import ask
from .net import listens, quiet, reaches, run

# Sixteen nodes, as in docker/compose.yml: the service, its role, the networks it stands on.
SECTORS = ("s1", "s2", "s3")
SMALL_DISK = "s3-lead"
SMALL_DISK_MB = 24


class Missing(Exception):
    """Why a world cannot be made here."""


class Node:
    """One home, and whatever process runs in it now."""

    def __init__(self, world, name, role, sector, home):
        self.world, self.name, self.role, self.sector = world, name, role, sector
        self.home = pathlib.Path(home)
        self.id = None

    @property
    def control(self):
        return self.home / "run/control.sock"

    @property
    def pid(self):
        """The process, or None while none runs."""
        return self.world.pid_of(self)

    def __repr__(self):
        return self.name


def start_of(pid):
    """The start time of a process, so that a number used again is not taken for it; None
    when it is gone or only waits to be buried."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            fields = file.read().rsplit(")", 1)[1].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else int(fields[19])


def state_of(pid):
    """The letter of a process's state: T is stopped. None when it is gone."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rsplit(")", 1)[1].split()[0]
    except OSError:
        return None


def rss_mb(pid):
    try:
        with open(f"/proc/{pid}/status") as file:
            for line in file:
                if line.startswith("VmRSS:"):
                    return int(line.split()[1]) / 1024
    except OSError:
        pass
    return None


class World:
    """What a drill needs of a mesh. The paths of `dir` are short: sockets stand below it."""

    name = "?"
    may_stay = False
    # The file of the namespace in which the bridges are; `-` is the machine's own.
    switch = "-"

    def __init__(self, options, say):
        self.options, self.say = options, say
        self.nodes = []
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="chaos", dir="/tmp"))
        self.undo = []  # run backwards at the end, whatever happened
        self.undo.append(lambda: quiet("rm", "-rf", self.dir))

    def small_disk(self, owner=0):
        """A loop device with a small file system, for the home that will be filled."""
        image = self.dir / "disk.img"
        with open(image, "wb") as file:
            file.truncate(SMALL_DISK_MB << 20)
        run("mkfs.ext4", "-q", "-m", "0", "-E", f"root_owner={owner}:{owner}", image)
        device = run("losetup", "--find", "--show", image).strip()
        self.undo.append(lambda: quiet("losetup", "-d", device))
        return device

    def find(self, text):
        """The nodes of that name, role or sector; all for `all`."""
        if text == "all":
            return list(self.nodes)
        named = [node for node in self.nodes if node.name == text]
        return named or [node for node in self.nodes if text in (node.role, node.sector)]

    @property
    def root(self):
        return next(node for node in self.nodes if node.role == "orchestrator")

    @property
    def backbone(self):
        """How the addresses on it begin: the root stands there alone."""
        return self.addresses_of(self.root)[0].rsplit(".", 1)[0] + "."

    def look_inside(self):
        """What holds of each process here, in a line; raises if it does not. Asked once all
        run."""
        return None

    def look_between(self):
        """That an agent reaches its own sector's lead, and no agent of another sector: in a
        line; raises if that is not so."""
        by_role = {}
        for node in self.nodes:
            by_role.setdefault((node.role, node.sector), node)
        ways = [(by_role["agent", sector], other, *door) for sector in SECTORS
                for other in (by_role["lead", sector],
                              *(by_role["agent", it] for it in SECTORS if it != sector))
                for door in self._doors(other)]
        # What is refused by silence takes its whole time; so all at once.
        with concurrent.futures.ThreadPoolExecutor(len(ways)) as pool:
            reached = pool.map(lambda way: reaches(way[0].pid, *way[2:]), ways)
        for (agent, other, address, port), there in zip(ways, reached):
            if there != (agent.sector == other.sector):
                raise RuntimeError(f"{agent} {'reaches' if there else 'does not reach'} "
                                   f"{other} at {address}:{port}")
        return ("an agent of each sector reaches every port of its own lead, and none of the "
                "other sectors' agents")

    def _doors(self, node):
        found = [(address, port) for address in self.addresses_of(node)
                 for port in listens(node.pid)]
        if not found:
            raise RuntimeError(f"{node} listens nowhere")
        return found

    def close(self):
        """Takes everything away that was made; each step is tried."""
        while self.undo:
            step = self.undo.pop()
            try:
                step()
            except Exception as why:  # the next step shall be tried as well
                self.say(f"clearing up: {why}")

    def verb(self, node, *words):
        """What `chorus WORDS` prints at a node; it must succeed."""
        return run(*self.command(node, *words))

    def enrol_ghost(self):
        """Enrols a member that never runs, so that every node has something to write; its
        name. It is shut out again by `drop_ghost`."""
        name = f"ghost{os.urandom(3).hex()}"
        token = self.verb(self.root, "invite", "--name", name, "--role", "agent",
                          "--sector", "s1", "--cluster", "c1").strip()
        self.join_ghost(token)
        return name

    def drop_ghost(self, name):
        ask.ask(self.root.control, "revoke", 10, node=name, reason="a drill is over")


def image_here(docker, image):
    return bool(docker) and subprocess.run(
        [docker, "image", "inspect", image], stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL).returncode == 0


EVICTED = re.compile(r"(\d{4}-\d\d-\d\dT[\d:.]+)Z .*peer node=([0-9a-f]+) .*to=evicted")


def evictions_in(text, since):
    """(seconds of the epoch, first digits of whom) of each eviction that a log tells of."""
    for line in text.splitlines():
        found = EVICTED.search(line)
        if found:
            at = datetime.datetime.fromisoformat(found[1] + "+00:00").timestamp()
            if at >= since:
                yield at, found[2]
