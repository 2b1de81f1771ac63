//go:build long && !race

package gateway_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	nethttp "net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The same thirty times as long, with a ledger of what HTTP promises as well: senders,
// their deletion, callbacks and what waits for them.
func TestLongThreeHundredKills(t *testing.T) {
	t.Parallel()
	underSiege(t, 300, func(s *siege) func() {
		senders, calls := s.senders(), s.calls()
		return func() { senders(); calls() }
	})
}

// ask is a request that may meet a kill: then it has no answer, and 0 for a status.
func (s *siege) ask(method, path, token string, body any) (status int, answer map[string]any) {
	b, err := json.Marshal(body)
	require.NoError(s.t, err)
	r, err := nethttp.NewRequest(method, "http://"+s.http+path, bytes.NewReader(b))
	require.NoError(s.t, err)
	r.Header.Set("Content-Type", "application/json")
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	client := nethttp.Client{Timeout: patient, Transport: &nethttp.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(r)
	if err != nil {
		return 0, nil
	}
	defer resp.Body.Close()
	whole, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0, nil
	}
	_ = json.Unmarshal(whole, &answer)
	return resp.StatusCode, answer
}

// known is a sender as its owner knows it.
type known struct {
	id      uint32
	token   string
	deleted bool
}

// senders registers and deletes senders, and returns what compares a sample with what
// was answered. Both answers mean that it is on disk.
func (s *siege) senders() (check func()) {
	var mu sync.Mutex
	var all []*known
	s.running.Go(func() {
		for n := 0; !s.over.Load(); n++ {
			time.Sleep(5 * time.Millisecond)
			mu.Lock()
			if status, a := s.ask("POST", "/register", "", map[string]any{"secret_key": key, "name": fmt.Sprint("ledger-", n)}); status == 200 {
				all = append(all, &known{id: uint32(a["id"].(float64)), token: a["token"].(string)})
			}
			if k := len(all); k > 0 && n%3 == 0 {
				old := all[rand.IntN(k)]
				switch status, _ := s.ask("DELETE", fmt.Sprint("/senders/", old.id), old.token, nil); status {
				case 204:
					old.deleted = true
				case 0: // nobody knows
					all = removed(all, old)
				}
			}
			mu.Unlock()
		}
	})
	return func() {
		mu.Lock()
		defer mu.Unlock()
		assert.NotEmpty(s.t, all)
		for range min(len(all), 200) {
			k := all[rand.IntN(len(all))]
			status, _ := s.ask("GET", fmt.Sprint("/channels?sender=", k.id), k.token, nil)
			if k.deleted {
				assert.Equal(s.t, 401, status, "sender %d was deleted", k.id)
			} else {
				assert.Contains(s.t, []int{200, 204}, status, "sender %d was registered", k.id)
			}
		}
	}
}

func removed(all []*known, k *known) (rest []*known) {
	for _, other := range all {
		if other != k {
			rest = append(rest, other)
		}
	}
	return rest
}

// calls broadcasts to a callback, and returns what waits until it has got everything
// that was taken and was a second old at each kill.
func (s *siege) calls() (check func()) {
	var mu sync.Mutex
	got := map[string]bool{}
	receiver := httptest.NewServer(nethttp.HandlerFunc(func(w nethttp.ResponseWriter, r *nethttp.Request) {
		var m struct{ ID string }
		b, err := io.ReadAll(r.Body)
		if err != nil || json.Unmarshal(b, &m) != nil {
			w.WriteHeader(nethttp.StatusBadRequest)
			return
		}
		mu.Lock()
		defer mu.Unlock()
		got[m.ID] = true
	}))
	s.t.Cleanup(receiver.Close)
	status, a := s.ask("POST", "/register", "", map[string]any{"secret_key": key, "name": "caller"})
	require.Equal(s.t, 200, status)
	id, token := a["id"], a["token"].(string)
	status, a = s.ask("POST", "/channels/join/async", token, map[string]any{"sender": id, "channels": []int{5}, "callback_url": receiver.URL})
	require.Equal(s.t, 200, status, a)
	taken := map[string]time.Time{}
	s.running.Go(func() {
		for !s.over.Load() {
			time.Sleep(10 * time.Millisecond)
			status, a := s.ask("POST", "/broadcast", token, map[string]any{"sender": id, "channels": []int{5}, "message": "x"})
			if status == 200 {
				mu.Lock()
				taken[a["id"].(string)] = time.Now()
				mu.Unlock()
			}
		}
	})
	return func() {
		eventually(s.t, "the callback has what was promised", func() bool {
			mu.Lock()
			defer mu.Unlock()
			s.ledger.mu.Lock()
			defer s.ledger.mu.Unlock()
			for id, at := range taken {
				if !got[id] && time.Since(at) > promised && !s.ledger.excused(at) {
					return false
				}
			}
			return len(got) > 0
		})
	}
}
