#!/usr/bin/env bash
# golang.org/x/net/dns/dnsmessage 0.62.0 refuses a whole message in which a label holds a dot.
# DNS allows that (RFC 2181, 11), and service discovery needs it: the instance in
# "Printer 2.0._http._tcp.local" is one label, "Printer 2.0" (RFC 6763, 4.1.1 and 4.3). A
# browser puts the instances that it knows into its next question (RFC 6762, 7.1), so a
# responder that is built on this package does not answer a browser that knows such a printer.
# python-zeroconf 0.148.0 reads the same bytes.
#
# Installs pinned packages in a temporary folder. Needs Go 1.26 or newer and python3 with venv.
#
# Output seen on 2026-11-29:
#   Go, label "Printer 2": Printer 2._http._tcp.local.
#   Go, label "Printer 2.0": unpacking Answer: PTR record: invalid dns name
#   Python, label "Printer 2": Printer 2._http._tcp.local.
#   Python, label "Printer 2.0": Printer 2.0._http._tcp.local.
set -euo pipefail
dir="$(mktemp -d)"
trap 'rm -rf "$dir"' EXIT
cd "$dir"
cat > message.py <<'PYTHON'
import struct, sys

# A question for _http._tcp.local with one known answer, as RFC 6762, 7.1 has it.
def name(*labels):
    return b"".join(bytes([len(l)]) + l.encode() for l in labels) + b"\0"

service, instance = name("_http", "_tcp", "local"), name(sys.argv[1], "_http", "_tcp", "local")
sys.stdout.buffer.write(
    struct.pack(">6H", 0, 0, 1, 1, 0, 0) + service + struct.pack(">HH", 12, 1)
    + service + struct.pack(">HHIH", 12, 1, 4500, len(instance)) + instance)
PYTHON
for label in "Printer 2" "Printer 2.0"; do python3 message.py "$label" > "$label.bin"; done
cat > go.mod <<'GO'
module finding

go 1.26
GO
cat > main.go <<'GO'
package main

import (
	"fmt"
	"os"

	"golang.org/x/net/dns/dnsmessage"
)

func main() {
	for _, label := range []string{"Printer 2", "Printer 2.0"} {
		b, err := os.ReadFile(label + ".bin")
		if err != nil {
			panic(err)
		}
		var m dnsmessage.Message
		if err := m.Unpack(b); err != nil {
			fmt.Printf("Go, label %q: %v\n", label, err)
			continue
		}
		fmt.Printf("Go, label %q: %v\n", label, m.Answers[0].Body.(*dnsmessage.PTRResource).PTR)
	}
}
GO
go get golang.org/x/net@v0.62.0 >/dev/null 2>&1
go run . | tee seen
python3 -m venv venv
venv/bin/pip install -q zeroconf==0.148.0 ifaddr==0.2.0
venv/bin/python - <<'PYTHON' | tee -a seen
from zeroconf._protocol.incoming import DNSIncoming

for label in ("Printer 2", "Printer 2.0"):
    with open(label + ".bin", "rb") as f:
        answers = DNSIncoming(f.read()).answers()
    print(f'Python, label "{label}": {answers[0].alias if answers else "nothing"}')
PYTHON
diff seen - <<'OUTPUT'
Go, label "Printer 2": Printer 2._http._tcp.local.
Go, label "Printer 2.0": unpacking Answer: PTR record: invalid dns name
Python, label "Printer 2": Printer 2._http._tcp.local.
Python, label "Printer 2.0": Printer 2.0._http._tcp.local.
OUTPUT
echo "as it was"
