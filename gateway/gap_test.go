package gateway_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	nethttp "net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"watchtower/config"
)

// missedSince joins a channel with what the query or header says, and returns what came
// before what is said now: messages, and "gap".
func (r *running) missedSince(id uint32, channel int, query string, header ...string) (all []string) {
	r.t.Helper()
	ctx, leave := context.WithTimeout(context.Background(), patient)
	defer leave()
	req, err := nethttp.NewRequestWithContext(ctx, "GET", fmt.Sprintf("http://%s/channels/join?channels=%d&sender=%d%s", r.at.HTTP, channel, id, query), nil)
	require.NoError(r.t, err)
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	res, err := (&nethttp.Transport{DisableKeepAlives: true}).RoundTrip(req)
	require.NoError(r.t, err)
	defer res.Body.Close()
	require.Equal(r.t, 200, res.StatusCode)
	r.post("/broadcast", fmt.Sprintf(`{"sender":%d,"channels":[%d],"message":"now"}`, id, channel), nil)
	for in := bufio.NewScanner(res.Body); in.Scan(); {
		var m struct{ Type, Message string }
		if json.Unmarshal([]byte(strings.TrimPrefix(in.Text(), "data: ")), &m) != nil {
			continue
		}
		switch {
		case m.Type == "gap":
			all = append(all, "gap")
		case m.Message == "now":
			return all
		default:
			all = append(all, m.Message)
		}
	}
	require.Fail(r.t, "the stream ended")
	return nil
}

// place is where a stream of events begins, as it is told.
func (r *running) place(id uint32, channel int) string {
	r.t.Helper()
	ctx, leave := context.WithTimeout(context.Background(), patient)
	defer leave()
	req, err := nethttp.NewRequestWithContext(ctx, "GET", fmt.Sprintf("http://%s/channels/join?channels=%d&sender=%d", r.at.HTTP, channel, id), nil)
	require.NoError(r.t, err)
	req.Header.Set("Accept", "text/event-stream")
	res, err := (&nethttp.Transport{DisableKeepAlives: true}).RoundTrip(req)
	require.NoError(r.t, err)
	defer res.Body.Close()
	for in := bufio.NewScanner(res.Body); in.Scan(); {
		if at, ok := strings.CutPrefix(in.Text(), "id: "); ok {
			return at
		}
	}
	require.Fail(r.t, "the stream ended")
	return ""
}

// After a restart in good order a gap is where something was said that is not known any
// more, and nowhere else. After a crash it is everywhere.
func TestAGapAfterARestartIsTrue(t *testing.T) {
	t.Parallel()
	r := start(t, nil)
	begun := time.Now()
	id := r.register("").ID
	r.follow(fmt.Sprintf("channels=5,6&sender=%d", id), func([]byte) {})
	say := func(channel int, message string) string {
		var said struct{ ID string }
		r.post("/broadcast", fmt.Sprintf(`{"sender":%d,"channels":[%d],"message":%q}`, id, channel, message), &said)
		return said.ID
	}
	first, last := say(5, "first"), say(5, "last")
	other := say(6, "elsewhere")
	place := r.place(id, 5)
	crashed := t.TempDir() // as the disk is while it runs
	require.NoError(t, os.CopyFS(crashed, os.DirFS(r.cfg.DataDir)))
	gap := []string{"gap"}

	same := func(*config.Config) {}
	r = r.restart(same)
	assert.Empty(t, r.missedSince(id, 6, "&since="+other), "the last was heard")
	assert.Empty(t, r.missedSince(id, 7, "&since="+last), "nothing was ever said here")
	assert.Empty(t, r.missedSince(id, 8, "", "Last-Event-ID", place), "nothing was said since that place")
	assert.Empty(t, r.missedSince(id, 9, "&since="+time.Since(begun).String()), "the start is no reason")
	assert.Equal(t, gap, r.missedSince(id, 5, "&since="+first), "one more was said")
	assert.Equal(t, gap, r.missedSince(id, 6, "&since="+(time.Since(begun)+patient).String()), "that is within the time")
	r = r.restart(same).restart(same)
	assert.Equal(t, gap, r.missedSince(id, 6, "&since="+other), "something was said by now")
	assert.Equal(t, gap, r.missedSince(id, 8, "", "Last-Event-ID", place))
	assert.Empty(t, r.missedSince(id, 10, "&since="+r.place(id, 10)))

	r = r.restart(func(c *config.Config) { c.DataDir = crashed })
	assert.Equal(t, gap, r.missedSince(id, 6, "&since="+other), "nobody knows")
	assert.Equal(t, gap, r.missedSince(id, 8, "", "Last-Event-ID", place))
	assert.Equal(t, gap, r.missedSince(id, 9, "&since="+time.Since(begun).String()))
}
