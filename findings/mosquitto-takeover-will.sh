#!/usr/bin/env bash
# mosquitto 2.0.11 publishes the will of a connection that is taken over by the same
# client id only if a session ends with it. Where the session goes on (MQTT 3.1.1,
# clean session 0), the will is never published, though the connection was closed
# without a DISCONNECT. MQTT 3.1.1, 3.1.2.5, names takeovers as no exception, and MQTT 5,
# 3.1.4, says that the will is published as in 3.1.2.5. So a device that is replaced by
# another of its client id is not said to be offline, and a program that counts on it
# behaves differently on other brokers.
#
# Installs Debian 12's packages in a temporary folder, as the versions below. Needs
# Debian 12, apt-get, dpkg-deb, python3.
#
# Output seen on 2026-11-28:
#   mosquitto version 2.0.11
#   clean session 1: dead, up
#   clean session 0: up
set -euo pipefail
dir="$(mktemp -d)"
broker=""
trap '[ -z "$broker" ] || kill "$broker" 2>/dev/null || true; rm -rf "$dir"' EXIT
cd "$dir"
apt-get download -q=2 mosquitto=2.0.11-1.2+deb12u2 libdlt2=2.18.8-6 libwrap0=7.6.q-32 libcjson1=1.7.15-1+deb12u4 >/dev/null 2>&1
for package in *.deb; do dpkg-deb -x "$package" root; done
lib="$(dirname "$(find root -name libwrap.so.0)"):$dir/$(dirname "$(find root -name libcjson.so.1)")"
export LD_LIBRARY_PATH="$dir/$lib"
port="$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')"
printf 'listener %s 127.0.0.1\nallow_anonymous true\n' "$port" > mosquitto.conf
{ root/usr/sbin/mosquitto -h || true; } | sed -n '1p' | tee seen
root/usr/sbin/mosquitto -c mosquitto.conf 2>log &
broker=$!
python3 - "$port" <<'PYTHON' | tee -a seen
import socket, struct, sys, time

port = int(sys.argv[1])

def text(s):
    return struct.pack(">H", len(s)) + s.encode()

def packet(kind, body):
    return bytes([kind, len(body)]) + body

def connect(name, clean, will=False):
    for _ in range(100):
        try:
            s = socket.create_connection(("127.0.0.1", port))
            break
        except ConnectionRefusedError:
            time.sleep(0.05)
    flags = 2 * clean + 4 * will
    body = text("MQTT") + bytes([4, flags]) + struct.pack(">H", 60) + text(name)
    s.sendall(packet(0x10, body + (text("state") + text("dead") if will else b"")))
    assert s.recv(4)[0] == 0x20
    return s

for clean in (1, 0):
    watcher = connect("watcher", 1)
    watcher.sendall(packet(0x82, struct.pack(">H", 1) + text("state") + b"\0"))
    watcher.recv(5)
    first = connect("device", clean, will=True)
    second = connect("device", clean, will=True)
    second.sendall(packet(0x30, text("state") + b"up"))
    heard = b""
    while not heard.endswith(b"up"):
        heard += watcher.recv(100)
    said = []
    while heard:
        size = heard[1]  # small packets: one byte of length
        said.append(heard[2 + len(text("state")):2 + size].decode())
        heard = heard[2 + size:]
    print(f"clean session {clean}: " + ", ".join(said))
    second.sendall(packet(0xE0, b""))
    for s in (first, second, watcher):
        s.close()
PYTHON
diff seen - <<'SEEN'
mosquitto version 2.0.11
clean session 1: dead, up
clean session 0: up
SEEN
echo "as seen before"
