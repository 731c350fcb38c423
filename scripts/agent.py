#!/usr/bin/env python3
"""A member of a Chorus mesh, written from protocol/WIRE.md alone.

Joins at the token's door with fresh keys, attaches to its parent, says its phase ten times a
second, prints what it hears and verifies as JSON lines, and exits 0 after --seconds if that
was at least one frame. A bad token is exit 2, all else that keeps it from going on exit 1,
with one line on stderr. Needs pyzmq, msgpack and PyNaCl.
"""
import argparse, base64, contextlib, hashlib, json, math, sys, time
import msgpack, nacl.exceptions, nacl.signing, zmq, zmq.utils.z85 as z85

GOSSIP, LINK, DOOR = 0, 1, 2

def say(**line):
    print(json.dumps(line), flush=True)

def verifies(key, signed, signature):
    with contextlib.suppress(nacl.exceptions.BadSignatureError, ValueError):
        return bool(nacl.signing.VerifyKey(key).verify(signed, signature))

class Agent:
    def __init__(self, text):
        sound = False
        with contextlib.suppress(ValueError, KeyError, TypeError):
            raw = base64.urlsafe_b64decode(text.removeprefix("chorus1.") + "===")
            self.token = t = msgpack.unpackb(raw[64:])
            sound = verifies(t["enroller"], b"chorus/token/1\0" + raw[64:], raw[:64])
        if not sound or hashlib.sha256(t["root"]).digest() != t["mesh"]:
            print("agent.py: this is no token, or it was cut or altered", file=sys.stderr)
            sys.exit(2)
        self.key, self.mesh = nacl.signing.SigningKey.generate(), t["mesh"]
        self.id, self.curve = self.key.verify_key.encode(), zmq.curve_keypair()
        self.inc, self.lam, self.verified, self.applied, self.newest = 1, 0, 0, 0, {}
        enrol = {"Enrol": {"token": raw, "curve": z85.decode(self.curve[0])}}
        self.join(self.ask(t["enroller"], t["enroller_curve"], t["doors"][0], enrol))

    def seal(self, channel, msg, to=None):
        self.lam += 1
        body = msgpack.packb({"from": self.id, "mesh": self.mesh[:8], "inc": self.inc,
                              "lam": self.lam, "to": to and {"node": to}, "msg": msg})
        signed = b"chorus/frame/1\0" + self.mesh + bytes([channel]) + body
        return b"CHRS\x01" + self.key.sign(signed).signature + body

    def open(self, channel, frame, signer):
        # The body of a frame, if `signer` signed it for this mesh, channel and receiver.
        signed = b"chorus/frame/1\0" + self.mesh + bytes([channel]) + frame[69:]
        if frame[:5] == b"CHRS\x01" and verifies(signer, signed, frame[5:69]):
            body, me = msgpack.unpackb(frame[69:]), {"node": self.id, "incarnation": self.inc}
            if body["to"] in (None, me, me | {"incarnation": None}):
                self.lam, self.verified = max(self.lam, body["lam"]) + 1, self.verified + 1
                return body

    def socket(self, kind, server, host_port):
        socket = zmq.Context.instance().socket(kind)
        socket.linger, socket.maxmsgsize, socket.heartbeat_ivl = 0, 65569, 5000
        socket.curve_serverkey = z85.encode(server)
        socket.curve_publickey, socket.curve_secretkey = self.curve
        socket.connect("tcp://" + host_port)
        return socket

    def ask(self, node, curve, host_port, msg):
        door = self.socket(zmq.DEALER, curve, host_port)
        door.send(self.seal(DOOR, msg, node))
        body = self.open(DOOR, door.recv() if door.poll(10_000) else b"", node)
        if not body or "Refused" in body["msg"]:
            sys.exit(f"agent.py: {host_port}: {body['msg'] if body else 'no authentic answer'}")
        return body["msg"]

    def join(self, welcome):
        root, by_kind = self.token["root"], {1: [], 3: [], 5: []}
        for item in welcome["Welcome"]["items"]:
            signed = b"chorus/item/1\0" + self.mesh + item[:33] + item[97:]
            if verifies(item[1:33], signed, item[33:97]) and item[0] in by_kind:
                by_kind[item[0]].append((item[1:33], msgpack.unpackb(item[97:]), item))
        granted = {it["node"]: item for by, it, item in by_kind[3] if by == root}
        entries = {it["node"]: (it, item) for by, it, item in by_kind[1] if by in {root, *granted}}
        places = {by: it["addresses"][0] for by, it, _ in by_kind[5] if it["addresses"]}
        self.me, mine = entries[self.id]
        self.inc = self.me["floor"] << 32 | 1
        self.parent = min(places.keys() & entries, key=lambda n: (self.rank(entries[n][0]), n))
        entry, at = entries[self.parent][0], places[self.parent]
        if self.parent != self.token["enroller"]:  # it may not have heard of us
            introduce = {"Introduce": {"items": [mine, *granted.values()]}}
            self.ask(self.parent, entry["curve"], f"{at['host']}:{at['door']}", introduce)
        self.dealer, self.sub, self.pub = (
            self.socket(kind, entry["curve"], f"{at['host']}:{at[port]}") for kind, port in
            ((zmq.DEALER, "router"), (zmq.SUB, "publisher"), (zmq.PUB, "subscriber")))
        # The empty greeting tells the parent's ROUTER the way back.
        self.dealer.send(b""), self.sub.subscribe(b"hb"), self.sub.subscribe(b"sum")
        say(heard="welcome", name=self.me["name"], node=self.id.hex(), parent=entry["name"])

    def rank(self, entry):
        # How soon a node is tried as a parent; 9 is never.
        role, mine, theirs = entry["role"], self.me["place"], entry["place"]
        near = {"lead": 0 if mine == theirs else 2, "coordinator": 1, "orchestrator": 3}
        return near.get(role, 9) if mine["sector"] == theirs["sector"] or near.get(role) == 3 else 9

    def hear(self, channel, frame):
        body = self.open(channel, frame, self.parent)
        if not body:
            return say(refused=len(frame))
        msg, stamp = body["msg"], (body["inc"], body["lam"])
        kind, it = (msg, {}) if isinstance(msg, str) else next(iter(msg.items()))
        if stamp <= self.newest.get(kind, (0, 0)):  # the gate: only what is newer counts
            return
        self.newest[kind] = stamp
        if kind == "Probe" and it["target"] == self.id:
            self.tell(b"hb", {"Alive": {"node": self.id, "stamp": None, "nonce": it["nonce"]}})
        elif kind == "Echo":
            self.reply({"Echoed": {"sent_us": it["sent_us"], "hold_us": 0}})
        elif kind == "Deliver":  # whatever it says: in order, once, and acknowledged
            self.applied += it["seq"] == self.applied + 1
            self.reply({"Delivered": {"session": body["inc"], "seq": self.applied}})
        widest = ([it["own"]] + it["above"])[-1]["part"] if kind == "Sums" else {}
        say(heard=kind, incarnation=stamp[0], lam=stamp[1], **widest)

    def tell(self, topic, msg):
        self.pub.send_multipart([topic, self.seal(GOSSIP, msg)])

    def reply(self, msg):
        self.dealer.send(self.seal(LINK, msg, self.parent))

    def run(self, seconds):
        place, begun, tick, omega = self.me["place"], time.monotonic(), 0, 2 * math.pi
        topic = f"phase/{place['sector']}/{place['cluster']}".encode()
        beat = {"Heartbeat": dict(items=0, digest=bytes(32), parent=self.parent, late_us=0)}
        while (now := time.monotonic() - begun) < seconds:
            for socket, channel in ((self.dealer, LINK), (self.sub, GOSSIP)):
                while socket.poll(10):
                    self.hear(channel, socket.recv_multipart()[-1])
            if now >= tick * 0.1:
                phase = {"place": place, "theta": now % 1 * omega, "omega": omega, "age_us": 0}
                self.tell(topic, {"Phase": phase})
                if tick % 50 == 0 or tick in (3, 6, 10, 20):
                    self.tell(b"hb", beat)
                tick += 1
        return 0 if self.verified > 1 else 1  # the welcome alone does not count

if __name__ == "__main__":
    arguments = argparse.ArgumentParser(description="a member of a Chorus mesh")
    arguments.add_argument("token"), arguments.add_argument("--seconds", type=float, default=10)
    chosen = arguments.parse_args()
    try:
        sys.exit(Agent(chosen.token).run(chosen.seconds))
    except (Exception, KeyboardInterrupt) as why:
        sys.exit(f"agent.py: {why!r}")
