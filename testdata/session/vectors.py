#!/usr/bin/env python3
"""Writes vectors.txt and hidden.txt: every session frame, as bytes and in words.

It shares nothing with the gateway: SipHash is its own, the rest is hashlib and
struct. Run it again only if the protocol changes.

    python3 vectors.py > vectors.txt
    python3 vectors.py hidden > hidden.txt
"""
import hashlib
import hmac
import struct
import sys

MASK = (1 << 64) - 1


def siphash(key, data):
    k0, k1 = struct.unpack("<QQ", key)
    v = [k0 ^ 0x736F6D6570736575, k1 ^ 0x646F72616E646F6D, k0 ^ 0x6C7967656E657261, k1 ^ 0x7465646279746573]

    def rotl(x, n):
        return (x << n | x >> (64 - n)) & MASK

    def rounds(n):
        for _ in range(n):
            v[0] = (v[0] + v[1]) & MASK
            v[2] = (v[2] + v[3]) & MASK
            v[1] = rotl(v[1], 13) ^ v[0]
            v[3] = rotl(v[3], 16) ^ v[2]
            v[0] = rotl(v[0], 32)
            v[2] = (v[2] + v[1]) & MASK
            v[0] = (v[0] + v[3]) & MASK
            v[1] = rotl(v[1], 17) ^ v[2]
            v[3] = rotl(v[3], 21) ^ v[0]
            v[2] = rotl(v[2], 32)

    whole = len(data) // 8 * 8
    last = data[whole:].ljust(7, b"\0") + bytes([len(data) & 255])
    for at in range(0, whole + 8, 8):
        (word,) = struct.unpack("<Q", data[at : at + 8] if at < whole else last)
        v[3] ^= word
        rounds(2)
        v[0] ^= word
    v[2] ^= 0xFF
    rounds(4)
    return struct.pack("<Q", v[0] ^ v[1] ^ v[2] ^ v[3])


assert siphash(bytes(range(16)), bytes(range(15))) == struct.pack("<Q", 0xA129CA6149BE45E5)

SECRET = "correct horse battery staple"
# The conversation again, by a device with a key of its own that has its bodies hidden.
HIDDEN = "hidden" in sys.argv
MASTER = bytes(range(32))
GENERATION = 1
SHARED = hashlib.pbkdf2_hmac("sha256", SECRET.encode(), b"watchtower-device-key", 100_000, 16)
CNONCE = bytes.fromhex("0102030405060708")
ID = 0x0BADCAFE
HOME = ("192.0.2.1", 1000)
AWAY = ("198.51.100.7", 2000)


def own(name, generation=0):
    return hmac.new(MASTER, b"watchtower-device\0" + bytes([generation]) + name, hashlib.sha256).digest()[:16]


PSK = own(b"lamp", GENERATION) if HIDDEN else SHARED
# The gateway's own secret, of which no device knows anything.
GATEWAY_SECRET = bytes(range(16))


def mapped(host):
    return bytes(10) + b"\xff\xff" + bytes(int(x) for x in host.split("."))


COOKIE = siphash(GATEWAY_SECRET, b"\x01" + mapped(HOME[0]) + struct.pack("<H", HOME[1]) + CNONCE)
SEED = CNONCE + COOKIE + struct.pack("<I", ID)
KEY = b"".join(siphash(PSK, bytes([half + (0x10 if HIDDEN else 0)]) + SEED) for half in (1, 2))
CHALLENGE = siphash(GATEWAY_SECRET, b"\x02" + mapped(AWAY[0]) + struct.pack("<H", AWAY[1]) + KEY)


def masked(body, tag, seq):
    hidden = b""
    for count, at in enumerate(range(0, len(body), 8)):
        mask = siphash(KEY, tag + struct.pack("<HB", count, seq & 255))
        hidden += bytes(a ^ b for a, b in zip(body[at : at + 8], mask))
    return hidden


def frame(op, body=b"", seq=0, flags=0, id=ID, key=KEY):
    head = struct.pack("<cBHII", op.encode(), flags, len(body), id, seq)
    tag = siphash(key, head + body)
    if HIDDEN and key == KEY and seq:  # not those of the registration
        body = masked(body, tag, seq)
    return head + body + tag


def u32(*values):
    return struct.pack("<%dI" % len(values), *values)


def register(cookie, version=1, name=b"lamp"):
    return struct.pack("<BBHHB", version, 0x1D if HIDDEN else 0x11, 60, 100, 0) + CNONCE + cookie + bytes([len(name)]) + name


def show(direction, raw, meaning):
    print(f"{direction} {raw.hex()}  # {meaning}")


sequence = 0


def device(op, body, meaning, flags=0, direction=">"):
    global sequence
    sequence += 1
    show(direction, frame(op, body, sequence, flags), meaning)


def gateway(op, body, meaning, flags=0, seq=None, direction="<"):
    show(direction, frame(op, body, sequence if seq is None else seq, flags), meaning)


def done(op, result=b"", meaning="done"):
    gateway("a", op.encode() + result, meaning)


def refused(op, code, meaning):
    gateway("e", op.encode(), meaning, code << 4)


def delivery(number, kind, data, meaning, flags=1, sender=ID, channel=7):
    gateway("m", u32(sender, channel) + struct.pack("<H", kind) + data, meaning, flags, number)


print("# Made by vectors.py. A line is a key, or a frame and what it means: > from the")
print("# device, < from the gateway, >> and << at the device's other address. ! is what")
print("# happens besides. The frames of one device follow each other as they are here.")
print(f"secret {SECRET}")
print(f"psk {PSK.hex()}")
if HIDDEN:
    print(f"shared {SHARED.hex()}")
    print(f"master {MASTER.hex()}")
    print(f"generation {GENERATION}")
print(f"cnonce {CNONCE.hex()}")
print(f"gateway-secret {GATEWAY_SECRET.hex()}")
print(f"id {ID:08x}")
print(f"session-key {KEY.hex()}")
print(f"home {HOME[0]}:{HOME[1]}")
print(f"away {AWAY[0]}:{AWAY[1]}")
print()
show(">", frame("r", register(bytes(8), version=2), id=0, key=PSK), "register, in a version that there is not")
show("<", frame("e", b"r", flags=8 << 4, id=0, key=PSK), "not supported")
BAD = own(b"a lamp") if HIDDEN else PSK
show(">", frame("r", register(bytes(8), name=b"a lamp"), id=0, key=BAD), "register by what is no name")
show("<", frame("e", b"r", flags=5 << 4, id=0, key=BAD), "malformed")
if HIDDEN:
    show(">", frame("r", register(bytes(8), name=b""), id=0, key=SHARED), "register without a name, which has no key of its own")
    show("<", frame("e", b"r", flags=5 << 4, id=0, key=SHARED), "malformed")
show(">", frame("r", register(bytes(8)), id=0, key=PSK), "register lamp: acknowledged, one outstanding, keep-alive 60 s, 100 bytes")
show("<", frame("c", CNONCE + COOKIE, id=0, key=PSK), "a cookie")
show(">", frame("r", register(COOKIE), id=0, key=PSK), "register with the cookie")
show("<", frame("a", b"r" + CNONCE + struct.pack("<HH", 60, 100)), "registered: keep-alive 60 s, 100 bytes")
device("j", u32(7, 300), "join channels 7 and 300")
done("j")
device("l", u32(0), "list all channels")
done("l", b"\0" + u32(7, 300), "7 and 300, no more")
device("u", u32(7, 0), "list the members of 7")
done("u", b"\0" + u32(ID), "this device, no more")
device("b", b"\1" + u32(7) + b"hello", "broadcast the text hello on 7, acknowledged", 1 | 1 << 2)
done("b")
delivery(1, 0x0100, b"hello", "its own message, a broadcast of text, to be acknowledged")
show(">", frame("k", b"", 1), "delivered")
device("s", b"\1" + u32(7) + b"\1" + u32(ID) + b'{"on":true}', "send JSON to itself on 7, acknowledged", 1 | 2 << 2)
done("s")
delivery(2, 0x0201, b'{"on":true}', "a send of JSON")
print("! 1s")
delivery(2, 0x0201, b'{"on":true}', "the same again, for want of a k")
show(">", frame("k", b"", 2), "delivered")
device("b", b"\1" + u32(7) + b"x" * 80, "broadcast 80 opaque bytes", 0)
delivery(3, 0x0000, b"x" * 70, "70 of them: truncated", 3)
show(">", frame("k", b"", 3), "delivered")
device("x", u32(300, 9), "leave 300, and 9, which was not joined")
done("x")
device("b", b"\1" + u32(300) + b"x", "broadcast where it is not", 1)
refused("b", 3, "not joined")
device("s", b"\1" + u32(7) + b"\1" + u32(1) + b"x", "send to a stranger", 1)
refused("s", 4, "not on the channel")
device("j", u32(0), "join channel 0")
refused("j", 5, "malformed")
device("j", u32(8, 9, 10), "join more channels than the gateway allows")
refused("j", 7, "full")
device("z", b"", "an op that there is not")
refused("z", 8, "not supported")
device("p", b"", "keep-alive")
done("p")
device("d", struct.pack("<H", 600), "sleep for 10 minutes")
done("d")
print("! 300s")
device("p", b"", "wake")
done("p")
device("j", u32(9), "join 9, from another address", direction=">>")
gateway("q", CHALLENGE, "is this address yours?", direction="<<")
request = frame("j", u32(9), sequence)
device("p", CHALLENGE, "it is", direction=">>")
gateway("a", b"p", "moved", direction="<<")
sequence -= 1
show(">>", request, "the request once more")
gateway("a", b"j", "done", direction="<<")
sequence += 1
if HIDDEN:  # lamp has been here with its own key
    other = CNONCE[::-1]
    shared = struct.pack("<BBHHB", 1, 0x11, 60, 100, 0) + other + bytes(8) + b"\4lamp"
    show(">", frame("r", shared, id=0, key=SHARED), "register lamp by the key that all share")
    show("<", frame("e", b"r", flags=9 << 4, id=0, key=SHARED), "this name has a key of its own")
device("d", struct.pack("<H", 0), "end the session", direction=">>")
gateway("a", b"d", "done", direction="<<")
device("p", b"", "keep-alive of a session that has ended", direction=">>")
late = frame("p", b"", sequence)
show("<<", struct.pack("<cBH", b"e", 1 << 4, 0) + late[4:12] + late[-8:], "unknown: number and tag are those of the frame")
