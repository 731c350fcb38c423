"""The sixteen containers of docker/compose.yml, under a project of their own."""

import json
import os
import pathlib
import shutil
import subprocess
import threading
import time

from .net import quiet, run
from .world import SECTORS, SMALL_DISK, Node, World, evictions_in, image_here, start_of

OWNER = 65532
HOMES = "/var/lib/chorus/"


class Compose(World):
    name = "compose"
    may_stay = True

    def __init__(self, options, say):
        super().__init__(options, say)
        self.docker = options.docker
        self.project = self.dir.name.lower()
        self.lock = threading.Lock()
        self.places = {}     # name of a node -> (container, pid, start of that process)
        self.resolved = 0.0
        self.unplugged = {}

    def _compose(self, *words):
        # Version 1.29 reads JSON as YAML, and its own client is slow but only used here.
        run(*compose_command(self.docker), "-p", self.project,
            "-f", self.options.repo / "docker/compose.yml", "-f", self.dir / "override.json",
            *(("-f", self.options.override) if self.options.override else ()),
            *words, env={**os.environ, "CHORUS_IMAGE": self.options.image, "CHORUS_MESH": "chaos"})

    def start(self):
        device = self.small_disk(OWNER)
        override = {"volumes": {SMALL_DISK: {
            "driver_opts": {"type": "ext4", "device": device, "o": ""}}}}
        (self.dir / "override.json").write_text(json.dumps(override))
        self.undo.append(self._down)
        size = run(self.docker, "image", "inspect", "--format", "{{.Size}}", self.options.image)
        begun = time.monotonic()
        self._compose("up", "-d")
        self.say(f"image {self.options.image}: {int(size) / 1e6:.1f} MB; "
                 f"up -d: {time.monotonic() - begun:.1f} s")
        self._add("operator", "orchestrator", "ops", 1, "operator")
        for s in SECTORS:
            for what, role in (("coordinator", "coordinator"), ("standby", "coordinator"),
                               ("lead", "lead")):
                self._add(f"{s}-{what}", role, s, 1, f"{s}-{what}")
            for number in (1, 2):
                self._add(f"{s}-agent", "agent", s, number, f"{s}-agent-{number}")

    def look_inside(self):
        for it in self._inspect():
            name, host, pid = it["Name"], it["HostConfig"], it["State"]["Pid"]
            # Once what was asked for, and once what the kernel says of the process.
            asked = {"user": it["Config"]["User"] not in ("", "0", "root"),
                     "read-only root": host["ReadonlyRootfs"],
                     "no capabilities": host["CapDrop"] == ["ALL"] and not host["CapAdd"],
                     "no new privileges": "no-new-privileges:true" in host["SecurityOpt"],
                     "nothing published": not host["PortBindings"]}
            with open(f"/proc/{pid}/status") as file:
                fields = dict(line.rstrip().split(":\t", 1) for line in file if ":\t" in line)
            with open(f"/proc/{pid}/mountinfo") as file:
                root = next(line.split() for line in file if line.split()[4] == "/")
            seen = {"runs as another than root": "0" not in fields["Uid"].split(),
                    "capabilities are empty": not any(int(fields[key], 16) for key in
                                                      ("CapEff", "CapPrm", "CapBnd", "CapAmb")),
                    "gains no privileges": fields["NoNewPrivs"] == "1",
                    "cannot write its root": "ro" in root[5].split(",")}
            lacks = [what for what, holds in {**asked, **seen}.items() if not holds]
            if lacks:
                raise RuntimeError(f"{name} is not so: {', '.join(lacks)}")
        return ("each container, by docker inspect and by /proc: not root, read-only root, no "
                "capabilities, no new privileges, nothing published")

    def _add(self, service, role, sector, number, name):
        text = run(self.docker, "volume", "inspect", f"{self.project}_{service}",
                   "--format", "{{.Mountpoint}}")
        node = Node(self, name, role, sector, pathlib.Path(text.strip()) / str(number))
        node.service = service
        self.nodes.append(node)

    def _down(self):
        label = f"label=com.docker.compose.project={self.project}"
        for what, flags, remove in (("ps", ["-aq"], ["rm", "-f", "-v"]),
                                    ("network", ["-q"], ["network", "rm"]),
                                    ("volume", ["-q"], ["volume", "rm", "-f"])):
            listing = [what] if what == "ps" else [what, "ls"]
            found = run(self.docker, *listing, *flags, "--filter", label).split()
            if found:
                run(self.docker, *remove, *found)

    def _inspect(self):
        found = run(self.docker, "ps", "-aq", "--filter",
                    f"label=com.docker.compose.project={self.project}").split()
        return json.loads(run(self.docker, "inspect", *found)) if found else []

    def _resolve(self):
        """Which container has which home, and its process: after a restart two replicas
        may have changed homes. At most once a second."""
        with self.lock:
            if time.monotonic() - self.resolved < 1:
                return
            by_place = {(node.service, node.home.name): node for node in self.nodes}
            for it in self._inspect():
                pid = it["State"]["Pid"]
                try:
                    home = os.readlink(f"/proc/{pid}/root/run/chorus/home")
                except OSError:
                    continue  # not running, or not so far yet
                service = it["Config"]["Labels"]["com.docker.compose.service"]
                node = by_place.get((service, home.removeprefix(HOMES)))
                began = start_of(pid)
                if node and began is not None:
                    self.places[node.name] = (it["Id"], pid, began)
            self.resolved = time.monotonic()

    def pid_of(self, node):
        for _ in range(2):
            _, pid, began = self.places.get(node.name, (None, 0, -1))
            if start_of(pid) == began:
                return pid
            self._resolve()
        return None

    def container(self, node):
        node.pid  # looks anew if it is gone
        return self.places[node.name][0]

    def stop(self, node):
        run(self.docker, "stop", "-t", "20", self.container(node))

    def kill(self, node):
        # Unlike the signal alone it is an order: the restart policy leaves it.
        run(self.docker, "kill", self.container(node))

    def start_again(self, node):
        run(self.docker, "start", self.places[node.name][0])

    def _networks(self, node):
        text = run(self.docker, "inspect", "--format", "{{json .NetworkSettings.Networks}}",
                   self.container(node))
        return json.loads(text)

    def addresses_of(self, node):
        return [it["IPAddress"] for it in self._networks(node).values() if it["IPAddress"]]

    def legs(self, node):
        """The machine's end of each leg, and the bridge that it is in."""
        text = run("nsenter", "-t", node.pid, "-n", "ip", "-j", "link")
        wanted = {it["link_index"] for it in json.loads(text) if "link_index" in it}
        legs = []
        for device in pathlib.Path("/sys/class/net").iterdir():
            if int((device / "ifindex").read_text()) in wanted and (device / "master").exists():
                legs.append((device.name, os.path.basename(os.readlink(device / "master"))))
        return legs

    def unplug(self, node):
        container = self.container(node)
        self.unplugged[node.name] = container, self._networks(node)
        for network in self.unplugged[node.name][1]:
            run(self.docker, "network", "disconnect", network, container)

    def plug(self, node):
        container, networks = self.unplugged.pop(node.name)
        for network, it in networks.items():
            aliases = [word for alias in it["Aliases"] or [] for word in ("--alias", alias)]
            # Its address may be another then: Docker gives a fixed one only on networks whose
            # range somebody chose. The others find it by its name.
            run(self.docker, "network", "connect", *aliases, network, container)

    def is_plugged(self, node):
        text = run("nsenter", "-t", node.pid, "-n", "ip", "-j", "link")
        return any(it.get("ifname", "lo") != "lo" for it in json.loads(text))

    def command(self, node, *words):
        return (self.docker, "exec", self.container(node), "/chorus", *words)

    def join_ghost(self, token):
        run(self.docker, "exec", self.container(self.root), "/chorus",
            "--dir", f"/run/chorus/ghost{os.urandom(3).hex()}", "join", token,
            "--listen", "127.0.0.1:0")

    def _log(self, container, *words):
        done = subprocess.run([self.docker, "logs", *words, container], text=True,
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, errors="replace")
        return done.stdout

    def evictions(self, since):
        """(time, observer, first digits of whom), from the logs."""
        for node in self.nodes:
            if node.name not in self.places:
                continue
            text = self._log(self.container(node), "--since", f"{since:.3f}")
            for at, whom in evictions_in(text, since):
                yield at, node.name, whom

    def logs(self, folder):
        for it in self._inspect():
            name = it["Name"].lstrip("/").removeprefix(self.project + "_")
            (folder / f"{name}.log").write_text(self._log(it["Id"]))


def compose_command(docker):
    """The compose that is here: 1.29 as a program, or 2 as a part of the client."""
    if quiet(docker, "compose", "version"):
        return [docker, "compose"]
    return ["docker-compose"] if shutil.which("docker-compose") else None


def missing(options):
    """Why there are no containers here, or None."""
    if os.geteuid() != 0:
        return "needs root"
    if not options.docker:
        return "needs a Docker engine"
    if not image_here(options.docker, options.image):
        return f"needs the image {options.image}: scripts/image.sh"
    if compose_command(options.docker) is None:
        return "needs docker-compose"
    return None
