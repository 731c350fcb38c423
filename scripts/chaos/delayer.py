"""A slow cable: carries each frame of a leg over when its time has come.

    delayer.py SPACE MILLISECONDS VETH:BRIDGE...

Neither `tc netem` nor NFQUEUE is in every kernel. So the switch's end of a leg (VETH) is
taken out of its bridge, and a TAP takes its place there; frames go between a packet socket
on the one and the TAP, both with the header that says what the hardware is left to do
(checksums, segments). SPACE is the file of the network namespace, or `-`. It prints the
frames carried so far, once a second, and undoes all when its input ends.
"""

import collections
import fcntl
import os
import selectors
import socket
import struct
import subprocess
import sys
import time

ETH_P_ALL = 3
SOL_PACKET, PACKET_IGNORE_OUTGOING, PACKET_VNET_HDR = 263, 23, 15
TUNSETIFF = 0x400454CA
IFF_TAP, IFF_NO_PI, IFF_VNET_HDR = 0x0002, 0x1000, 0x4000
FRAME_BYTES_MAX = 70_000
FRAMES_MAX = 4096


def tap(name):
    end = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(end, TUNSETIFF,
                struct.pack("16sH22x", name.encode(), IFF_TAP | IFF_NO_PI | IFF_VNET_HDR))
    return end


def packets(device):
    end = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    end.setsockopt(SOL_PACKET, PACKET_VNET_HDR, 1)
    end.setsockopt(SOL_PACKET, PACKET_IGNORE_OUTGOING, 1)
    end.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 << 20)
    end.bind((device, ETH_P_ALL))
    end.setblocking(False)
    return end.detach()


def ip(*words):
    subprocess.run(["ip", "link", "set", *words], check=True, stdin=subprocess.DEVNULL)


def carry(cables, seconds):
    """Until the input ends. Frames keep their order; what an end cannot take is lost, as
    on a real cable."""
    ways = {}
    look = selectors.DefaultSelector()
    for a, b in cables:
        ways[a], ways[b] = (b, collections.deque()), (a, collections.deque())
        look.register(a, selectors.EVENT_READ)
        look.register(b, selectors.EVENT_READ)
    look.register(0, selectors.EVENT_READ)
    carried, say = 0, 0.0
    while True:
        now = time.monotonic()
        wait = 0.5
        for to, queue in ways.values():
            while queue and queue[0][0] <= now:
                try:
                    os.write(to, queue.popleft()[1])
                    carried += 1
                except OSError:
                    pass
            if queue:
                wait = min(wait, queue[0][0] - now)
        if now >= say:
            print(carried, flush=True)
            say = now + 1
        for key, _ in look.select(wait):
            if key.fd == 0:
                if not os.read(0, 64):
                    return
                continue
            _, queue = ways[key.fd]
            try:
                while len(queue) < FRAMES_MAX:
                    frame = os.read(key.fd, FRAME_BYTES_MAX)
                    queue.append((time.monotonic() + seconds, frame))
            except OSError:
                pass  # nothing more, or it went with its namespace


def main():
    space, ms, *legs = sys.argv[1:]
    if space != "-":
        from net import enter
        enter(space)
    legs = [leg.split(":") for leg in legs]
    cables = []
    try:
        for number, (veth, bridge) in enumerate(legs):
            name = f"cx{os.getpid() % 10_000_000}x{number}"
            cables.append((packets(veth), tap(name)))
            ip(veth, "nomaster")
            ip(name, "master", bridge, "up")
        carry(cables, float(ms) / 1e3)
    finally:
        for veth, bridge in legs:
            # The leg may have gone with its node.
            subprocess.run(["ip", "link", "set", veth, "master", bridge],
                           stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


if __name__ == "__main__":
    main()
