"""Two network namespaces and a wire between them on which every packet takes a while.

    python benchmarks/long_wire.py NAME MS     # makes NAME-here and NAME-there, until its input ends

What `tc netem` does in the kernel, for machines whose kernel lacks it: a TUN device in each namespace, and this process
in between. Handshakes and TCP's slow start cost what they cost on a real line. Needs root, `ip` and /dev/net/tun.
"""

from __future__ import annotations

import fcntl
import os
import select
import struct
import subprocess
import sys
import time
from collections import deque

HERE, THERE = "10.77.0.1", "10.77.0.2"

_TUNSETIFF = 0x400454CA
_IFF_TUN_NO_PI = 0x1001
_PACKET = 65536
_BURST = 64  # packets taken in one go from one side before the other has its turn


def ip(*words: str) -> None:
    """Run `ip`."""
    subprocess.run(["ip", *words], check=True, capture_output=True)


def attach(space: str, address: str, peer: str) -> int:
    """Make a namespace with one end of the wire in it; return what its packets are read from and written to."""
    ip("netns", "add", space)
    device = space[-15:].lstrip("-")
    wire = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(wire, _TUNSETIFF, struct.pack("16sH22x", device.encode(), _IFF_TUN_NO_PI))
    ip("link", "set", device, "netns", space)
    ip("-n", space, "addr", "add", address, "peer", peer, "dev", device)
    ip("-n", space, "link", "set", device, "up", "txqueuelen", "10000")
    ip("-n", space, "link", "set", "lo", "up")
    return wire


def carry(wires: tuple[int, int], delay: float) -> None:
    """Pass packets on, each `delay` seconds after it came, until the input ends."""
    under_way: dict[int, deque[tuple[float, bytes]]] = {wire: deque() for wire in wires}
    other = dict(zip(wires, reversed(wires), strict=True))
    while True:
        due = min((queue[0][0] for queue in under_way.values() if queue), default=None)
        wait = None if due is None else max(0.0, due - time.monotonic())
        ready, _, _ = select.select([*wires, sys.stdin], [], [], wait)
        if sys.stdin in ready:
            return
        for wire in wires:
            if wire in ready:
                _take(wire, under_way[other[wire]], delay)
            queue = under_way[wire]
            while queue and queue[0][0] <= time.monotonic():
                os.write(wire, queue.popleft()[1])


def _take(wire: int, queue: deque[tuple[float, bytes]], delay: float) -> None:
    try:
        for _ in range(_BURST):
            queue.append((time.monotonic() + delay, os.read(wire, _PACKET)))
    except BlockingIOError:
        pass


def main() -> None:
    """Make the namespaces, say so, carry packets, take the namespaces away."""
    name, delay = sys.argv[1], float(sys.argv[2]) / 1000
    ends = ((f"{name}-here", HERE, THERE), (f"{name}-there", THERE, HERE))
    try:
        here, there = (attach(*end) for end in ends)
        print("up", flush=True)
        carry((here, there), delay)
    finally:
        for space, _, _ in ends:
            subprocess.run(["ip", "netns", "delete", space], check=False, capture_output=True)


if __name__ == "__main__":
    main()
