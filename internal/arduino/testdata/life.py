# A device whose clock stands still until it is moved: its ping is never answered, messages come, and
# replayed challenges.
import socket
import struct

import watchtower_device as w

now = 0
w._now = lambda: now
gateway = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
gateway.bind(("127.0.0.1", 0))
d = w.Device("127.0.0.1", "lamp", "00" * 16, gateway.getsockname()[1], hidden=False)
d._key, d._id, d._seq, d._last, d._to = bytes(16), 7, 0, 0, gateway.getsockname()
d._begin("p", b"")
for number in range(1, 20):
    now += 60000
    frame = struct.pack("<BBHII", ord("m"), 1, 10, 7, number) + bytes(10)
    d._take(frame + w.siphash(d._key, frame), None)
    d._messages.clear()
    d._due(now)
    assert d._up(), "the session was given up after %d minutes" % number
frame = struct.pack("<BBHII", ord("q"), 0, 8, 7, d._number) + bytes(8)
for _ in range(100):
    d._take(frame + w.siphash(d._key, frame), None)
assert d._seq - d._number == 7, "replayed challenges carry the numbers away"
now += 211000
d._due(now)
assert not d._up(), "nothing came, and it is up"
