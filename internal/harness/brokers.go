package harness

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// Brokers of others, which make setup-long installs. Each lets everybody in, and forgets all at its end.

// StartHiveMQ starts a HiveMQ CE.
func StartHiveMQ(t testing.TB) *Mosquitto { return startJava(t, "hivemq", "Hive.java") }

// StartMoquette starts a Moquette.
func StartMoquette(t testing.TB) *Mosquitto { return startJava(t, "moquette", "Moquette.java") }

// startJava starts a broker by its libraries and a program of one file.
func startJava(t testing.TB, libraries, program string) *Mosquitto {
	return StartBroker(t, func(host, port, dir string) *exec.Cmd {
		return exec.Command("java", "-Xmx512m", "-cp", installed(t, "testdata/java/"+libraries)+"/*",
			installed(t, "testdata/java/"+program), host, port, dir)
	})
}

// artemis is the configuration of an Apache ActiveMQ Artemis.
const artemis = `<configuration xmlns="urn:activemq"><core xmlns="urn:activemq:core">
<persistence-enabled>false</persistence-enabled><security-enabled>false</security-enabled><max-disk-usage>-1</max-disk-usage>
<acceptors><acceptor name="mqtt">tcp://%s:%s?protocols=MQTT</acceptor></acceptors>
</core></configuration>`

// StartArtemis starts an Apache ActiveMQ Artemis.
func StartArtemis(t testing.TB) *Mosquitto {
	return StartBroker(t, func(host, port, dir string) *exec.Cmd {
		at := filepath.Join(dir, "artemis")
		if !exists(at) {
			out, err := exec.Command("bash", installed(t, "testdata/java/artemis/bin/artemis"), "create", "--silent", "--no-web", "--no-autotune",
				"--user", "x", "--password", "x", "--allow-anonymous", "--disable-persistence", at).CombinedOutput()
			require.NoError(t, err, string(out))
			require.NoError(t, os.WriteFile(filepath.Join(at, "etc/broker.xml"), fmt.Appendf(nil, artemis, host, port), 0o600))
		}
		return exec.Command(filepath.Join(at, "bin/artemis"), "run")
	})
}

// StartAmqtt starts an amqtt.
func StartAmqtt(t testing.TB) *Mosquitto {
	return StartBroker(t, func(host, port, dir string) *exec.Cmd {
		file := filepath.Join(dir, "amqtt.yaml")
		require.NoError(t, os.WriteFile(file, []byte("listeners:\n  default: {type: tcp, bind: '"+host+":"+port+"'}\n"+
			"plugins:\n  amqtt.plugins.authentication.AnonymousAuthPlugin: {allow_anonymous: true}\n"), 0o600))
		cmd := exec.Command("/usr/bin/python3", "-c", "from amqtt.scripts.broker_script import main; main()", "-c", file)
		cmd.Env = append(os.Environ(), "PYTHONPATH="+strings.TrimSuffix(installed(t, "testdata/python/amqtt/amqtt"), "/amqtt"))
		return cmd
	})
}

// StartRabbitMQ starts a RabbitMQ with its plugin for MQTT. What finds nodes of Erlang is a process
// of the test's, too: else it would outlive it.
func StartRabbitMQ(t testing.TB) *Mosquitto {
	finder := FreeAddress(t)
	_, port, err := net.SplitHostPort(finder)
	require.NoError(t, err)
	epmd := exec.Command("epmd", "-address", "127.0.0.1", "-port", port)
	epmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	require.NoError(t, epmd.Start(), "make setup-long installs it")
	t.Cleanup(func() { _ = epmd.Process.Kill(); _ = epmd.Wait() })
	_, between, err := net.SplitHostPort(FreeAddress(t))
	require.NoError(t, err)
	return StartBroker(t, func(host, at, dir string) *exec.Cmd {
		for name, text := range map[string]string{
			"plugins":       "[rabbitmq_mqtt].",
			"rabbitmq.conf": "listeners.tcp = none\nmqtt.listeners.tcp.1 = " + host + ":" + at + "\nmqtt.allow_anonymous = true\nloopback_users = none\ndisk_free_limit.absolute = 1MB\n",
		} {
			require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600))
		}
		cmd := exec.Command("/usr/lib/rabbitmq/bin/rabbitmq-server")
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "RUNNING_UNDER_SYSTEMD=1", "HOME="+dir, "ERL_EPMD_ADDRESS=127.0.0.1", "ERL_EPMD_PORT="+port,
			"RABBITMQ_NODENAME=broker@localhost", "RABBITMQ_DIST_PORT="+between, "RABBITMQ_MNESIA_BASE="+dir, "RABBITMQ_LOG_BASE="+dir,
			"RABBITMQ_ENABLED_PLUGINS_FILE="+filepath.Join(dir, "plugins"), "RABBITMQ_CONFIG_FILE="+filepath.Join(dir, "rabbitmq.conf"))
		return cmd
	})
}
