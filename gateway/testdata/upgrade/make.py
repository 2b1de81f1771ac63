#!/usr/bin/python3
"""Fills a data directory with a version of the program, for the test of the upgrade:

    make.py PROGRAM OUT.tar.gz

It makes everything that outlives the process. The program is killed while all clients are
connected, so that no session has a date on which it ends. The results are in expected.json.
"""
import gzip, io, json, os, signal, socket, subprocess, sys, tarfile, tempfile, time, urllib.request

program, out = sys.argv[1:]
dir = tempfile.mkdtemp()
data = os.path.join(dir, "data")


def port(kind=socket.SOCK_STREAM):
    with socket.socket(socket.AF_INET, kind) as s:
        s.bind(("127.0.0.1", 0))
        return "127.0.0.1:%d" % s.getsockname()[1]


def hashed(password):
    return subprocess.run([program, "passwd"], input=password + "\n", capture_output=True, text=True, check=True).stdout.strip()


http, mqtt, udp = port(), port(), port(socket.SOCK_DGRAM)
config = """
users:
  ann: {password_hash: "%s"}
channels:
  5: {name: Kitchen, homeassistant: true}
callbacks: {allow: ["127.0.0.1"]}
""" % hashed("annspassword")
with open(os.path.join(dir, "w.yaml"), "w") as f:
    f.write(config)
args = [program, "--config", os.path.join(dir, "w.yaml"), "--data-dir", data, "--http", http, "--mqtt", mqtt, "--udp", udp, "--tcp", ""]
gateway = subprocess.Popen(args, stdout=subprocess.DEVNULL, stderr=sys.stderr)


def ask(method, path, body=None, token=None):
    r = urllib.request.Request("http://" + http + path, method=method, data=None if body is None else json.dumps(body).encode())
    r.add_header("Content-Type", "application/json")
    if token:
        r.add_header("Authorization", "Bearer " + token)
    with urllib.request.urlopen(r, timeout=10) as answer:
        b = answer.read()
        return json.loads(b) if b else None


for _ in range(200):
    try:
        ask("GET", "/healthz")
        break
    except OSError:
        time.sleep(0.05)
key = open(os.path.join(data, "secret.key")).read().strip()


def text(s):
    b = s.encode() if isinstance(s, str) else s
    return len(b).to_bytes(2, "big") + b


class Client:
    """An MQTT 3.1.1 client that acknowledges nothing."""

    def __init__(self, id, user, password, will=None):
        host, p = mqtt.split(":")
        self.s = socket.create_connection((host, int(p)))
        flags, tail = 0xC0, text(id)
        if will:
            flags |= 0x04 | 0x08 | 0x20  # at QoS 1, retained
            tail += text(will[0]) + text(will[1])
        self.packet(0x10, text("MQTT") + bytes([4, flags]) + (600).to_bytes(2, "big") + tail + text(user) + text(password))
        assert self.s.recv(4)[3] == 0, "CONNACK"

    def packet(self, kind, body):
        n, length = len(body), b""
        while True:
            n, low = divmod(n, 128)
            length += bytes([low | (128 if n else 0)])
            if not n:
                break
        self.s.sendall(bytes([kind]) + length + body)

    def subscribe(self, filter):
        self.packet(0x82, (1).to_bytes(2, "big") + text(filter) + b"\x01")
        time.sleep(0.3)

    def publish(self, topic, payload, retain=False):
        self.packet(0x32 | (1 if retain else 0), text(topic) + (7).to_bytes(2, "big") + payload.encode())
        time.sleep(0.3)


kitchen = ask("POST", "/register", {"secret_key": key, "name": "kitchen"})
safe = ask("POST", "/register", {"secret_key": key, "name": "safe", "protected": True})
callback = "http://127.0.0.1:9/callback"  # nobody is there
secret = ask("POST", "/channels/join/async", {"sender": kitchen["id"], "channels": [7], "callback_url": callback}, kitchen["token"])["secret"]

phone = Client("phone", "x", key, will=("phone/state", "dead"))
phone.subscribe("house/#")
phone.subscribe("watchtower/channels/7/#")
tablet = Client("tablet", "ann", "annspassword")
tablet.subscribe("house/door")
device = subprocess.Popen([program, "join", "--udp=" + udp, "--secret-key", key, "--data-dir", data, "--name", "pump", "7"], stdout=subprocess.DEVNULL)
time.sleep(1)
speaker = Client("speaker", "x", key)
speaker.publish("house/lamp", "on", retain=True)
for n in range(3):
    speaker.publish("house/door", "knock %d" % n)
speaker.publish("watchtower/channels/7/broadcast", "to seven")
speaker.publish("watchtower/channels/5/broadcast", "21.5")
time.sleep(3)  # everything is on disk within a second
senders = {m["name"]: m["id"] for m in ask("GET", "/channels/7/members?sender=%d" % kitchen["id"], token=kitchen["token"])["members"] if m.get("name")}
callbacks = ask("GET", "/callbacks?sender=%d" % kitchen["id"], token=kitchen["token"])["callbacks"]
gateway.send_signal(signal.SIGKILL)
gateway.wait()
device.kill()
device.wait()

expected = {
    "secret_key": key, "kitchen": kitchen, "safe": safe, "senders": senders, "callback": callback, "secret": secret,
    "callbacks": callbacks, "config": config,
}
files = {name: open(os.path.join(data, name), "rb").read() for name in ("watchtower.db", "broker.db", "secret.key")}
files["expected.json"] = json.dumps(expected, indent=1).encode()
with gzip.GzipFile(out, "wb", mtime=0) as z, tarfile.open(fileobj=z, mode="w") as t:
    for name, content in files.items():
        entry = tarfile.TarInfo(name)
        entry.size = len(content)
        t.addfile(entry, io.BytesIO(content))
print(json.dumps(expected, indent=1))
