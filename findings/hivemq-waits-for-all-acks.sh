#!/usr/bin/env bash
# HiveMQ CE 2025.5 delivers no further message at QoS 1 to a client while one that it has
# delivered is not acknowledged, whatever the client's Receive Maximum is. MQTT 5, 3.3.4,
# lets a server have as many in flight as the client's Receive Maximum says, here 100, and
# mosquitto and Artemis do so. So a client that acknowledges late, or first wants to see a
# second message, waits for it for ever, though its network and the broker are well.
#
# Installs Maven's artifacts in a temporary folder, as the version below. Needs a JDK of 17
# or newer, mvn, python3.
#
# Output seen on 2026-11-30:
#   while the first is not acknowledged: first
#   once it is: second, third
set -euo pipefail
dir="$(mktemp -d)"
broker=""
trap '[ -z "$broker" ] || kill "$broker" 2>/dev/null || true; rm -rf "$dir"' EXIT
cd "$dir"
cat > pom.xml <<'POM'
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>finding</groupId>
  <artifactId>finding</artifactId>
  <version>1</version>
  <dependencies>
    <dependency>
      <groupId>com.hivemq</groupId>
      <artifactId>hivemq-community-edition-embedded</artifactId>
      <version>2025.5</version>
    </dependency>
  </dependencies>
</project>
POM
cat > Broker.java <<'JAVA'
import com.hivemq.embedded.*;
import com.hivemq.extension.sdk.api.ExtensionMain;
import com.hivemq.extension.sdk.api.auth.SimpleAuthenticator;
import com.hivemq.extension.sdk.api.parameter.*;
import com.hivemq.extension.sdk.api.services.Services;
import java.nio.file.*;

class Broker implements ExtensionMain {
  public static void main(String[] args) throws Exception {
    Path at = Path.of("broker");
    for (String folder : new String[] {"conf", "data", "extensions"}) Files.createDirectories(at.resolve(folder));
    Files.writeString(at.resolve("conf/config.xml"), "<hivemq><listeners><tcp-listener><port>" + args[0]
        + "</port><bind-address>127.0.0.1</bind-address></tcp-listener></listeners><persistence><mode>in-memory</mode></persistence>"
        + "<anonymous-usage-statistics><enabled>false</enabled></anonymous-usage-statistics></hivemq>");
    var everybody = EmbeddedExtension.builder().withId("all").withName("all").withVersion("1").withExtensionMain(new Broker()).build();
    EmbeddedHiveMQ.builder().withConfigurationFolder(at.resolve("conf")).withDataFolder(at.resolve("data"))
        .withExtensionsFolder(at.resolve("extensions")).withEmbeddedExtension(everybody).build().start().join();
    Thread.currentThread().join();
  }

  public void extensionStart(ExtensionStartInput in, ExtensionStartOutput out) {
    Services.securityRegistry().setAuthenticatorProvider(p -> (SimpleAuthenticator) (i, o) -> o.authenticateSuccessfully());
  }

  public void extensionStop(ExtensionStopInput in, ExtensionStopOutput out) {}
}
JAVA
mvn -q -B -f pom.xml dependency:copy-dependencies -DoutputDirectory=lib
port="$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')"
java -cp 'lib/*' Broker.java "$port" > log 2>&1 &
broker=$!
python3 - "$port" <<'PYTHON' | tee seen
import socket, struct, sys, time

port = int(sys.argv[1])

def text(s):
    return struct.pack(">H", len(s)) + s.encode()

def packet(kind, body):
    return bytes([kind, len(body)]) + body

def connect(name):
    for _ in range(1200):
        try:
            s = socket.create_connection(("127.0.0.1", port))
            break
        except ConnectionRefusedError:
            time.sleep(0.05)
    receive_maximum = b"\x03\x21" + struct.pack(">H", 100)
    s.sendall(packet(0x10, text("MQTT") + bytes([5, 2]) + struct.pack(">H", 60) + receive_maximum + text(name)))
    assert read(s)[0] == 0x20
    return s

def read(s):
    head = s.recv(2)
    body = b""
    while len(body) < head[1]:  # small packets: one byte of length
        body += s.recv(head[1] - len(body))
    return head[0], body

def deliveries(s, seconds):
    came = []
    s.settimeout(seconds)
    try:
        while True:
            kind, body = read(s)
            if kind & 0xF0 == 0x30:
                after = 2 + len("topic")
                properties = body[after + 2]
                came.append((struct.unpack(">H", body[after:after + 2])[0], body[after + 3 + properties:].decode()))
    except TimeoutError:
        return came

hears, says = connect("hears"), connect("says")
hears.sendall(packet(0x82, struct.pack(">H", 1) + b"\0" + text("topic") + b"\x01"))
assert read(hears)[0] == 0x90

def say(number, word):
    says.sendall(packet(0x32, text("topic") + struct.pack(">H", number) + b"\0" + word.encode()))
    assert read(says)[0] == 0x40

say(1, "first")
first = deliveries(hears, 2)
say(2, "second")
say(3, "third")
print("while the first is not acknowledged:", ", ".join(word for _, word in first + deliveries(hears, 5)))
hears.sendall(packet(0x40, struct.pack(">H", first[0][0])))
print("once it is:", ", ".join(word for _, word in deliveries(hears, 2)))
PYTHON
diff seen - <<'SEEN'
while the first is not acknowledged: first
once it is: second, third
SEEN
echo "as seen before"
