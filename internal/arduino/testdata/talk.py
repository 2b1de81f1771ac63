# A device that says numbers on channel 5 and prints what it hears, for Python and MicroPython.
#   talk.py MODULES HOST PORT KIND KEY MESSAGES
import sys

sys.path.insert(0, sys.argv[1])
from watchtower_device import Away, Basic, Device, Lost, Refused

host, port, kind, key, most = sys.argv[2], int(sys.argv[3]), sys.argv[4], sys.argv[5], int(sys.argv[6])
if kind == "basic":
    d = Basic(host, key, port, retry=0.05)
else:
    d = Device(host, "lamp" if kind == "own" else "bulb", key, port, kind == "own", kind == "own", False, 5, 200, 0.05)


def tell(*words):
    print(*words)
    if hasattr(sys.stdout, "flush"):
        sys.stdout.flush()


def hear(seconds):
    global heard
    m = d.receive(seconds)
    while m:
        heard += 1
        tell(m.sender, m.targeted, m.hint, m.text())
        m = d.receive(0)


heard = 0
d.join(5)
for n in range(most):
    d.broadcast(5, "said %d" % n)
    hear(0)
while heard < (2 * most if kind == "basic" else most):  # with basic frames it hears itself
    hear(1)
for code, ask in (3, lambda: d.broadcast(6, "x")), (4, lambda: d.send(5, 4000000000, "x")), (5, lambda: d.broadcast(5, bytes(1200))):
    try:
        ask()
    except Refused as e:
        tell("refused", e.code == code)
d.close()
tell("done")
