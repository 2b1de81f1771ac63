package gateway_test

import (
	"encoding/json"
	"net"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// An operator sees who was refused, over every protocol, and by what name.
func TestOperatorsSeeWhoIsRefused(t *testing.T) {
	t.Parallel()
	r := startWith(t, office(t))
	token := r.asAdmin()
	for range 2 {
		assert.Equal(t, wrong, showMQTT(5, "attic-heater")(r, "127.0.0.1", "wrong"))
	}
	status, _ := r.call("POST", "/register", "application/json", `{"secret_key":"wrong","name":"porch"}`)
	require.Equal(t, 401, status)
	udp, err := net.Dial("udp", r.at.UDP)
	require.NoError(t, err)
	defer udp.Close()
	_, err = udp.Write([]byte("K\x05wrong"))
	require.NoError(t, err)
	type refusal struct {
		Address, Name, Via, Reason string
		Tries                      int
	}
	var got struct{ Refusals []refusal }
	eventually(t, "all are there", func() bool {
		_, body := r.operate(token, "GET /operator/refusals", "")
		got.Refusals = nil // what an answer leaves out would stay
		require.NoError(t, json.Unmarshal([]byte(body), &got))
		return len(got.Refusals) == 3
	})
	assert.ElementsMatch(t, []refusal{
		{"127.0.0.1", "attic-heater", "mqtt", "wrong_key", 2},
		{"127.0.0.1", "porch", "http", "wrong_key", 1},
		{"127.0.0.1", "", "udp", "wrong_key", 1},
	}, got.Refusals)
}
