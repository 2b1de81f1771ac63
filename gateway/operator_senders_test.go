package gateway_test

import (
	"encoding/json"
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestSendersAreManaged(t *testing.T) {
	t.Parallel()
	cfg := office(t)
	r := startWith(t, cfg)
	admin := r.asAdmin()
	lamp := r.register("lamp")
	tablet := r.paho("tablet")
	device := r.wire("udp")
	type sender struct {
		ID              uint32
		Name, State     string
		Via             []string
		Channels        int
		Protected, Held bool
		Seen            string
	}
	list := func(query string) (found []sender) {
		status, answer := r.operate(admin, "GET /operator/senders"+query, "")
		require.Equal(t, 200, status, answer)
		var page struct{ Senders []sender }
		require.NoError(t, json.Unmarshal([]byte(answer), &page))
		return page.Senders
	}
	require.Len(t, list(""), 3)
	assert.Equal(t, tablet.id, list("?via=mqtt&state=here")[0].ID)
	assert.Equal(t, tablet.id, list("?held=true&find=tab")[0].ID)
	assert.Equal(t, []string{"udp"}, list(fmt.Sprintf("?find=%d", device.id))[0].Via)
	assert.Equal(t, 1, list("?via=udp")[0].Channels)
	away := list("?state=away")
	require.Len(t, away, 1)
	assert.Equal(t, "lamp", away[0].Name)
	assert.NotEmpty(t, away[0].Seen)

	status, answer := r.operate(admin, fmt.Sprintf("PATCH /operator/senders/%d", tablet.id), `{"name":"screen"}`)
	require.Equal(t, 200, status, answer)
	_, members := r.call("GET", fmt.Sprintf("/channels/5/members?sender=%d", r.stream().id), "", "")
	assert.Contains(t, members, `"name":"screen"`)
	assert.NotContains(t, members, "tablet")
	stream := r.stream()
	tablet.broadcast(5, []byte("x"))
	assert.Equal(t, tablet.id, stream.next(t).from, "it stays connected")

	var fresh struct{ Token string }
	status, answer = r.operate(admin, fmt.Sprintf("POST /operator/senders/%d/token", lamp.ID), "")
	require.Equal(t, 200, status, answer)
	require.NoError(t, json.Unmarshal([]byte(answer), &fresh))
	path := fmt.Sprintf("/channels?sender=%d", lamp.ID)
	status, _ = r.call("GET", path, "", "", "Authorization", "Bearer "+lamp.Token)
	assert.Equal(t, 401, status, "the earlier one stops")
	status, _ = r.call("GET", path, "", "", "Authorization", "Bearer "+fresh.Token)
	assert.Equal(t, 200, status)
	status, _ = r.operate(admin, fmt.Sprintf("PATCH /operator/senders/%d", lamp.ID), `{"protected":true}`)
	assert.Equal(t, 200, status)
	status, answer = r.call("POST", "/register", "", fmt.Sprintf(`{"secret_key":%q,"name":"lamp"}`, key))
	assert.Equal(t, 401, status, answer)

	status, answer = r.operate(admin, fmt.Sprintf("DELETE /operator/senders/%d", device.id), "")
	require.Equal(t, 204, status, answer)
	assert.Empty(t, list("?via=udp"))
	for _, event := range []string{"operator signed in", "operator changed a sender", "operator gave a sender a token", "operator forgot a sender"} {
		assert.Contains(t, r.log.String(), event)
	}
	assert.NotContains(t, r.log.String(), fresh.Token)

	r.stop()
	r = startWith(t, cfg)
	again := r.register("screen")
	assert.Equal(t, tablet.id, again.ID, "the name is its own after a restart too")
	status, _ = r.call("GET", path, "", "", "Authorization", "Bearer "+fresh.Token)
	assert.Equal(t, 204, status)
}

// A forgotten sender does not come back, whatever happens next.
func TestWhatAnOperatorForgetsStaysForgotten(t *testing.T) {
	t.Parallel()
	p := newProcess(t)
	p.args = []string{"--admin-key", adminKey}
	p.start()
	r := &running{t: t}
	r.at.HTTP = p.http
	for range 5 {
		lamp := r.register("lamp")
		status, answer := r.operate(r.asAdmin(), fmt.Sprintf("DELETE /operator/senders/%d", lamp.ID), "")
		require.Equal(t, 204, status, answer)
		p.kill()
		p.start()
		status, _ = r.call("GET", fmt.Sprintf("/channels?sender=%d", lamp.ID), "", "", "Authorization", "Bearer "+lamp.Token)
		assert.Equal(t, 401, status)
	}
}
