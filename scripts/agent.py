#!/usr/bin/env python3
"""A member of a Chorus mesh that hosts one agent, written from protocol/WIRE.md alone.

Joins at the token's door with fresh keys, attaches to its parent, says its phase ten times a
second, answers each question that is for its agent (`Agent.answer`: put yours there), prints
what it hears and verifies as JSON lines, and exits 0 after --seconds (`inf`: never) if that was
at least one frame. A bad token is exit 2, all else that keeps it from going on exit 1, with one
line on stderr. Needs pyzmq, msgpack and PyNaCl.
"""
import argparse, base64, contextlib, hashlib, heapq, itertools, json, math, sys, time
import msgpack, nacl.exceptions, nacl.signing, zmq, zmq.utils.z85 as z85

GOSSIP, LINK, DOOR = b"\0", b"\1", b"\2"

def say(**line): print(json.dumps(line), flush=True)

def sha256(data): return hashlib.sha256(data).digest()

def verifies(key, signed, signature):
    with contextlib.suppress(nacl.exceptions.BadSignatureError, ValueError):
        return bool(nacl.signing.VerifyKey(key).verify(signed, signature))

def read(text):
    # What a token says, and its bytes; nothing if it is none.
    with contextlib.suppress(ValueError, KeyError, TypeError):
        raw = base64.urlsafe_b64decode(text.removeprefix("chorus1.") + "===")
        t, signed = msgpack.unpackb(raw[64:]), b"chorus/token/1\0" + raw[64:]
        if verifies(t["enroller"], signed, raw[:64]) and sha256(t["root"]) == t["mesh"]: return t | {"raw": raw}

class Agent:
    def __init__(self, options, raw, mesh, root, enroller, enroller_curve, doors, **_):
        self.key, self.curve, self.ids = nacl.signing.SigningKey.generate(), zmq.curve_keypair(), itertools.count(1)
        self.id, self.mesh, self.domain = self.key.verify_key.encode(), mesh, b"chorus/frame/1\0" + mesh
        self.options, self.kind = options, {"class": "C", "capabilities": sorted(set(options.capability))}
        # `run` is the parent's. Commands wait as (when, id, command); the first may be under way.
        self.inc, self.lam, self.run, self.again, self.newest, self.waiting = 1, 0, 0, 0, {}, []
        enrol, item = dict(token=raw, curve=z85.decode(self.curve[0])), b"chorus/item/1\0" + mesh
        welcome = self.ask(enroller, enroller_curve, doors[0], Enrol=enrol)["Welcome"]
        # Of the items what is well signed, of the entries those that the root answers for.
        items = [(it[0], it[1:33], msgpack.unpackb(it[97:]), it) for it in welcome["items"]
                 if verifies(it[1:33], item + it[:33] + it[97:], it[33:97])]
        may = {it["node"]: raw for k, by, it, raw in items if k == 3 and by == root}
        entries = {it["node"]: (it, raw) for k, by, it, raw in items if k == 1 and by in {root, *may}}
        places = {by: it["addresses"][0] for k, by, it, _ in items if k == 5 and it["addresses"]}
        (me, mine), posts = entries[self.id], {n: entries[n][0] for n in places if n in entries}
        self.inc, self.place, self.agent = me["floor"] << 32 | 1, me["place"], {"node": self.id, "agent": me["name"]}
        self.parent = min(posts, key=lambda n: (self.rank(**posts[n]), n))
        entry, at, shown = posts[self.parent], places[self.parent], {"items": [mine, *may.values()]}
        # The parent may not have heard of us.
        self.ask(self.parent, entry["curve"], f"{at['host']}:{at['door']}", Introduce=shown)
        self.dealer, self.sub, self.pub = (
            self.socket(kind, entry["curve"], f"{at['host']}:{at[port]}") for kind, port in
            ((zmq.DEALER, "router"), (zmq.SUB, "publisher"), (zmq.PUB, "subscriber")))
        # The empty greeting tells the parent's ROUTER the way back.
        self.dealer.send(b""), self.sub.subscribe(b"hb"), self.sub.subscribe(b"sum")
        say(heard="welcome", name=me["name"], node=self.id.hex(), parent=entry["name"])

    def rank(self, role, place, **_):
        # How soon a node is tried as a parent; 9 is never.
        near = {"lead": 0 if place == self.place else 2, "coordinator": 1, "orchestrator": 3}.get(role, 9)
        return near if place["sector"] == self.place["sector"] or near == 3 else 9

    def answer(self, question):
        # At most 16 KiB, and at once: a node that is silent for longer than a second seems dead.
        return (question if self.options.answer is None else self.options.answer.encode())[:16384]

    def seal(self, channel, msg, to=None, run=None):
        self.lam, to = self.lam + 1, to and {"node": to, "incarnation": run}
        body = msgpack.packb({"from": self.id, "mesh": self.mesh[:8], "inc": self.inc,
                              "lam": self.lam, "to": to, "msg": msg})
        return b"CHRS\x01" + self.key.sign(self.domain + channel + body).signature + body

    def open(self, channel, frame, signer):
        # The body of a frame, if `signer` signed it for this mesh, channel and receiver.
        if frame[:5] == b"CHRS\x01" and verifies(signer, self.domain + channel + frame[69:], frame[5:69]):
            body, me = msgpack.unpackb(frame[69:]), {"node": self.id, "incarnation": self.inc}
            self.lam = max(self.lam, body["lam"]) + 1
            return body if body["to"] in (None, me, me | {"incarnation": None}) else None

    def socket(self, kind, server, host_port):
        socket = zmq.Context.instance().socket(kind)
        socket.linger, socket.maxmsgsize, socket.heartbeat_ivl = 0, 65569, 5000
        socket.curve_publickey, socket.curve_secretkey, socket.curve_serverkey = *self.curve, z85.encode(server)
        socket.connect("tcp://" + host_port)
        return socket

    def ask(self, node, curve, host_port, **msg):
        door = self.socket(zmq.DEALER, curve, host_port)
        door.send(self.seal(DOOR, msg, node))
        body = self.open(DOOR, door.recv() if door.poll(10_000) else b"", node)
        said = body["msg"] if body else "Refused: no authentic answer"
        return sys.exit(f"agent.py: {host_port}: {said}") if "Refused" in said else said

    def hear(self, channel, frame):
        body = self.open(channel, frame, self.parent)
        if not body: return say(refused=len(frame))
        msg, stamp = body["msg"], (body["inc"], body["lam"])
        kind, it = (msg, {}) if isinstance(msg, str) else next(iter(msg.items()))
        # The gate: of state only what is newer counts, of an earlier run nothing.
        if stamp[0] < self.run or channel == GOSSIP and stamp <= self.newest.get(kind, (0, 0)): return
        self.newest[kind], widest = stamp, [it["own"], *it["above"]][-1]["part"] if kind == "Sums" else {}
        if stamp[0] > self.run:  # a session begins: the parent, or this run of it, knows nothing
            self.run, self.applied, self.seq, self.again, self.wait = stamp[0], 0, 1, 0, 0.25
            self.deliver(0, Have={"nodes": [1], "kinds": [[self.kind, {"many": 1, "leads": [[10, 1]]}]]})
        if kind == "Probe" and it["target"] == self.id:
            self.tell("hb", Alive=dict(node=self.id, stamp=None, nonce=it["nonce"]))
        elif kind == "Echo": self.link(Echoed=dict(sent_us=it["sent_us"], hold_us=0))
        elif kind == "Deliver":  # in order, once, and acknowledged whatever it says
            fresh, order = it["seq"] == self.applied + 1, "Operation" in it["command"] and it["command"]["Operation"]
            self.applied += fresh
            if fresh and order and "Ask" in order: self.asked(**order["Ask"])
            self.link(Delivered=dict(session=stamp[0], seq=self.applied))
        elif kind == "Delivered" and (it["session"], it["seq"]) == (self.inc, self.seq):
            _, self.seq, self.again, self.wait = heapq.heappop(self.waiting), self.seq + 1, 0, 0.25
        say(heard=kind, incarnation=stamp[0], lam=stamp[1], **widest)

    def asked(self, operation, select, request, arrive_us=None, **_):
        at, tier = time.monotonic() + (arrive_us or 0) / 1e6, select.get("tier")
        able = not tier and set(select["capabilities"]) <= set(self.kind["capabilities"])
        meant = able and select.get("class") in (None, "C") and select.get("agent") in (None, self.agent)
        ready = meant and sha256(request["question"]) == request["hash"]
        # Where a tier is asked it is this node that is meant: it is there, and has no answer.
        groups = [] if tier == 0 or not ready else [dict(answer=self.answer(request["question"]), many=1, one=self.agent)]
        part = dict(ready=int(ready), conflict=0, lost=meant - ready, skipped=0)
        # All of it each time, so that who asks again is told again; and not before T.
        self.deliver(at, Said=dict(operation=operation, expected=int(meant), part=part, arrivals=None,
                     answers=dict(groups=groups, left_out=0), unready=dict(named=[], more=meant - ready)))

    def deliver(self, at, **order): heapq.heappush(self.waiting, (at, next(self.ids), {"Operation": order}))

    def link(self, **msg):  # what is lost while the parent is away is said again
        if self.dealer.poll(0, zmq.POLLOUT): self.dealer.send(self.seal(LINK, msg, self.parent, self.run))

    def tell(self, topic, **msg): self.pub.send_multipart([topic.encode(), self.seal(GOSSIP, msg)])

    def live(self):
        begun, tick, topic = time.monotonic(), 0, "phase/{sector}/{cluster}".format(**self.place)
        while (now := time.monotonic()) < begun + self.options.seconds:
            if now >= begun + tick / 10:
                self.tell(topic, Phase=dict(place=self.place, theta=now % 1 * math.tau, omega=math.tau, age_us=0))
                if tick % 50 == 0 or tick in (3, 6, 10, 20):
                    self.tell("hb", Heartbeat=dict(items=0, digest=bytes(32), parent=self.parent, late_us=0))
                tick += 1
            # One command at a time is under way, again and again until it has arrived.
            at, number, command = self.waiting[0] if self.waiting else (math.inf, 0, None)
            if now >= max(at, self.again):
                self.link(Deliver=dict(seq=self.seq, id=number, command=command))
                self.again, self.wait = now + self.wait, min(2 * self.wait, 4)
            due = min(max(at, self.again), begun + tick / 10)
            for socket in zmq.select([self.dealer, self.sub], [], [], max(0, due - now))[0]:
                self.hear(LINK if socket is self.dealer else GOSSIP, socket.recv_multipart()[-1])
        return 0 if self.newest else 1

parser = argparse.ArgumentParser(description="a member of a Chorus mesh that hosts an agent")
parser.add_argument("token"), parser.add_argument("--seconds", type=float, default=10)
parser.add_argument("--answer"), parser.add_argument("--capability", action="append", default=[])
options = parser.parse_args()
token = read(options.token) or parser.exit(2, "agent.py: this is no token, or a damaged one\n")
sys.excepthook = lambda kind, why, trace: print(f"agent.py: {why!r}", file=sys.stderr)
sys.exit(Agent(options, **token).live())
