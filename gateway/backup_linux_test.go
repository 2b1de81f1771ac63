package gateway_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// run runs another command of the program.
func (p *process) run(args ...string) (out string, err error) {
	b, err := exec.Command(p.path, args...).CombinedOutput()
	return string(b), err
}

func (u *dataDir) backup(file string) {
	u.t.Helper()
	out, err := u.run("backup", "--data-dir", u.dir, file)
	require.NoError(u.t, err, out)
}

func TestABackupIsRestored(t *testing.T) {
	t.Parallel()
	u := use(t)
	u.start()
	file := filepath.Join(t.TempDir(), "house.tar")
	assert.Zero(t, u.lastBackup().Unix(), "nobody has taken one")
	begun := time.Now().Truncate(time.Second)
	u.backup(file)
	first := u.lastBackup()
	assert.WithinRange(t, first, begun, time.Now())
	info, err := os.Stat(file)
	require.NoError(t, err)
	assert.Equal(t, os.FileMode(0o600), info.Mode().Perm())

	out, err := u.run("backup", "--data-dir", u.dir, file)
	require.Error(t, err)
	assert.Contains(t, out, "is there already: --force replaces it")
	out, err = u.run("backup", "--force", "--data-dir", u.dir, file)
	require.NoError(t, err, out)
	out, err = u.run("restore", "--data-dir", u.dir, file)
	require.Error(t, err)
	assert.Contains(t, out, "another gateway uses this data directory")

	later := u.paho("from", true) // after the backup
	require.NoError(t, wait(later.Publish(lampTopic, 1, true, "off")))
	later.Disconnect(100)
	_, status := u.register("hall")
	require.Equal(t, 200, status)
	u.end()

	out, err = u.run("restore", "--data-dir", u.dir, file)
	require.NoError(t, err, out)
	assert.Contains(t, out, "what was there is kept: broker.db.replaced-")
	u.start()
	assert.Equal(t, first, u.lastBackup(), "the second one holds when the first was taken")
	u.knowsSenders()
	retained, waited := u.hears()
	assert.Equal(t, "on open", retained+" "+waited)
	assert.Equal(t, u.adminKey(), strings.TrimSpace(string(u.content("admin.key"))))
	entries, err := os.ReadDir(u.dir)
	require.NoError(t, err)
	for _, e := range entries {
		assert.NotContains(t, e.Name(), "being-restored")
		assert.NotContains(t, e.Name(), ".watchtower-backup")
	}
}

// lastBackup is when the metric says that the last backup was taken.
func (u *dataDir) lastBackup() time.Time {
	u.t.Helper()
	_, metrics := u.ask("GET", "/metrics", "", "")
	m := regexp.MustCompile(`(?m)^watchtower_backup_timestamp_seconds (\S+)$`).FindStringSubmatch(metrics)
	require.NotNil(u.t, m, metrics)
	seconds, err := strconv.ParseFloat(m[1], 64)
	require.NoError(u.t, err)
	return time.Unix(int64(seconds), 0)
}

func (u *dataDir) adminKey() string {
	out, err := u.run("admin-key", "--data-dir", u.dir)
	require.NoError(u.t, err, out)
	return strings.TrimSpace(out)
}

// A backup goes through pipes, and to a machine that never had a gateway.
func TestABackupMovesAGateway(t *testing.T) {
	t.Parallel()
	u := use(t)
	u.start()
	cmd := exec.Command(u.path, "backup", "--data-dir", u.dir, "-")
	file, err := cmd.Output()
	require.NoError(t, err)
	u.kill()
	moved := &dataDir{process: newProcess(t), id: u.id, token: u.token}
	moved.dir = filepath.Join(t.TempDir(), "new", "place")
	restore := exec.Command(u.path, "restore", "--data-dir", moved.dir, "-")
	restore.Stdin = strings.NewReader(string(file))
	out, err := restore.CombinedOutput()
	require.NoError(t, err, string(out))
	assert.NotContains(t, string(out), "kept")
	moved.start()
	moved.knowsSenders()
	retained, waited := moved.hears()
	assert.Equal(t, "on open", retained+" "+waited)
}

func TestABadBackupChangesNothing(t *testing.T) {
	t.Parallel()
	u := use(t)
	u.start()
	file := filepath.Join(t.TempDir(), "house.tar")
	u.backup(file)
	u.end()
	whole, err := os.ReadFile(file)
	require.NoError(t, err)
	bad := map[string][]byte{"empty": nil, "none": []byte(strings.Repeat("x", 5000))}
	const end = 1024 + 512 // and what fills the last block: nothing is in there
	content := len(whole) - end
	for range 20 {
		at := rand.IntN(content)
		flipped := append([]byte(nil), whole...)
		flipped[at] ^= 1 << rand.IntN(8)
		bad[fmt.Sprintf("bit at %d", at)] = flipped
		cut := rand.IntN(content)
		bad[fmt.Sprintf("cut at %d", cut)] = whole[:cut]
	}
	before := u.state()
	for name, b := range bad {
		require.NoError(t, os.WriteFile(file, b, 0o600))
		out, err := u.run("restore", "--data-dir", u.dir, file)
		if err == nil && strings.HasPrefix(name, "bit") {
			before = u.state() // a bit of a tar's head that means nothing
			continue
		}
		require.Error(t, err, name)
		assert.Contains(t, out, "nothing is restored", name)
		assert.Equal(t, before, u.state(), name)
	}
}

// Killed at any moment it leaves the old or the new, whole; and the gateway starts.
func TestARestoreThatIsKilled(t *testing.T) {
	t.Parallel()
	killRestores(t, 12)
}

func killRestores(t *testing.T, times int) {
	u := use(t)
	u.start()
	file := filepath.Join(t.TempDir(), "house.tar")
	u.backup(file)
	c := u.paho("from", true)
	require.NoError(t, wait(c.Publish(lampTopic, 1, true, "off")))
	c.Disconnect(100)
	u.end()
	began := time.Now()
	probe := u.copied(t)
	out, err := u.run("restore", "--data-dir", probe.dir, file)
	require.NoError(t, err, out)
	takes := time.Since(began)
	found := map[string]int{}
	for range times {
		k := u.copied(t)
		cmd := exec.Command(u.path, "restore", "--data-dir", k.dir, file)
		require.NoError(t, cmd.Start())
		time.Sleep(time.Duration(rand.Int64N(int64(takes)))) // the moment, not a wait
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		k.start()
		k.knowsSenders()
		retained, waited := k.hears()
		require.Contains(t, []string{"on open", "off open"}, retained+" "+waited)
		found[retained]++
		k.kill()
		for name := range k.state() {
			assert.NotContains(t, name, "being-restored")
		}
	}
	t.Log("after a restore that was killed:", found)
}

// A backup that is taken while everything changes belongs together: whoever has a
// session in it is known in it.
func TestABackupUnderLoadIsOfOneMoment(t *testing.T) {
	t.Parallel()
	u := &dataDir{process: newProcess(t)}
	u.start()
	over, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for n := 0; ; n++ {
			select {
			case <-over:
				return
			default:
			}
			c := u.paho(fmt.Sprintf("device%d", n), false) // a new sender with a session
			if err := wait(c.Subscribe("a/b", 1, nil)); err != nil {
				t.Error(err)
			}
			c.Disconnect(0)
		}
	}()
	var files []string
	for n := range 5 {
		files = append(files, filepath.Join(t.TempDir(), fmt.Sprintf("%d.tar", n)))
		u.backup(files[n])
	}
	close(over)
	<-done
	u.end()
	for _, file := range files {
		r := &dataDir{process: newProcess(t)}
		out, err := r.run("restore", "--data-dir", r.dir, file)
		require.NoError(t, err, out)
		r.start()
		assert.NotContains(t, r.out.String(), "belonged to nobody")
		r.end()
	}
}
