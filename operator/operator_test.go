package operator_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	nethttp "net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sirupsen/logrus"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"watchtower/bridge"
	"watchtower/bridge/store"
	"watchtower/config"
	"watchtower/operator"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// office is a service on a store of its own.
type office struct {
	t       *testing.T
	service *operator.Service
	opts    operator.Options
	clock   time.Time
	log     *logrus.Logger
	busy    bool
}

// counted is a table that counts its writes, and can be full.
type counted struct {
	operator.Table
	writes atomic.Int32
	full   atomic.Bool
}

func (c *counted) Commit(rows map[string][]byte) error {
	c.writes.Add(1)
	if c.full.Load() {
		return fmt.Errorf("disk full")
	}
	return c.Table.Commit(rows)
}

func newOffice(t *testing.T) (*office, *counted) {
	o := &office{t: t, clock: time.Unix(1_800_000_000, 0), log: logrus.New(), opts: operator.Options{WriteTimeout: config.Default().HTTP.WriteTimeout}}
	o.log.SetOutput(io.Discard)
	kept, err := store.Open(filepath.Join(t.TempDir(), "w.db"), o.log)
	require.NoError(t, err)
	t.Cleanup(func() { kept.Close() })
	rows, err := kept.Table("sessions")
	require.NoError(t, err)
	table := &counted{Table: rows}
	o.opts.Sessions, o.opts.AdminKey = table, "right"
	o.opts.Users = map[string]operator.User{"ann": {Role: operator.Look, Hash: "h"}}
	o.opts.Now = func() time.Time { return o.clock }
	o.opts.Allowed = func(*nethttp.Request) (bool, time.Duration) { return true, 0 }
	o.opts.Failed = func(*nethttp.Request) {}
	o.opts.Known = func(*nethttp.Request) {}
	o.opts.Client = func(*nethttp.Request) string { return "" }
	o.opts.Waiting = func() int { return 0 }
	o.opts.CheckPassword = func(_ context.Context, _ *nethttp.Request, _, password string) (bool, bool) {
		return password == "right", o.busy
	}
	o.restart()
	return o, table
}

func (o *office) restart() {
	hub, err := bridge.New(bridge.Options{Tree: bridge.NewTree("w", "g"), Log: o.log})
	require.NoError(o.t, err)
	o.service, err = operator.New(hub, o.opts, o.log)
	require.NoError(o.t, err)
}

func (o *office) ask(method, path, token, body string) (int, string) {
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	r.Header.Set("Content-Type", "application/json")
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	w := httptest.NewRecorder()
	o.service.ServeHTTP(w, r)
	assert.Equal(o.t, "no-store", w.Header().Get("Cache-Control"))
	return w.Code, w.Body.String()
}

func (o *office) signIn(body string) (token string) {
	status, answer := o.ask("POST", "/operator/session", "", body)
	require.Equal(o.t, 200, status, answer)
	var s struct{ Token string }
	require.NoError(o.t, json.Unmarshal([]byte(answer), &s))
	return s.Token
}

func (o *office) counts(token string) bool {
	status, _ := o.ask("GET", "/operator/session", token, "")
	return status == 200
}

func TestASessionEndsAfterItsLastUse(t *testing.T) {
	o, _ := newOffice(t)
	short, long, unused := o.signIn(`{"key":"right"}`), o.signIn(`{"key":"right","stay":true}`), o.signIn(`{"key":"right"}`)
	for range 3 {
		o.clock = o.clock.Add(11 * time.Hour)
		assert.True(t, o.counts(short))
	}
	assert.False(t, o.counts(unused))
	o.clock = o.clock.Add(12 * time.Hour)
	assert.False(t, o.counts(short))
	assert.True(t, o.counts(long))
	o.clock = o.clock.Add(29 * 24 * time.Hour)
	assert.True(t, o.counts(long))
	o.clock = o.clock.Add(30 * 24 * time.Hour)
	assert.False(t, o.counts(long))
}

func TestSessionsAreBounded(t *testing.T) {
	o, _ := newOffice(t)
	o.opts.MaxSessions = 3
	o.restart()
	var tokens []string
	for range 3 {
		tokens = append(tokens, o.signIn(`{"key":"right"}`))
		o.clock = o.clock.Add(time.Second)
	}
	assert.True(t, o.counts(tokens[0]))
	o.clock = o.clock.Add(time.Second)
	tokens = append(tokens, o.signIn(`{"user":"ann","password":"right"}`))
	var counting []bool
	for _, token := range tokens {
		counting = append(counting, o.counts(token))
	}
	assert.Equal(t, []bool{true, false, true, true}, counting, "the one that was not used for longest went")
}

// The time of a session's last use is saved at most once a minute, and at the end.
func TestUseIsSavedOnceAMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := &office{t: t, log: logrus.New(), opts: operator.Options{WriteTimeout: config.Default().HTTP.WriteTimeout}}
		o.log.SetOutput(io.Discard)
		table := &counted{Table: memory{}}
		o.opts.Sessions, o.opts.AdminKey, o.opts.Now = table, "right", time.Now
		o.opts.Allowed = func(*nethttp.Request) (bool, time.Duration) { return true, 0 }
		o.opts.Known = func(*nethttp.Request) {}
		o.opts.Client = func(*nethttp.Request) string { return "" }
		o.opts.Waiting = func() int { return 0 }
		o.restart()
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); o.service.Run(ctx) }()
		token := o.signIn(`{"key":"right"}`)
		before := table.writes.Load()
		for range 600 {
			require.True(t, o.counts(token))
			time.Sleep(time.Second)
		}
		synctest.Wait()
		assert.InDelta(t, 10, table.writes.Load()-before, 1)
		require.True(t, o.counts(token))
		cancel()
		<-done
		used := time.Now()
		time.Sleep(11*time.Hour + 59*time.Minute)
		o.restart()
		assert.True(t, o.counts(token), "it is on disk that it was used at %s", used)
	})
}

// memory is a table without a file, for time that is not real.
type memory map[string][]byte

func (m memory) Load(each func(string, []byte) error) error {
	for k, v := range m {
		if err := each(k, v); err != nil {
			return err
		}
	}
	return nil
}

func (m memory) Commit(rows map[string][]byte) error {
	for k, v := range rows {
		if v == nil {
			delete(m, k)
		} else {
			m[k] = v
		}
	}
	return nil
}

func TestAFullDiskLetsOperatorsIn(t *testing.T) {
	o, table := newOffice(t)
	kept := o.signIn(`{"key":"right"}`)
	table.full.Store(true)
	token := o.signIn(`{"key":"right"}`)
	assert.True(t, o.counts(token))
	status, answer := o.ask("DELETE", "/operator/session", kept, "")
	assert.Equal(t, 500, status, answer)
	assert.Contains(t, answer, "store-failed")
	assert.False(t, o.counts(kept))
	table.full.Store(false)
	o.signIn(`{"key":"right"}`) // writes what could not be written
	o.restart()
	assert.True(t, o.counts(token))
	assert.False(t, o.counts(kept))
}

func TestARoleThatChanges(t *testing.T) {
	o, _ := newOffice(t)
	ann, admin := o.signIn(`{"user":"ann","password":"right"}`), o.signIn(`{"key":"right"}`)
	status, _ := o.ask("GET", "/operator/sessions", ann, "")
	assert.Equal(t, 403, status)
	o.service.Update("right", map[string]operator.User{"ann": {Role: operator.Manage, Hash: "h"}})
	status, _ = o.ask("GET", "/operator/sessions", ann, "")
	assert.Equal(t, 200, status)
	o.service.Update("right", map[string]operator.User{"ann": {Hash: "h"}})
	assert.False(t, o.counts(ann))
	assert.True(t, o.counts(admin))
	o.service.Update("other", nil)
	assert.False(t, o.counts(admin))
}

func TestBusyIsNotWrong(t *testing.T) {
	o, _ := newOffice(t)
	o.busy = true
	status, answer := o.ask("POST", "/operator/session", "", `{"user":"ann","password":"right"}`)
	assert.Equal(t, 429, status)
	assert.Contains(t, answer, "too-busy")
}

// aCopy is a backup that is written once it is released.
type aCopy struct {
	begun, release, closed chan struct{}
	cut                    bool
}

func (c *aCopy) Name() string { return "house.tar" }
func (c *aCopy) Bytes() int64 { return 5 }
func (c *aCopy) Close()       { close(c.closed) }
func (c *aCopy) Write(w io.Writer) error {
	close(c.begun)
	<-c.release
	if c.cut {
		return fmt.Errorf("the client has gone")
	}
	_, err := io.WriteString(w, "whole")
	return err
}

func TestOneBackupAtATime(t *testing.T) {
	o, _ := newOffice(t)
	made := make(chan *aCopy, 1)
	o.opts.Backup = func() (operator.Backup, error) {
		c := &aCopy{begun: make(chan struct{}), release: make(chan struct{}), closed: make(chan struct{})}
		made <- c
		return c, nil
	}
	taken := 0
	o.opts.BackedUp = func() { taken++ }
	o.restart()
	token := o.signIn(`{"key":"right"}`)
	answered := make(chan string, 1)
	r := httptest.NewRequest("GET", "/operator/backup", nil)
	r.Header.Set("Authorization", "Bearer "+token)
	go func() {
		w := httptest.NewRecorder()
		o.service.ServeHTTP(w, r)
		answered <- fmt.Sprintln(w.Code, w.Header().Get("Content-Length"), w.Header().Get("Content-Disposition"), w.Body)
	}()
	first := <-made
	<-first.begun
	status, answer := o.ask("GET", "/operator/backup", token, "")
	assert.Equal(t, 409, status, answer)
	close(first.release)
	assert.Equal(t, `200 5 attachment; filename="house.tar" whole`+"\n", <-answered)
	<-first.closed
	assert.Equal(t, 1, taken)

	o.opts.Backup = func() (operator.Backup, error) { return nil, fmt.Errorf("no space left on device") }
	o.restart()
	token = o.signIn(`{"key":"right"}`)
	status, answer = o.ask("GET", "/operator/backup", token, "")
	assert.Equal(t, 500, status)
	assert.Contains(t, answer, "no space left on device")

	left := &aCopy{begun: make(chan struct{}), release: make(chan struct{}), closed: make(chan struct{}), cut: true}
	close(left.release)
	o.opts.Backup = func() (operator.Backup, error) { return left, nil }
	o.restart()
	token = o.signIn(`{"key":"right"}`)
	assert.PanicsWithError(t, nethttp.ErrAbortHandler.Error(), func() { o.ask("GET", "/operator/backup", token, "") }, "a cut answer looks like one")
	<-left.closed
	assert.Equal(t, 1, taken, "neither counts as one")
}
