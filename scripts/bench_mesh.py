#!/usr/bin/env python3
"""Measures real meshes on this machine: every node a process of its own, over loopback.

    bench_mesh.py CHORUS rest                  memory and threads of a node at rest
    bench_mesh.py CHORUS coupling              start of a second node until both are coupled
    bench_mesh.py CHORUS lead SIGN_US VERIFY_US [LEAD AGENT]
                                               a lead of 30 against its signatures alone, and
                                               against what bare libzmq takes (% of a core)
    bench_mesh.py CHORUS many                  136 nodes alive together
    bench_mesh.py CHORUS records               memory of a node with 100,000 records of 200 B, and
                                               after its restart

CHORUS is the binary. Nothing is asserted: each line says what was measured and, in
brackets, the goal. Standard library only.
"""

import json
import os
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time

ANYWHERE = "127.0.0.1:0"


class Node:
    """A node: its home, and its process while it runs."""

    def __init__(self, mesh, name, role, sector, cluster):
        self.mesh, self.name, self.role = mesh, name, role
        self.sector, self.cluster = sector, cluster
        self.home = os.path.join(mesh.dir, name)
        self.process = None

    def start(self):
        """Returns at once; the time of the start, as `time.monotonic` has it."""
        settings = [f"net.listen={ANYWHERE}", "net.advertise=127.0.0.1", "metrics.listen="]
        words = [word for setting in settings for word in ("--set", setting)]
        log = open(self.home + ".log", "ab")
        begun = time.monotonic()
        self.process = subprocess.Popen(
            [self.mesh.chorus, "--dir", self.home, *words, "run"],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=self.mesh.env)
        log.close()
        return begun

    def status(self):
        """`chorus.status/1`, or None while the node does not answer."""
        try:
            with open(os.path.join(self.home, "run", "addresses.json")) as file:
                addresses = json.load(file)
        except (OSError, ValueError):
            return None
        if addresses["pid"] != self.process.pid:
            return None  # of an earlier run
        try:
            with socket.socket(socket.AF_UNIX) as control:
                control.settimeout(5)
                control.connect(addresses["control"])
                control.sendall(b'{"do":"status"}\n')
                with control.makefile() as lines:
                    return json.loads(lines.readline())
        except (OSError, ValueError):
            return None

    def sees(self, count):
        """Whether it sees `count` live nodes, with itself, and sums all their phases."""
        status = self.status()
        if status is None:
            return False
        return status["peers"]["live"] == count - 1 and status["phase"]["live"] == count

    def stop(self):
        """Ends the process, and waits for that."""
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(30)

    def cpu(self):
        """Seconds of CPU that the process has used. Not /proc/PID/stat: it counts in ticks
        of 10 ms, and an agent takes one in a second."""
        used = 0
        for task in os.listdir(f"/proc/{self.process.pid}/task"):
            with open(f"/proc/{self.process.pid}/task/{task}/schedstat") as file:
                used += int(file.read().split()[0])
        return used / 1e9

    def memory(self):
        """Resident MB, the part of it that is not file-backed, threads."""
        with open(f"/proc/{self.process.pid}/status") as file:
            fields = dict(line.split(":", 1) for line in file)
        mb = lambda name: int(fields[name].split()[0]) / 1024
        return mb("VmRSS"), mb("RssAnon"), int(fields["Threads"])


class Mesh:
    """A mesh in a folder of its own; leaving the context ends its nodes."""

    def __init__(self, chorus, **environment):
        self.chorus = chorus
        self.env = {**os.environ, **environment}
        self.dir = tempfile.mkdtemp(prefix="chorus-bench-")
        self.nodes = []

    def __enter__(self):
        operator = self.add("op", "orchestrator", "ops", "ops")
        self.run(operator, "init", "--mesh", "bench", "--name", "op", "--listen", ANYWHERE,
                 "--advertise", "127.0.0.1")
        operator.start()
        wait(operator.status, 20, "the operator to run")
        return self

    def __exit__(self, *_):
        running = [node.process for node in self.nodes if node.process]
        for process in running:
            process.send_signal(signal.SIGTERM)
        for process in running:
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        shutil.rmtree(self.dir, ignore_errors=True)

    def add(self, *seat):
        self.nodes.append(Node(self, *seat))
        return self.nodes[-1]

    def run(self, node, *words):
        done = subprocess.run([self.chorus, "--dir", node.home, *words], env=self.env,
                              stdin=subprocess.DEVNULL, capture_output=True, text=True)
        if done.returncode:
            sys.exit(f"{words[0]} of {node.name}: {done.stderr.strip()}")
        return done.stdout.strip()

    def enrol(self, name, role, sector, cluster):
        """Invites a node and lets it join; it does not run yet."""
        node = self.add(name, role, sector, cluster)
        token = self.run(self.nodes[0], "invite", "--name", name, "--role", role,
                         "--sector", sector, "--cluster", cluster)
        self.run(node, "join", token, "--listen", ANYWHERE, "--advertise", "127.0.0.1")
        return node

    def whole(self):
        """How many of the nodes see all of them."""
        return sum(node.sees(len(self.nodes)) for node in self.nodes)


def wait(condition, seconds, what):
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        if time.monotonic() > deadline:
            sys.exit(f"waited {seconds} s for {what}")
        time.sleep(0.005)
    return value


def spread(values, unit, digits=1):
    low, middle, high = min(values), statistics.median(values), max(values)
    return f"{low:.{digits}f} / {middle:.{digits}f} / {high:.{digits}f} {unit}"


def shares(nodes, seconds):
    """Of each node: the share of one core that it takes, in percent; frames it received a second."""
    def look():
        received = [(node.status() or {"frames": {"received": 0}})["frames"]["received"]
                    for node in nodes]
        return time.monotonic(), [node.cpu() for node in nodes], received
    (begun, cpu, frames) = look()
    time.sleep(seconds)
    (ended, cpu_now, frames_now) = look()
    span = ended - begun
    return ([100 * (b - a) / span for a, b in zip(cpu, cpu_now)],
            [(b - a) / span for a, b in zip(frames, frames_now)])


def rest(chorus):
    for environment in ({}, {"MALLOC_ARENA_MAX": "1"}):
        with Mesh(chorus, **environment) as mesh:
            agent = mesh.enrol("a1", "agent", "s1", "c1")
            agent.start()
            wait(lambda: mesh.whole() == 2, 30, "two nodes to couple")
            (cpu, _) = shares(mesh.nodes, 10)
            said = " ".join(f"{key}={value}" for key, value in environment.items()) or "as it is"
            for node, share in zip(mesh.nodes, cpu):
                (rss, anon, threads) = node.memory()
                print(f"at rest, {said}: {node.role} {rss:.1f} MB resident (16), of it "
                      f"{anon:.1f} MB anonymous; {threads} threads; {share:.2f} % of a core")


def coupling(chorus):
    took = []
    for _ in range(7):
        with Mesh(chorus) as mesh:
            agent = mesh.enrol("a1", "agent", "s1", "c1")
            begun = agent.start()
            wait(lambda: agent.sees(2), 30, "two nodes to couple")
            took.append(1000 * (time.monotonic() - begun))
    print(f"first coupling of a second node, {len(took)} times: min / median / max "
          f"{spread(took, 'ms', 0)} (1000)")


def lead(chorus, sign_us, verify_us, *floors):
    agents = 30
    with Mesh(chorus) as mesh:
        head = mesh.enrol("lead", "lead", "s1", "c1")
        head.start()
        members = [mesh.enrol(f"a{k}", "agent", "s1", "c1") for k in range(agents)]
        for node in members:
            node.start()
        wait(lambda: mesh.whole() == agents + 2, 120, "the cluster to be whole")
        (cpu, frames) = shares([head, *members], 20)
        # A round: everyone signs one frame. Every frame received is checked: of a lead those
        # of its agents and its parent's, of an agent its lead's; and some heartbeats.
        whom = (("lead", cpu[0], frames[0]),
                ("agent (median)", statistics.median(cpu[1:]), statistics.median(frames[1:])))
        for (what, share, received), floor in zip(whom, floors or (None, None)):
            alone = (10 * sign_us + received * verify_us) / 1e4
            print(f"lead of {agents} at 10 Hz: {what} {share:.2f} % of a core; its 10 signatures "
                  f"and {received:.0f} checks a second alone {alone:.2f} %: "
                  f"{share / alone:.2f} x (2)")
            if floor is not None:
                print(f"    bare libzmq takes {floor:.2f} % for these frames, so with the "
                      f"signatures no node is below {(alone + floor) / alone:.2f} x; this one "
                      f"takes {share / (alone + floor):.2f} times that")


def many(chorus):
    sectors, clusters, size = 3, 11, 12
    begun = time.monotonic()
    with Mesh(chorus) as mesh:
        seats = [(f"s{k}", "coordinator", f"s{k}", "ops") for k in range(sectors)]
        for k in range(clusters):
            sector = f"s{k % sectors}"
            seats.append((f"c{k}-lead", "lead", sector, f"c{k}"))
            seats += [(f"c{k}-a{j}", "agent", sector, f"c{k}") for j in range(1, size)]
        for seat in seats:
            mesh.enrol(*seat).start()
        count = len(mesh.nodes)
        print(f"{count} nodes, clusters of {size}: all started after "
              f"{time.monotonic() - begun:.0f} s", flush=True)
        deadline = time.monotonic() + 120
        while (whole := mesh.whole()) < count and time.monotonic() < deadline:
            time.sleep(0.5)
        print(f"{whole} of {count} see all {count} live, "
              f"{time.monotonic() - begun:.0f} s after the first")
        (cpu, _) = shares(mesh.nodes, 20)
        alive = sum(node.process.poll() is None for node in mesh.nodes)
        (rss, anon, threads) = zip(*(node.memory() for node in mesh.nodes))
        print(f"{alive} of {count} processes alive, {mesh.whole()} see all; min / median / max: "
              f"{spread(rss, 'MB')} resident, {spread(anon, 'MB')} of it anonymous, "
              f"{spread(threads, 'threads', 0)}, {spread(cpu, '%', 2)} of a core; "
              f"all together {sum(rss):.0f} MB, {sum(cpu):.0f} % of a core")


def records(chorus):
    count, size = 100_000, 200
    with Mesh(chorus) as mesh:
        node = mesh.nodes[0]
        (rss, _, _) = node.memory()
        lines = os.path.join(mesh.dir, "records.jsonl")
        with open(lines, "w") as file:
            for k in range(count):
                # White space between the parts is not kept: none, so that it is `size` bytes.
                head = f'{{"id":"{k:06}","text":"'
                file.write(head + "x" * (size - len(head) - 2) + '"}\n')
        begun = time.monotonic()
        mesh.run(node, "memory", "import", lines, "--key", "id")
        took = time.monotonic() - begun
        time.sleep(5)
        (full, anon, _) = node.memory()
        print(f"{count} records of {size} bytes: imported in {took:.1f} s; {full:.1f} MB resident "
              f"(80), of it {anon:.1f} MB anonymous; {rss:.1f} MB before")
        node.stop()
        begun = node.start()
        wait(node.status, 60, "the node to run again")
        took = time.monotonic() - begun
        time.sleep(5)
        held = node.status()["memory"]["records"]
        (full, anon, _) = node.memory()
        print(f"    after a restart, which took {took:.1f} s, with {held}: {full:.1f} MB resident "
              f"(80), of it {anon:.1f} MB anonymous")


def main():
    chorus, what, *rest_of = sys.argv[1:]
    {"rest": rest, "coupling": coupling, "lead": lead, "many": many,
     "records": records}[what](
        os.path.abspath(chorus), *map(float, rest_of))


if __name__ == "__main__":
    main()
