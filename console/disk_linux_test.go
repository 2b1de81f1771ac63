package console_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	nethttp "net/http"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"watchtower/config"
	"watchtower/gateway"
	"watchtower/internal/harness"
)

// A disk that is full for one program needs a program of its own: with this variable the tests
// are a gateway, whose configuration it holds.
const asGateway = "WATCHTOWER_TEST_GATEWAY"

// beGateway runs until somebody stops it.
func beGateway(configuration string) error {
	var cfg config.Config
	if err := json.Unmarshal([]byte(configuration), &cfg); err != nil {
		return err
	}
	signal.Ignore(syscall.SIGXFSZ)
	g, err := gateway.New(cfg, harness.Silent())
	if err != nil {
		return err
	}
	if err := g.Listen(); err != nil {
		return err
	}
	fmt.Println(g.Listening().At("http"))
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	return g.Serve(ctx)
}

// The page says that the disk is full, in the words of the gateway, and that it is so no more.
func TestAFullDisk(t *testing.T) {
	t.Parallel()
	r := start(t)
	r.stop()
	r.cfg.HTTP.Listen = "127.0.0.1:0"
	r.cfg.DataDir = t.TempDir()
	configuration, err := json.Marshal(r.cfg)
	require.NoError(t, err)
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), asGateway+"="+string(configuration))
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	require.NoError(t, err)
	r.url = "http://" + line[:len(line)-1] + "/"
	full := func(limit uint64) {
		require.NoError(t, unix.Prlimit(cmd.Process.Pid, unix.RLIMIT_FSIZE, &unix.Rlimit{Cur: limit, Max: unix.RLIM_INFINITY}, nil))
	}
	registers := func(name string, want int) {
		t.Helper()
		res, err := nethttp.Post(r.url+"register", "application/json", strings.NewReader(fmt.Sprintf(`{"secret_key":%q,"name":%q}`, secretKey, name)))
		require.NoError(t, err)
		res.Body.Close()
		require.Equal(t, want, res.StatusCode)
	}
	p := r.as("ann", "")
	p.reads("Everything works.")
	full(0)
	registers("lamp", 500)
	p.do(`location.reload()`) // or it asks ten seconds later
	p.waits(`document.querySelector(".banner")?.textContent.startsWith("The gateway is not ready. ")`)
	p.waits(`document.querySelector(".verdict h1").textContent === "The gateway is not ready."`)
	p.waits(`document.querySelector(".nav .state").textContent === "Not ready"`)
	assert.Contains(t, evaluate[string](p, `document.querySelector(".banner").textContent`), "file too large", "the gateway's own words")
	p.goes("devices") // it can be used all the same
	p.reads("Nobody is missing")
	full(unix.RLIM_INFINITY)
	registers("lamp", 200)
	p.waits(`(document.dispatchEvent(new Event("visibilitychange")), !document.querySelector(".banner"))`) // it asks whenever it is looked at again
	p.goes("")
	p.reads("Everything works.")
}
