"""A wire between two TAP interfaces that delays each frame by some milliseconds. Both interfaces disappear when the program ends."""

import collections
import fcntl
import os
import select
import struct
import sys
import time

TUNSETIFF, IFF_TAP, IFF_NO_PI = 0x400454CA, 0x0002, 0x1000


def tap(name):
    end = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(end, TUNSETIFF, struct.pack("16sH22x", name.encode(), IFF_TAP | IFF_NO_PI))
    return end


delay = float(sys.argv[3]) / 1000
ends = [tap(name) for name in sys.argv[1:3]]
under_way = collections.deque()
while True:
    until = max(0, under_way[0][0] - time.monotonic()) if under_way else None
    for end in select.select(ends, [], [], until)[0]:
        try:
            frame = os.read(end, 65536)
        except OSError:
            # The interface is not up yet.
            time.sleep(0.01)
            continue
        under_way.append((time.monotonic() + delay, ends[1 - ends.index(end)], frame))
    while under_way and under_way[0][0] <= time.monotonic():
        _, end, frame = under_way.popleft()
        try:
            os.write(end, frame)
        except OSError:
            # The frame is lost, as on any wire without a receiver.
            pass
