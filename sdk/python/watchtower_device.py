"""A small device of a Watchtower gateway, for MicroPython and Python, over UDP. One file:

    from watchtower_device import Device

    d = Device(None, "lamp", "319155101a72601f8164b4cfe93c20a2")  # watchtower device key lamp
    d.join(5)
    while True:
        m = d.receive(10)
        if m and m.text() == "on":
            d.broadcast(5, "it is on")

A host of None: the gateway is found in the local network. Calls wait for the gateway as long
as seconds says, and then raise Away (nothing was sent), Lost (it was done once or not at all)
or Refused. Messages that come meanwhile wait for receive."""

import os, socket, struct, time
from binascii import unhexlify

_M = 0xFFFFFFFFFFFFFFFF
_WAITING = 16  # messages that wait for receive; more wait at the gateway, or are lost with basic frames
_LOST = 15


class Away(Exception):
    """There is no gateway, or none that has the key. Nothing was sent."""


class Lost(Exception):
    """No answer came: the request was executed once or not at all."""


class Refused(Exception):
    """The gateway refused: code is one of docs/protocol.md, with basic frames always 5."""

    def __init__(self, op, code):
        super().__init__("%s refused, code %d" % (op, code))
        self.code = code


class Message:
    """sender and channel are numbers, data is bytes. targeted: it is for this device alone.
    hint: 1 is text, 2 JSON, 0 nothing known. cut: it was longer than the device takes."""

    def __init__(self, sender, channel, kind, data, cut):
        self.sender, self.channel, self.data, self.cut = sender, channel, data, cut
        self.targeted, self.hint = kind & 255 == 1, kind >> 8

    def text(self):
        """The data as text, or "" if it is none."""
        try:
            return self.data.decode()
        except UnicodeError:
            return ""


_now = getattr(time, "ticks_ms", None) or (lambda: int(time.monotonic() * 1000))  # MicroPython's, or Python's
_since = getattr(time, "ticks_diff", None) or (lambda now, then: now - then)


def siphash(key, data):
    """SipHash-2-4 of bytes, as 8 bytes, by a key of 16."""
    k0, k1 = struct.unpack("<QQ", key)
    a, b, c, d = k0 ^ 0x736F6D6570736575, k1 ^ 0x646F72616E646F6D, k0 ^ 0x6C7967656E657261, k1 ^ 0x7465646279746573
    n = len(data)
    data = data + bytes(7 - n % 8) + bytes([n & 255])
    for i in range(0, len(data) + 8, 8):
        last = i == len(data)
        w = 0 if last else struct.unpack_from("<Q", data, i)[0]
        c ^= 255 if last else 0
        d ^= w
        for _ in range(4 if last else 2):
            a, c = (a + b) & _M, (c + d) & _M
            b, d = (b << 13 & _M | b >> 51) ^ a, (d << 16 & _M | d >> 48) ^ c
            a = a << 32 & _M | a >> 32
            c, a = (c + b) & _M, (a + d) & _M
            b, d = (b << 17 & _M | b >> 47) ^ c, (d << 21 & _M | d >> 43) ^ a
            c = c << 32 & _M | c >> 32
        a ^= w
    return struct.pack("<Q", a ^ b ^ c ^ d)


class _Client:
    """What both kinds of device have: one request at a time, the user's or one of its own."""

    def __init__(self, host, port, retry):
        self._to = socket.getaddrinfo(host, port)[0][-1] if host else None
        self._all = None if host else socket.getaddrinfo("255.255.255.255", port)[0][-1]
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        if not host and hasattr(socket, "SO_BROADCAST"):
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        self._retry = int(retry * 1000)
        self._messages, self._channels, self._todo = [], [], []  # todo: channels to be joined in this session
        self._refused = 0  # the code with which a registration or a join was refused last
        self._op = ""  # of the request under way
        self._sent = _now()
        self._gap = self._tries = 0  # ms until it is sent again, and how often it was

    def receive(self, seconds):
        """Returns the next message, or None if none comes in that time."""
        self._run(seconds, lambda: self._messages)
        return self._messages.pop(0) if self._messages else None

    def join(self, channel, seconds=30):
        """Keeps the device on a channel, in each session anew."""
        self._channels.append(channel)
        self._todo.append(channel)
        self._wait_until_ready(seconds)
        if channel not in self._channels:
            raise Refused("j", self._refused)

    def close(self):
        self._socket.close()

    def _wait_until_ready(self, seconds):
        if not self._run(seconds, lambda: self._up() and not self._todo and not self._op):
            raise Refused("the device", self._refused) if self._refused else Away("no gateway answers, or none that has this key; nothing was sent")

    def _run(self, seconds, until):
        begun, most = _now(), int(seconds * 1000)
        while not until():
            left = most - _since(_now(), begun)
            self._socket.settimeout(max(min(self._due(_now()), left), 0) / 1000)
            try:
                self._take(*self._socket.recvfrom(1500))
            except OSError:  # nothing came
                pass
            if left <= 0:
                return bool(until())
        return True

    def _send(self, raw, to):
        try:
            self._socket.sendto(raw, to)
        except OSError:  # as lost on the way
            pass

    def _fitting(self, op, data):
        data = data.encode() if isinstance(data, str) else data
        if len(data) <= self.room:
            return data
        raise Refused(op, 5)

    def _again(self, now, most, send):
        """Sends a request if it is time; the gap doubles up to most times the first. Returns
        the ms until it is time again."""
        if _since(now, self._sent) >= self._gap:
            self._sent, self._tries = now, self._tries + 1
            self._gap = min(self._gap * 2 or self._retry, most * self._retry)
            send()
        return max(self._gap - _since(now, self._sent), 0)


class Device(_Client):
    """A device with session frames: authenticated, repeated until they are answered, hidden.

    name and key: as `watchtower device key NAME` prints it, 32 hexadecimal digits. own=False:
    it is the key of `watchtower device-key`. hidden=False: who listens can read. echo=False:
    it does not hear itself. keepalive: seconds, 5 to 3600; a device that is silent for 3.5
    times as long is forgotten. datagram: bytes of the largest, 64 to 1200; messages have room
    for 30 less. retry: seconds until a request is first repeated."""

    def __init__(self, host, name, key, port=3033, own=True, hidden=True, echo=True, keepalive=60, datagram=512, retry=1):
        super().__init__(host, port, retry)
        self._device = unhexlify(key)
        self._hidden, self._keepalive, self.room = hidden, keepalive, datagram - 30
        options = 1 | (not echo) << 1 | bool(hidden) << 2 | bool(own) << 3
        self._about = struct.pack("<BBHHB", 1, options, keepalive, datagram, 0)
        self._name = bytes([len(name)]) + name.encode()
        self._own, self._result = True, -1  # the request is not the user's; the code of the user's, -1: none
        self._cookie, self._asleep, self._roams = b"", False, False
        self._register()

    def broadcast(self, channel, data, seconds=30):
        """Says text or bytes to all on a channel."""
        self._say("b", struct.pack("<BI", 1, channel), data, seconds)

    def send(self, channel, receiver, data, seconds=30):
        """Says it to one who has joined the channel; a message's sender is such a number."""
        self._say("s", struct.pack("<BIBI", 1, channel, 1, receiver), data, seconds)

    def ping(self, seconds=30):
        """Ends once all messages that waited have come."""
        self._ask("p", b"", seconds)

    def sleep(self, wake, seconds=3):
        """Lets messages wait at the gateway for wake seconds, or until the next request. 0 ends
        the session."""
        self._ask("d", struct.pack("<H", wake), seconds)
        self._asleep = True

    def _say(self, op, head, data, seconds):
        self._ask(op, head + self._fitting(op, data), seconds, 5 if isinstance(data, str) else 1)

    def _ask(self, op, body, seconds, flags=1):
        """Makes a request of the user's, once there is room, and waits for its end."""
        started = _now()
        self._wait_until_ready(seconds)
        self._begin(op, body, flags)
        self._own, self._result = False, -1
        self._run(seconds - _since(_now(), started) / 1000, lambda: self._result >= 0)
        self._op = self._op if self._own else ""
        if self._result < 0 or self._result == _LOST:
            raise Lost("no answer: it was done once, or not at all")
        if self._result:
            raise Refused(op, self._result)

    def _ended(self, code):
        self._op, self._result = ("", self._result) if self._own else (self._op, code)

    def _pending(self):
        return self._op and (self._own or self._result < 0)

    def _up(self):
        return self._key is not None

    def _register(self):
        self._key = None
        self._todo = list(self._channels)
        if self._pending():
            self._ended(_LOST)
        if self._cookie != bytes(8):  # one came for it, so the nonce is spent
            self._nonce, self._cookie = os.urandom(8), bytes(8)
        self._gap, self._tries, self._asked = 0, 0, _now()
        return 0

    def _begin(self, op, body, flags=1):
        self._seq += 1
        self._number, self._body, self._asleep, self._roams = self._seq, body, False, False
        self._raw = self._frame(op, flags, self._seq, body)
        self._op, self._own, self._gap, self._begun = op, True, 0, _now()

    def _frame(self, op, flags, seq, body):
        head = struct.pack("<BBHII", ord(op), flags, len(body), self._id, seq)
        tag = siphash(self._key, head + body)
        return head + self._mask(body, tag, seq) + tag

    def _mask(self, body, tag, seq):
        """Hides a body, or shows it again."""
        if not self._hidden:
            return body
        out = bytearray(body)
        for i in range(0, len(out), 8):
            mask = siphash(self._key, tag + struct.pack("<HB", i // 8, seq & 255))
            for j in range(min(8, len(out) - i)):
                out[i + j] ^= mask[j]
        return bytes(out)

    def _due(self, now):
        """Sends what is due, and returns the ms until it looks again."""
        if not self._up():
            if self._tries == 6:
                self._register()
            body = self._about + self._nonce + self._cookie + self._name
            raw = struct.pack("<BBHII", ord("r"), 1, len(body), 0, 0) + body
            return self._again(now, 8, lambda: self._send(raw + siphash(self._device, raw), self._all or self._to))
        if not self._op and self._todo:
            self._begin("j", struct.pack("<%dI" % len(self._todo), *self._todo))
        if not self._op and not self._asleep and _since(now, self._sent) > 500 * self._keepalive:
            self._begin("p", b"")
        if not self._pending():
            return 250
        if _since(now, self._begun) > 3500 * self._keepalive:
            return self._register()
        return self._again(now, 2 if self._roams else 8, lambda: self._send(self._raw, self._to))

    def _take(self, raw, source):
        if len(raw) < 20 or len(raw) != 20 + struct.unpack_from("<H", raw, 2)[0]:
            return
        op, flags, n, number, seq = struct.unpack_from("<BBHII", raw)
        op, head, body, tag = chr(op), raw[:12], raw[12:-8], raw[-8:]
        if not self._up():
            return self._registering(op, flags, number, head, body, tag, source)
        if op == "e" and not body:
            return self._unknown(number, seq, tag)
        body = self._mask(body, tag, seq)
        if number != self._id or siphash(self._key, head + body) != tag:
            return
        self._begun = _now()  # the session lives
        if op == "m" and n >= 10:
            self._heard(flags, seq, body)
        elif op in "ae" and self._pending() and seq == self._number and body[:1] == self._op.encode():
            self._answered(flags >> 4)
        elif op == "q" and n == 8 and self._seq - self._number < 7:
            self._seq += 1  # the address is new, and is proved by this; after more numbers the gateway may forget the answer
            self._send(self._frame("p", 1, self._seq, body), self._to)
            self._gap, self._roams = 0, True

    def _registering(self, op, flags, number, head, body, tag, source):
        if op == "a" and len(body) == 13 and body[1:9] == self._nonce:
            text = self._nonce + self._cookie + struct.pack("<I", number)
            ends = b"\x11\x12" if self._hidden else b"\x01\x02"
            key = siphash(self._device, ends[:1] + text) + siphash(self._device, ends[1:] + text)
            if siphash(key, head + body) == tag:
                self._key, self._id, self._seq, self._last, self._refused = key, number, 0, 0, 0
                self._to = source if self._all else self._to
        elif siphash(self._device, head + body) != tag:
            return
        elif op == "c" and body[:8] == self._nonce:
            self._cookie, self._gap = body[8:16], 0
        elif op == "e" and body[:1] == b"r":
            self._refused, self._tries = flags >> 4, 0

    def _answered(self, code):
        if self._op == "j":
            self._refused, self._todo = code, []
            self._channels = [] if code else self._channels  # what is refused is not tried again
        self._ended(code)

    def _unknown(self, number, seq, tag):
        """A hint that the gateway does not know the session. It repeats the tag of the request."""
        if not self._pending() or (number, seq, tag) != (self._id, self._number, self._raw[-8:]):
            return
        if self._op == "d" and self._body == b"\0\0":
            self._ended(0)
        elif not 0 <= _since(_now(), self._asked) < 10 * self._retry:  # below 0: long ago
            self._register()

    def _heard(self, flags, seq, body):
        if seq > self._last:
            if len(self._messages) >= _WAITING:
                return  # it is not acknowledged, so it comes again
            self._last = seq
            sender, channel, kind = struct.unpack_from("<IIH", body)
            self._messages.append(Message(sender, channel, kind, body[10:], bool(flags & 2)))
        if flags & 1:
            self._send(self._frame("k", 0, seq, b""), self._to)


class Basic(_Client):
    """A device with basic frames, for your own network only: the gateway's secret key goes over
    it readably, and messages are sent once, either way. With a host of None any gateway that
    answers gets the key. refusals counts messages that the gateway refused."""

    room = 1182  # bytes of a message

    def __init__(self, host, key, port=3033, retry=1):
        super().__init__(host, port, retry)
        self._key = bytes([len(key.encode())]) + key.encode()
        self._id = bytes(4)
        self.refusals = 0
        self._begin("K", self._key)

    def _begin(self, op, body):
        self._op, self._body, self._gap, self._tries = op, body, 0, 0

    def broadcast(self, channel, data, seconds=30):
        """Says text or bytes to all on a channel. It returns once that is sent."""
        self._say("M", struct.pack("<I", channel), data, seconds)

    def send(self, channel, receiver, data, seconds=30):
        """Says it to one who has joined the channel."""
        self._say("S", struct.pack("<IBI", channel, 1, receiver), data, seconds)

    def _say(self, op, head, data, seconds):
        data = self._fitting(op, data)
        self._wait_until_ready(seconds)
        self._send(op.encode() + self._id + head + struct.pack("<I", len(data)) + data, self._to)

    def _up(self):
        return any(self._id) and self._op != "K"

    def _due(self, now):
        if not self._op and self._todo:
            self._begin("J", struct.pack("<I", self._todo[0]))
        if not self._op:
            if _since(now, self._sent) < 25000:
                return 250
            self._begin("P", b"")
        if self._tries == 6:  # the gateway is silent
            self._begin("K", self._key)
            self._to = None if self._all else self._to
        raw = self._op.encode() + (b"" if self._op == "K" else self._id) + self._body
        return self._again(now, 8, lambda: self._send(raw if self._to else b"W" + bytes(7), self._to or self._all))

    def _take(self, raw, source):
        op, n = raw[:1], len(raw)
        if op == b"W" and n == 8 and raw[1] == 1 and not self._to:
            self._to, self._gap = source, 0
        elif op == b"A" and n == 5 and self._op:
            self._answer(raw[1:])
        elif op == b"E" and n == 1 and self._op == "K":
            self._refused = 5
        elif op == b"E" and n == 1:  # perhaps for a message, perhaps the id is unknown
            self._begin("K", self._key)
        elif op == b"M" and n >= 15 and len(self._messages) < _WAITING:
            sender, channel, kind = struct.unpack_from("<IIH", raw, 1)
            self._messages.append(Message(sender, channel, kind, raw[15:], False))

    def _answer(self, value):
        if self._op == "K":
            if value == self._id:
                self.refusals += 1  # so only the request before had failed
            else:
                self._todo = list(self._channels)
            self._id, self._refused = value, 0
        elif value != (self._body or self._id):
            return
        elif self._op == "J":
            self._todo.pop(0)
        self._op = ""
