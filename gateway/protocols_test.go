package gateway_test

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"watchtower/config"
	"watchtower/gateway"
)

// everybody is one device of each kind, all on channel 5.
func everybody(r *running) []*device {
	return []*device{r.wire("udp"), r.wire("tcp"), r.stream(), r.callback(), r.paho("paho"), r.mosquitto("mosquitto"), r.webSocket("page"), r.session("udp"), r.session("tcp")}
}

func allBytes(i int) []byte {
	b := []byte(fmt.Sprintf("%02d ", i))
	for v := range 256 {
		b = append(b, byte(v+i))
	}
	return b
}

func TestEveryProtocolReachesEveryProtocol(t *testing.T) {
	t.Parallel()
	r := start(t, nil)
	all := everybody(r)
	const n = 10
	t.Run("broadcast, in order", func(t *testing.T) {
		for _, from := range all {
			for i := range n {
				from.broadcast(5, allBytes(i))
			}
			for _, to := range all {
				for i := range n {
					require.Equal(t, received{from.id, 5, false, string(allBytes(i))}, to.next(t), "%s → %s", from.name, to.name)
				}
			}
		}
	})
	t.Run("targeted, to one alone", func(t *testing.T) {
		for _, from := range all {
			for _, to := range all {
				for i := range 3 {
					from.send(5, to.id, allBytes(i))
				}
				for i := range 3 {
					require.Equal(t, received{from.id, 5, true, string(allBytes(i))}, to.next(t), "%s → %s", from.name, to.name)
				}
			}
		}
		all[0].broadcast(5, []byte("the end"))
		for _, d := range all {
			assert.Equal(t, "the end", d.next(t).data, "%s got what was not for it", d.name)
		}
	})
	t.Run("empty, and as large as may be", func(t *testing.T) {
		large := make([]byte, 64000)
		for i := range large {
			large[i] = byte(i * 7)
		}
		datagrams := map[string]bool{"udp": true, "session over udp": true} // they have 1,200 bytes
		for _, from := range all {
			if datagrams[from.name] {
				continue
			}
			from.broadcast(5, nil)
			for _, to := range all {
				require.Empty(t, to.next(t).data, "%s → %s", from.name, to.name)
			}
			from.broadcast(5, large)
			for _, to := range all[1:] {
				want := large
				if datagrams[to.name] {
					want = large[:1200-30] // cut short, and flagged
				}
				require.Equal(t, string(want), to.next(t).data, "%s → %s", from.name, to.name)
			}
		}
	})
}

// The original's own client, byte for byte, on a gateway without a key.
func TestTheOriginalClient(t *testing.T) {
	t.Parallel()
	r := start(t, func(c *config.Config) { c.Open, c.SecretKey = true, "" })
	conn, err := net.Dial("udp", r.at.UDP)
	require.NoError(t, err)
	defer conn.Close()
	say := func(b []byte) []byte {
		_, err := conn.Write(b)
		require.NoError(t, err)
		_ = conn.SetReadDeadline(time.Now().Add(patient))
		answer := make([]byte, 1500)
		n, err := conn.Read(answer)
		require.NoError(t, err)
		return answer[:n]
	}
	a := say([]byte("R"))
	require.Len(t, a, 5)
	require.Equal(t, byte('A'), a[0])
	id := binary.LittleEndian.Uint32(a[1:])
	require.NotZero(t, id)
	assert.Equal(t, a, say([]byte("R")), "a lost reply does no harm")
	assert.Equal(t, []byte{'A', 5, 0, 0, 0}, say(basicFrame("J", id, uint32(5))))
	want := basicFrame("M", id, uint32(5), byte(0), byte(0), uint32(21), "all your base are belong"[:21])
	assert.Equal(t, want, say(basicFrame("M", id, uint32(5), uint32(21), "all your base are belong"[:21])))
	assert.Equal(t, []byte("E"), say(basicFrame("M", id+1, uint32(5), uint32(1), "x")))
}

func TestWhereIsTheGateway(t *testing.T) {
	t.Parallel()
	r := start(t, nil)
	_, port, _ := net.SplitHostPort(r.at.TCP)
	for _, network := range []string{"udp", "tcp"} {
		addr := map[string]string{"udp": r.at.UDP, "tcp": r.at.TCP}[network]
		conn, err := net.Dial(network, addr)
		require.NoError(t, err)
		_, err = conn.Write(make([]byte, 0))
		require.NoError(t, err)
		_, err = conn.Write([]byte("W\x00\x00\x00\x00\x00\x00\x00"))
		require.NoError(t, err)
		_ = conn.SetReadDeadline(time.Now().Add(patient))
		b := make([]byte, 8)
		_, err = io.ReadFull(conn, b)
		require.NoError(t, err)
		assert.Equal(t, "W\x01", string(b[:2]))
		assert.Equal(t, port, fmt.Sprint(binary.LittleEndian.Uint16(b[2:])))
		assert.Equal(t, r.g.Name(), fmt.Sprintf("%08x", binary.LittleEndian.Uint32(b[4:])))
		conn.Close()
	}
}

// A device known by its name on MQTT, on HTTP, and on both at once.
func TestOneSenderOnTwoProtocols(t *testing.T) {
	t.Parallel()
	r := start(t, nil)
	lamp := r.paho("lamp")
	reg := r.register("lamp")
	require.Equal(t, lamp.id, reg.ID)
	path := fmt.Sprintf("/broadcast?channels=5&sender=%d", reg.ID)
	status, body := r.call("POST", path, "text/plain", "x")
	assert.Equal(t, 401, status, "an id that MQTT has held wants its token: %s", body)
	status, body = r.call("POST", path, "text/plain", "x", "Authorization", "Bearer "+reg.Token)
	assert.Equal(t, 200, status, "it is a member by its subscription: %s", body)
	assert.Equal(t, "x", lamp.next(t).data)

	other := r.stream()
	auth := []string{"Authorization", "Bearer " + reg.Token}
	status, _ = r.call("POST", "/channels/leave", "", fmt.Sprintf(`{"sender":%d,"channels":[5]}`, reg.ID), auth...)
	assert.Equal(t, 200, status)
	status, _ = r.call("POST", fmt.Sprintf("/send?channels=5&sender=%d&receivers=%d", other.id, lamp.id), "text/plain", "x")
	assert.Equal(t, 400, status, "leaving ended its subscription")
}

func TestInfoNamesChannels(t *testing.T) {
	t.Parallel()
	r := start(t, func(c *config.Config) { c.Channels = map[uint32]config.Channel{5: {Name: "Watering"}} })
	host, port, _ := net.SplitHostPort(r.at.MQTT)
	out := run(t, program(t, "mosquitto_sub"), "-h", host, "-p", port, "-u", "x", "-P", key, "-t", "watchtower/gateways/+/info", "-C", "1", "-W", "10")
	var info struct {
		Name  string
		Names map[string]string
	}
	require.NoError(t, json.Unmarshal([]byte(out), &info))
	assert.Equal(t, r.g.Name(), info.Name)
	assert.Equal(t, map[string]string{"5": "Watering"}, info.Names)
	assert.NotContains(t, out, key)
	assert.Contains(t, out, `"messages_per_minute":0`)
}

func TestMessagesAMinute(t *testing.T) {
	t.Parallel()
	var r gateway.Rate
	began := time.Now()
	for _, c := range []struct {
		count uint64
		after time.Duration
		want  int
	}{{1000, 0, 0}, {1120, time.Minute, 120}, {1130, 90 * time.Second, 20}, {1130, 150 * time.Second, 0}, {1131, 150 * time.Second, 0}} {
		assert.Equal(t, c.want, r.PerMinute(c.count, began.Add(c.after)))
	}
}
