"""Sixteen processes in network namespaces: a bridge for each sector, and a backbone."""

import json
import os
import pathlib
import shutil
import signal
import subprocess
import threading
import time

from .net import quiet, run
from .world import SECTORS, SMALL_DISK, Node, World, evictions_in


class Namespaces(World):
    name = "namespaces"

    def __init__(self, options, say):
        super().__init__(options, say)
        self.chorus = options.chorus
        self.prefix = self.dir.name
        self.switch = f"/var/run/netns/{self.prefix}-switch"
        self.plans = {}     # name -> the words that start it
        self.processes = {}
        self.held = set()   # names that shall not run now
        self.ports = {}     # name -> [(port on the switch, bridge)]
        self.addresses = {}
        self.lock = threading.RLock()
        self.over = threading.Event()

    def start(self):
        self._ip("netns add", self._space("switch"))
        for bridge in ("backbone", *SECTORS):
            self._ip(f"-n {self._space('switch')} link add {bridge} type bridge")
            self._ip(f"-n {self._space('switch')} link set {bridge} up")
        tokens = self.dir / "i"
        up = tokens / "backbone"
        (self.dir / "l").mkdir()
        for folder in (up, *(tokens / sector for sector in SECTORS)):
            folder.mkdir(parents=True)
        keep = [self._keep(up / f"{s}-{what}", "coordinator", s, s, f"{s}-{what}", "cap=enrol")
                for s in SECTORS for what in ("coordinator", "standby")]
        self._plan("operator", "orchestrator", "ops", [("backbone", "10.88.0.1")],
                   "--mesh=chaos", "--name=operator", *keep)
        for number, s in enumerate(SECTORS, 1):
            leg = lambda last: (s, f"10.88.{number}.{last}")
            own = tokens / s
            self._plan(f"{s}-coordinator", "coordinator", s,
                       [("backbone", f"10.88.0.{number}1"), leg(1)],
                       f"--token={up}/{s}-coordinator",
                       self._keep(own / "lead", "lead", s, "c1", f"{s}-c1-lead"),
                       self._keep(own / "agent", "agent", s, "c1", f"{s}-c1-agent", "uses=1000"))
            self._plan(f"{s}-standby", "coordinator", s,
                       [("backbone", f"10.88.0.{number}2"), leg(2)], f"--token={up}/{s}-standby")
            self._plan(f"{s}-lead", "lead", s, [leg(3)], f"--token={own}/lead")
            for agent in (1, 2):
                self._plan(f"{s}-agent-{agent}", "agent", s, [leg(3 + agent)],
                           f"--token={own}/agent")
        self.undo.append(self._end_all)
        for node in self.nodes:
            self._run(node)
        threading.Thread(target=self._supervise, daemon=True).start()

    def _keep(self, file, role, sector, cluster, name, *more):
        return "--invite=" + ",".join((f"file={file}", f"role={role}", f"sector={sector}",
                                       f"cluster={cluster}", f"name={name}", *more))

    def _space(self, name):
        return f"{self.prefix}-{name}"

    def _ip(self, words, *more):
        run("ip", *words.split(), *more)
        if words == "netns add":
            self.undo.append(lambda: quiet("ip", "netns", "del", more[0]))
            self._ip(f"-n {more[0]} link set lo up")

    def _plan(self, name, role, sector, legs, *words):
        """A namespace with a leg on each of these bridges, and how its node is started."""
        space, switch = self._space(name), self._space("switch")
        self._ip("netns add", space)
        self.ports[name], self.addresses[name] = [], [address for _, address in legs]
        for number, (bridge, address) in enumerate(legs):
            port = f"p{len(self.plans)}x{number}"
            self._ip(f"-n {switch} link add {port} type veth peer name eth{number} netns {space}")
            self._ip(f"-n {switch} link set {port} master {bridge} up")
            self._ip(f"-n {space} addr add {address}/24 dev eth{number}")
            self._ip(f"-n {space} link set eth{number} up")
            self.ports[name].append((port, bridge))
        volume = self.dir / "v" / name
        volume.mkdir(parents=True)
        if name == SMALL_DISK:
            run("mount", self.small_disk(), volume)
            self.undo.append(lambda: quiet("umount", "-l", volume))
        advertise = [f"--advertise={address}" for _, address in legs]
        self.plans[name] = ["ip", "netns", "exec", space, self.chorus,
                            "--dir", str(self.dir / "l" / name), "up", f"--homes={volume}",
                            *advertise, *words]
        self.nodes.append(Node(self, name, role, sector, volume / "1"))

    def _run(self, node):
        with open(self.dir / f"{node.name}.log", "ab") as log:
            self.processes[node.name] = subprocess.Popen(
                self.plans[node.name], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                start_new_session=True)

    def _supervise(self):
        """What ended comes back after a while, as under a restart policy."""
        gone = {}
        while not self.over.wait(0.1):
            with self.lock:
                for node in self.nodes:
                    if node.name in self.held or self.processes[node.name].poll() is None:
                        gone.pop(node.name, None)
                        continue
                    since = gone.setdefault(node.name, time.monotonic())
                    if time.monotonic() - since >= self.options.restart_after:
                        del gone[node.name]
                        self._run(node)

    def pid_of(self, node):
        process = self.processes.get(node.name)
        return process.pid if process and process.poll() is None else None

    def stop(self, node, number=signal.SIGTERM):
        with self.lock:
            self.held.add(node.name)
            process = self.processes[node.name]
        process.send_signal(number)
        process.wait(20)

    def kill(self, node):
        self.stop(node, signal.SIGKILL)

    def start_again(self, node):
        with self.lock:
            self.held.discard(node.name)
            if self.processes[node.name].poll() is not None:
                self._run(node)

    def legs(self, node):
        return self.ports[node.name]

    def unplug(self, node):
        for port, _ in self.ports[node.name]:
            self._ip(f"-n {self._space('switch')} link set {port} down")

    def plug(self, node):
        for port, _ in self.ports[node.name]:
            self._ip(f"-n {self._space('switch')} link set {port} up")

    def is_plugged(self, node):
        text = run("ip", "-n", self._space("switch"), "-j", "link")
        up = {it["ifname"] for it in json.loads(text) if "UP" in it["flags"]}
        return any(port in up for port, _ in self.ports[node.name])

    def addresses_of(self, node):
        return self.addresses[node.name]

    def command(self, node, *words):
        return ("ip", "netns", "exec", self._space(node.name), self.chorus,
                "--dir", self.dir / "l" / node.name, *words)

    def join_ghost(self, token):
        home = self.dir / f"ghost{os.urandom(3).hex()}"
        run("ip", "netns", "exec", self._space("operator"), self.chorus, "--dir", home,
            "join", token, "--listen", "127.0.0.1:0")

    def evictions(self, since):
        """(time, observer, first digits of whom), from the logs."""
        for node in self.nodes:
            text = (self.dir / f"{node.name}.log").read_text(errors="replace")
            for at, whom in evictions_in(text, since):
                yield at, node.name, whom

    def logs(self, folder):
        for log in self.dir.glob("*.log"):
            shutil.copy(log, folder)

    def _end_all(self):
        self.over.set()
        with self.lock:
            self.held.update(self.processes)
            for process in self.processes.values():
                if process.poll() is None:
                    process.send_signal(signal.SIGCONT)
                    process.kill()
            for process in self.processes.values():
                process.wait()


def missing(options):
    """Why there are no namespaces here, or None."""
    if os.geteuid() != 0:
        return "needs root"
    for program in ("ip", "nft", "nsenter"):
        if not shutil.which(program):
            return f"needs {program}"
    if not pathlib.Path(options.chorus or "/nonexistent").exists():
        return "needs the binary: cargo build -p chorus-node, or CHORUS=FILE"
    probe = f"chaosprobe{os.getpid()}"
    if not quiet("ip", "netns", "add", probe):
        return "needs network namespaces (ip netns)"
    works = quiet("ip", "netns", "exec", probe, "nft", "list", "ruleset")
    quiet("ip", "netns", "del", probe)
    return None if works else "needs nftables"
