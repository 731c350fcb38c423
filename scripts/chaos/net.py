"""What is done inside a network namespace: rules of nft, and a ping of our own."""

import ctypes
import json
import os
import select
import socket
import struct
import subprocess
import threading
import time

CLONE_NEWNET = 0x40000000
TABLE = "inet chaos"


def run(*words, **more):
    """A command that must succeed; its output."""
    done = subprocess.run([str(word) for word in words], capture_output=True, text=True,
                          stdin=None if "input" in more else subprocess.DEVNULL, **more)
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip())[:500]
        raise RuntimeError(f"{' '.join(map(str, words))}: {said}")
    return done.stdout


def quiet(*words):
    """A command of the clearing up: whether it succeeded."""
    done = subprocess.run([str(word) for word in words], stdin=subprocess.DEVNULL,
                          stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return done.returncode == 0


def enter(path):
    """Moves this thread into the network namespace of that file."""
    libc = ctypes.CDLL(None, use_errno=True)
    with open(path) as space:
        if libc.setns(space.fileno(), CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), f"cannot enter {path}")


def socket_in(pid, *kind):
    """A socket that belongs to the namespace of a process; only a helping thread goes there."""
    made = []

    def make():
        try:
            enter(f"/proc/{pid}/ns/net")
            made.append(socket.socket(*kind))
        except OSError as why:
            made.append(why)

    thread = threading.Thread(target=make)
    thread.start()
    thread.join()
    if isinstance(made[0], Exception):
        raise made[0]
    return made[0]


def ping(pid, address, count=5, timeout=1.0, gap=0.02):
    """Echoes from the namespace of a process: (answers, median round trip in seconds)."""
    took = []
    with socket_in(pid, socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as raw:
        mark = os.urandom(8)
        for number in range(count):
            packet = struct.pack("!BBHHH", 8, 0, 0, 0x4348, number) + mark
            total = sum(struct.unpack(f"!{len(packet) // 2}H", packet))
            total = (total >> 16) + (total & 0xFFFF)
            check = ~(total + (total >> 16)) & 0xFFFF
            packet = packet[:2] + struct.pack("!H", check) + packet[4:]
            begun = time.monotonic()
            try:
                raw.sendto(packet, (address, 0))
            except OSError:
                continue  # no way there
            while (left := begun + timeout - time.monotonic()) > 0:
                if not select.select([raw], [], [], left)[0]:
                    break
                answer = raw.recv(2048)
                body = answer[(answer[0] & 15) * 4:]
                if body[:1] == b"\0" and body[6:] == packet[6:]:
                    took.append(time.monotonic() - begun)
                    break
            time.sleep(gap)
    took.sort()
    return len(took), took[len(took) // 2] if took else None


def listens(pid):
    """TCP ports that are open to others in the namespace of a process."""
    ports = set()
    for table in ("tcp", "tcp6"):
        with open(f"/proc/{pid}/net/{table}") as file:
            for local, state in (line.split()[1:4:2] for line in list(file)[1:]):
                address, port = local.split(":")
                # As the kernel writes them: 0A is LISTEN, and zeros are every interface.
                if state == "0A" and not int(address, 16):
                    ports.add(int(port, 16))
    return sorted(ports)


def reaches(pid, address, port, timeout=2.0):
    """Whether a TCP connection from the namespace of a process stands in time."""
    with socket_in(pid, socket.AF_INET, socket.SOCK_STREAM) as tried:
        tried.settimeout(timeout)
        return tried.connect_ex((address, port)) == 0


def _nft(pid, text):
    run("nsenter", "-t", pid, "-n", "nft", "-f", "-", input=text)


def leg_on(pid, prefix):
    """The interface of a process's namespace whose IPv4 address begins like this."""
    for leg in json.loads(run("nsenter", "-t", pid, "-n", "ip", "-j", "-4", "addr")):
        if any(it["local"].startswith(prefix) for it in leg["addr_info"]):
            return leg["ifname"]
    raise ValueError(f"process {pid} has no leg on {prefix}*")


def drop(pid, hooks, percent=100, leg=None):
    """Drops this share of all that passes these hooks (input, output), except on loopback;
    with a leg of what passes there alone. `hit` counts what was dropped, `seen` what came by."""
    share = "" if percent >= 100 else f"numgen random mod 100 < {percent} "
    passes = f'!= "{leg}"' if leg else '"lo"'
    chains = []
    for hook in hooks:
        side = "iifname" if hook == "input" else "oifname"
        chains.append(
            f"chain {hook} {{ type filter hook {hook} priority 0;\n"
            f"{side} {passes} accept\ncounter name seen\n{share}counter name hit drop\n}}\n")
    _nft(pid, f"table {TABLE} {{\ncounter hit {{ }}\ncounter seen {{ }}\n{''.join(chains)}}}\n")


def heal(pid):
    """Takes the rules away; without any it does nothing."""
    quiet("nsenter", "-t", pid, "-n", "nft", "delete", "table", *TABLE.split())


def dropped(pid):
    """(packets dropped, packets that came by) in the namespace; zeros without our rules."""
    done = subprocess.run(["nsenter", "-t", str(pid), "-n", "nft", "-j", "list", "counters"],
                          capture_output=True, text=True)
    counts = {}
    if done.returncode == 0:
        for item in json.loads(done.stdout or "{}").get("nftables", []):
            counter = item.get("counter", {})
            if counter.get("table") == "chaos":
                counts[counter["name"]] = counter["packets"]
    return counts.get("hit", 0), counts.get("seen", 0)
