"""A node's control socket: one JSON line out, JSON lines back, the last `{"end":true}`."""

import json
import socket


def ask(path, what, timeout=3.0, **more):
    """The lines of the answer, or None while the node does not answer."""
    try:
        with socket.socket(socket.AF_UNIX) as control:
            control.settimeout(timeout)
            control.connect(str(path))
            control.sendall(json.dumps({"do": what, **more}).encode() + b"\n")
            with control.makefile("rb") as lines:
                answer = [json.loads(line) for line in lines]
    except (OSError, ValueError):
        return None
    if not answer or answer[-1] != {"end": True}:
        return None
    return answer[:-1]


def status(path, timeout=3.0):
    """`chorus.status/1`, or None."""
    answer = ask(path, "status", timeout)
    return answer[0] if answer else None


def peers(path, timeout=3.0):
    """The rows of `chorus.peers/1`, or None."""
    answer = ask(path, "peers", timeout)
    return None if answer is None else [row for line in answer for row in line["peers"]]


def counters(path):
    """The counters of the node's health, or nothing."""
    answer = ask(path, "health")
    return answer[0]["counters"] if answer else {}
