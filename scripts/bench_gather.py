#!/usr/bin/env python3
"""One question to many agents that answer at once: how long until the last answer is there.

    bench_gather.py [--agents 1000,3000] [--rounds 60] [--processes 10] [--each]
                    [--chorus BINARY] [SYSTEM...]

SYSTEM is one or some of: nats nats-py zenoh zenoh-pub chorus; all by default. Ten processes host the agents, an equal
part each. The question reaches a process once, and each of its agents answers with a message of
its own; the one that asks is this process, and it counts until all have answered. (A subscription
or a queryable for each agent would be the other way to have agents: `--each`. Zenoh is then five
to eight times as slow, so the kinder way is the default.) The systems take turns, round by round,
so that all meet the same machine.

NATS: `nats-server` from the distribution; `nats` is its text protocol over plain TCP by a loop of
our own, as little as there can be, `nats-py` its client for Python (`pip install nats-py`). Zenoh:
`pip install 'eclipse-zenoh==1.10.*'`, peers that connect to the one that asks; `zenoh` asks
queryables, `zenoh-pub` publishes and hears what is published. A system that is not there is said
to be skipped. Chorus: an operator above the ten, asked over its control socket, with every
frame signed and every link encrypted, which the other two are not; `--chorus` is its binary. To
add another, give it a class like those below and a place in SYSTEMS.

Nothing is asserted: each line says what was measured.
"""

import argparse
import asyncio
import functools
import importlib.util
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time

import bench_mesh

WARM = 5
PATIENCE_S = 20


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def split(agents, processes):
    """How many agents each process hosts."""
    return [agents // processes + (n < agents % processes) for n in range(processes)]


class Hosts:
    """The processes that host the agents; each says a line when it is ready."""

    def __init__(self, system, address, shares, each):
        self.processes = []
        first = 0
        for share in shares:
            words = [sys.executable, __file__, "host", system, address, str(first), str(share),
                     str(int(each))]
            self.processes.append(subprocess.Popen(
                words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True))
            first += share
        for process in self.processes:
            if process.stdout.readline() != "ready\n":
                raise RuntimeError(f"a host of {system} did not start")

    def stop(self):
        for process in self.processes:
            process.stdin.close()  # they end with it
        for process in self.processes:
            process.wait(PATIENCE_S)


class NatsWire:
    """A connection that speaks as much of the NATS protocol as is needed."""

    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port), PATIENCE_S)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.rest = b""
        self.lines(1)  # INFO
        options = {"verbose": False, "pedantic": False, "lang": "python", "version": "0"}
        self.socket.sendall(b"CONNECT " + json.dumps(options).encode() + b"\r\nPING\r\n")
        self.lines(1)  # PONG

    def lines(self, least):
        """At least so many lines, and what else has come."""
        found = []
        while len(found) < least:
            data = self.socket.recv(1 << 18)
            if not data:
                raise EOFError("nats-server is gone")
            *whole, self.rest = (self.rest + data).split(b"\r\n")
            if b"PING" in whole:
                self.socket.sendall(b"PONG\r\n")
            found += [line for line in whole if line != b"PING"]
        return found


class NatsServer:
    """One of the distribution's, on a free port."""

    @staticmethod
    def lacks():
        return None if shutil.which("nats-server") else "nats-server is not installed"

    def __init__(self):
        self.dir = tempfile.TemporaryDirectory()
        self.port = free_port()
        self.server = subprocess.Popen(
            ["nats-server", "-a", "127.0.0.1", "-p", str(self.port)],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            cwd=self.dir.name)
        deadline = time.monotonic() + PATIENCE_S
        while True:
            try:
                NatsWire(self.port).socket.close()
                break
            except OSError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)

    def stop(self):
        self.server.terminate()
        self.server.wait(PATIENCE_S)
        self.dir.cleanup()


class Nats:
    """A server, and processes that subscribe to the question."""

    lacks = NatsServer.lacks

    def __init__(self, agents, processes, each):
        self.agents, self.asked = agents, 0
        self.server = NatsServer()
        self.wire = NatsWire(self.server.port)
        self.wire.socket.sendall(b"SUB inbox.* 1\r\n")
        self.hosts = Hosts("nats", str(self.server.port), split(agents, processes), each)

    def gather(self):
        self.asked += 1
        inbox = b"inbox.%d" % self.asked
        begun = time.perf_counter()
        self.wire.socket.sendall(b"PUB ask %s 4\r\nask?\r\n" % inbox)
        missing, sign = self.agents, b"MSG " + inbox + b" "
        while missing > 0:
            missing -= sum(line.startswith(sign) for line in self.wire.lines(1))
        return time.perf_counter() - begun

    def stop(self):
        self.hosts.stop()
        self.server.stop()


def host_nats(address, first, share, each):
    wire = NatsWire(int(address))
    mine = [b"%d" % (first + n) for n in range(share)]
    subscribed = mine if each else mine[:1]
    lines = [b"SUB ask %s\r\n" % agent for agent in subscribed]
    wire.socket.sendall(b"".join(lines) + b"PING\r\n")
    wire.lines(1)
    wire.socket.settimeout(None)
    say_ready(wire.socket)
    while True:
        answers = []
        for line in wire.lines(1):
            if line.startswith(b"MSG "):
                _, _, agent, inbox, _ = line.split(b" ")
                for agent in [agent] if each else mine:
                    answers.append(b"PUB %s %d\r\n%s\r\n" % (inbox, len(agent), agent))
        wire.socket.sendall(b"".join(answers))


class NatsPy:
    """The same by the client that most would take in Python."""

    @staticmethod
    def lacks():
        there = importlib.util.find_spec("nats")
        return NatsServer.lacks() if there else "nats-py is not installed for this Python"

    def __init__(self, agents, processes, each):
        import nats
        self.agents, self.server = agents, NatsServer()
        self.loop = asyncio.new_event_loop()
        url = f"nats://127.0.0.1:{self.server.port}"
        self.client = self.loop.run_until_complete(nats.connect(url))
        self.hosts = Hosts("nats-py", url, split(agents, processes), each)

    async def ask(self):
        answered, inbox, all_there = 0, self.client.new_inbox(), asyncio.Event()

        async def hear(_message):
            nonlocal answered
            answered += 1
            if answered == self.agents:
                all_there.set()

        subscription = await self.client.subscribe(inbox, cb=hear)
        await self.client.flush()
        begun = time.perf_counter()
        await self.client.publish("ask", b"ask?", reply=inbox)
        await asyncio.wait_for(all_there.wait(), PATIENCE_S)
        spent = time.perf_counter() - begun
        await subscription.unsubscribe()
        return spent

    def gather(self):
        return self.loop.run_until_complete(self.ask())

    def stop(self):
        self.hosts.stop()
        self.loop.run_until_complete(self.client.close())
        self.loop.close()
        self.server.stop()


def host_nats_py(address, first, share, each):
    import nats

    async def serve():
        client = await nats.connect(address)
        mine = [b"%d" % (first + n) for n in range(share)]

        async def answer(agents, message):
            for agent in agents:
                await client.publish(message.reply, agent)

        for agents in [[agent] for agent in mine] if each else [mine]:
            await client.subscribe("ask", cb=functools.partial(answer, agents))
        await client.flush()
        say_ready(True)
        await asyncio.Event().wait()

    asyncio.run(serve())


class Zenoh:
    """Peers, and processes that declare a queryable."""

    @staticmethod
    def lacks():
        there = importlib.util.find_spec("zenoh")
        return None if there else "eclipse-zenoh is not installed for this Python"

    def __init__(self, agents, processes, each):
        import zenoh
        self.zenoh, self.agents = zenoh, agents
        endpoint = f"tcp/127.0.0.1:{free_port()}"
        self.session = zenoh.open(zenoh_config(zenoh, "listen", endpoint))
        self.hosts = Hosts("zenoh", endpoint, split(agents, processes), each)
        deadline = time.monotonic() + PATIENCE_S
        while self.ask() < agents:  # until all queryables have been announced
            if time.monotonic() > deadline:
                raise RuntimeError("not all queryables are found")
            time.sleep(0.2)

    def ask(self):
        replies = self.session.get(
            "ask/*", target=self.zenoh.QueryTarget.ALL,
            consolidation=self.zenoh.ConsolidationMode.NONE, timeout=PATIENCE_S)
        return sum(reply.ok is not None for reply in replies)

    def gather(self):
        begun = time.perf_counter()
        answered = self.ask()
        spent = time.perf_counter() - begun
        if answered != self.agents:
            raise RuntimeError(f"{answered} of {self.agents} answered")
        return spent

    def stop(self):
        self.hosts.stop()
        self.session.close()


def zenoh_config(zenoh, way, endpoint):
    config = zenoh.Config()
    config.insert_json5("mode", '"peer"')
    config.insert_json5("scouting/multicast/enabled", "false")
    config.insert_json5("scouting/gossip/enabled", "false")
    config.insert_json5("listen/endpoints", "[]")
    config.insert_json5(f"{way}/endpoints", json.dumps([endpoint]))
    return config


def host_zenoh(address, first, share, each):
    import zenoh
    session = zenoh.open(zenoh_config(zenoh, "connect", address))
    mine = [(f"ask/{agent}", str(agent)) for agent in range(first, first + share)]

    def answer(query, agents):
        for key, text in agents:
            query.reply(key, text)

    if each:
        for key, text in mine:
            session.declare_queryable(key, lambda query, one=(key, text): answer(query, [one]))
    else:
        session.declare_queryable("ask/*", lambda query: answer(query, mine))
    say_ready(None)
    sys.stdin.read()
    session.close()


class ZenohPub:
    """Peers, and processes that subscribe to the question and publish what they say."""

    lacks = Zenoh.lacks

    def __init__(self, agents, processes, each):
        import zenoh
        self.agents, self.answered, self.all_there = agents, 0, threading.Event()
        endpoint = f"tcp/127.0.0.1:{free_port()}"
        self.session = zenoh.open(zenoh_config(zenoh, "listen", endpoint))
        self.hearing = self.session.declare_subscriber("answers/*", self.hear)
        self.hosts = Hosts("zenoh-pub", endpoint, split(agents, processes), each)
        deadline = time.monotonic() + PATIENCE_S
        while not self.ask(1):  # until all subscriptions have been announced
            if time.monotonic() > deadline:
                raise RuntimeError("not all subscribers are found")

    def hear(self, _sample):
        self.answered += 1
        if self.answered == self.agents:
            self.all_there.set()

    def ask(self, patience_s):
        self.answered = 0
        self.all_there.clear()
        self.session.put("ask", "ask?")
        return self.all_there.wait(patience_s)

    def gather(self):
        begun = time.perf_counter()
        there = self.ask(PATIENCE_S)
        spent = time.perf_counter() - begun
        if not there:
            raise RuntimeError(f"{self.answered} of {self.agents} answered")
        return spent

    def stop(self):
        self.hosts.stop()
        self.session.close()


def host_zenoh_pub(address, first, share, each):
    import zenoh
    session = zenoh.open(zenoh_config(zenoh, "connect", address))
    mine = [(session.declare_publisher(f"answers/{agent}"), str(agent))
            for agent in range(first, first + share)]

    def answer(agents):
        for publisher, text in agents:
            publisher.put(text)

    for agents in [[one] for one in mine] if each else [mine]:
        session.declare_subscriber("ask", lambda _question, its=agents: answer(its))
    say_ready(None)
    sys.stdin.read()
    session.close()


class Chorus:
    """An operator, and ten nodes beneath it that host echoes."""

    binary = None

    @classmethod
    def lacks(cls):
        return None if cls.binary else "no --chorus BINARY is given"

    def __init__(self, agents, processes, _each):
        self.agents = agents
        self.mesh = bench_mesh.Mesh(self.binary).__enter__()
        for n, share in enumerate(split(agents, processes), 1):
            node = self.mesh.enrol(f"h{n}", "coordinator", f"s{n}", f"s{n}")
            with open(os.path.join(node.home, "chorus.toml"), "a") as file:
                file.write('\n[[agent]]\nname = "e"\nkind = "builtin"\nrun = "echo"\n'
                           f"count = {share}\n")
            node.start()
        operator = self.mesh.nodes[0]
        with open(os.path.join(operator.home, "run", "addresses.json")) as file:
            self.control = json.load(file)["control"]
        bench_mesh.wait(lambda: self.known() == agents, 60, "the agents to be known")

    def ask(self, request):
        with socket.socket(socket.AF_UNIX) as control:
            control.settimeout(PATIENCE_S)
            control.connect(self.control)
            control.sendall(json.dumps(request).encode() + b"\n")
            with control.makefile() as lines:
                answers = map(json.loads, lines)
                return next(it for it in answers if "progress" not in it)

    def known(self):
        ask = {"all": False, "capabilities": [], "class": None, "up_to_ms": None, "limit": 1,
               "history": False}
        return self.ask({"do": "agents", "ask": ask}).get("total")

    def gather(self):
        ask = {"question": "ask?", "capabilities": [], "class": None, "sample": None, "tier": None,
               "window_ms": 20_000, "at": "now", "minimum": 1000, "patient": True,
               "only_sent": False, "late_ms": 0, "weight": 1.0, "priority": 2, "verb": "observe"}
        begun = time.perf_counter()
        told = self.ask({"do": "gather", "ask": ask})
        spent = time.perf_counter() - begun
        if told.get("ready") != self.agents:
            raise RuntimeError(f"not all answered: {told}")
        return spent

    def stop(self):
        self.mesh.__exit__()


def say_ready(wire):
    """Says so, and ends the process when whoever started it is gone."""
    print("ready", flush=True)
    if wire is not None:
        threading.Thread(
            target=lambda: (sys.stdin.read(), os._exit(0)), daemon=True).start()


SYSTEMS = {"nats": Nats, "nats-py": NatsPy, "zenoh": Zenoh, "zenoh-pub": ZenohPub,
           "chorus": Chorus}
HOSTS = {"nats": host_nats, "nats-py": host_nats_py, "zenoh": host_zenoh,
         "zenoh-pub": host_zenoh_pub}


def percentile(times, part):
    times = sorted(times)
    return times[round(part * (len(times) - 1) / 100)] * 1e3


def main():
    if sys.argv[1:2] == ["host"]:
        system, address, first, share, each = sys.argv[2:]
        HOSTS[system](address, int(first), int(share), each == "1")
        return
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--agents", default="1000,3000")
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--processes", type=int, default=10)
    parser.add_argument("--each", action="store_true",
                        help="a subscription or a queryable for each agent")
    parser.add_argument("--chorus", metavar="BINARY", help="the binary of Chorus")
    parser.add_argument("systems", nargs="*", metavar="SYSTEM")
    args = parser.parse_args()
    Chorus.binary = args.chorus and os.path.abspath(args.chorus)
    unknown = set(args.systems) - set(SYSTEMS)
    if unknown:
        parser.error(f"unknown: {' '.join(sorted(unknown))}; there is {' '.join(SYSTEMS)}")
    names = []
    for name in args.systems or SYSTEMS:
        why = SYSTEMS[name].lacks()
        if why:
            print(f"gather: {name} skipped: {why}")
        else:
            names.append(name)
    for agents in map(int, args.agents.split(",")):
        running = {name: SYSTEMS[name](agents, args.processes, args.each) for name in names}
        times = {name: [] for name in names}
        for at in range(WARM + args.rounds):
            for name, system in running.items():
                spent = system.gather()
                if at >= WARM:
                    times[name].append(spent)
        for system in running.values():
            system.stop()
        for name in names:
            p50, p95 = (percentile(times[name], part) for part in (50, 95))
            print(f"gather: {agents} answers of {args.processes} processes, {name}: "
                  f"p50 {p50:.1f} ms, p95 {p95:.1f} ms")


if __name__ == "__main__":
    main()
