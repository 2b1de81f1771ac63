package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"watchtower/device"
	"watchtower/wire/frame"
)

func deviceKeyCommand(sys surroundings) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "device-key",
		Short: "Print the key for devices that speak session frames",
		Long: "Print the key for devices that speak session frames: in hexadecimal, and as C.\n" +
			"It is derived from the secret key of the gateway on this machine, or from\n" +
			"--secret-key. Who has it can be any device.",
		Args: cobra.NoArgs,
	}
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		c, _, stop, err := clientFor(cmd, sys)
		if err != nil {
			return err
		}
		defer stop()
		key := c.secretKey
		if key == "" {
			t, err := c.find()
			if err != nil {
				return err
			}
			key = t.key
		}
		return c.printDeviceKey(frame.DeviceKey(key), key == "")
	}
	return cmd
}

func (c *client) printDeviceKey(k frame.Key, open bool) error {
	if c.json {
		return json.NewEncoder(c.out).Encode(map[string]string{"device_key": k.Hex()})
	}
	if open {
		fmt.Fprintln(c.err, "watchtower: the gateway is open: its device key protects nothing")
	}
	_, err := fmt.Fprintf(c.out, "%s\n%s\n", k.Hex(), k.C())
	return err
}

const wirePort = "3033"

// hintAfter is the silence of a gateway after which people are told what may be wrong: it does not
// answer who has another key.
const hintAfter = 2 * time.Second

// deviceTimeout is the longest time for the first registration and joins.
const deviceTimeout = 10 * time.Second

// joinKeepAlive is short: a PC has the power, and notices after three and a half of it that it is
// not heard any more.
const joinKeepAlive = 10 * time.Second

// followUDP calls each for every message of channels, as follow does. It is a device of session
// frames, so it hears what an Arduino would hear.
// With a key of its own it needs no secret key.
func (c *client) followUDP(ctx context.Context, address string, own *frame.Key, channels []uint32, each func(message) error) error {
	opts := device.Options{Name: c.name, Acknowledge: true, Window: 4, Key: own, Own: own != nil, KeepAlive: joinKeepAlive}
	var called *callers
	if address == "" { // else it may be another gateway than the one to ask
		called = c.callers(ctx)
		defer called.end(ctx)
	}
	if own == nil || address == "" {
		key, at, err := c.findUDP(address)
		if err != nil {
			return err
		}
		address, opts.Secret = at, key
	}
	told := false // both are called by one goroutine
	opts.OnFailure = func(err error) {
		var refused device.Refused
		switch {
		case told:
		case errors.As(err, &refused):
			fmt.Fprintf(c.err, "watchtower: %v; trying on\n", explained(err))
		default:
			fmt.Fprintf(c.err, "watchtower: %s does not answer any more; trying on\n", address)
		}
		told = true
	}
	opts.OnSession = func(id uint32) {
		told = false
		fmt.Fprintf(c.err, "watchtower: registered again, as %s\n", c.called(id))
	}
	begun, cancel := context.WithTimeout(ctx, deviceTimeout)
	defer cancel()
	d, err := c.dialUDP(begun, address, opts)
	if err == nil {
		defer c.leave(d)
		err = d.Join(begun, channels...)
	}
	if err != nil {
		if begun.Err() != nil && ctx.Err() == nil {
			return unreachable{fmt.Errorf("%s does not answer over UDP: it does not run there, or the secret key is another (--udp HOST:PORT, --secret-key)", address)}
		}
		return explained(err)
	}
	fmt.Fprintf(c.err, "watchtower: following channel %s at udp %s as %s, Ctrl-C ends\n", idList(channels), address, c.called(d.ID()))
	for {
		select {
		case <-ctx.Done():
			return nil
		case m := <-d.Messages():
			line, err := json.Marshal(shown(m, called.name(ctx, m.Sender), time.Now()))
			if err != nil {
				return err
			}
			if err := each(parseMessage(line)); err != nil {
				return err
			}
		}
	}
}

// called is the client's name, if it has one, and its id.
func (c *client) called(id uint32) string {
	if c.name == "" {
		return fmt.Sprint(id)
	}
	return fmt.Sprintf("%s (%d)", c.name, id)
}

// dialUDP registers, and tells if there is no answer for a while.
func (c *client) dialUDP(ctx context.Context, address string, opts device.Options) (*device.Client, error) {
	first, cancel := context.WithTimeout(ctx, hintAfter)
	defer cancel()
	d, err := device.Dial(first, "udp", address, opts)
	if err == nil || first.Err() == nil || ctx.Err() != nil {
		return d, err
	}
	fmt.Fprintf(c.err, "watchtower: no answer of %s over UDP yet: it does not run there, or has another secret key; trying on for %s\n", address, deviceTimeout-hintAfter)
	return device.Dial(ctx, "udp", address, opts)
}

// ownKey reads the key of a device's own, in hexadecimal, from a file; nil: none is given.
func (c *client) ownKey(file string) (*frame.Key, error) {
	text, err := c.secretFrom("device-key-file", file)
	if err != nil || text == "" {
		return nil, err
	}
	if c.name == "" {
		return nil, usagef("--device-key-file needs --name: the key is that name's")
	}
	var key frame.Key
	if b, err := hex.DecodeString(text); err != nil || copy(key[:], b) != len(key) || len(b) != len(key) {
		return nil, usagef("--device-key-file must have %d hexadecimal digits in its first line", 2*len(key))
	}
	return &key, nil
}

// leave ends the session. It waits at most a second.
func (c *client) leave(d *device.Client) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = d.Close(ctx) // after an error the session times out
}

// findUDP returns the secret key of a gateway, and the address where it listens for
// devices: the given one, that of the gateway that runs on this machine, or port 3033 of the host
// that find returns.
func (c *client) findUDP(address string) (key, at string, err error) {
	if address != "" && c.secretKey != "" {
		return c.secretKey, address, nil
	}
	t, err := c.find()
	if err != nil {
		return "", "", err
	}
	if address == "" && c.url == "" {
		address = c.localUDP()
	}
	if address == "" {
		u, err := url.Parse(t.url)
		if err != nil {
			return "", "", err
		}
		address = net.JoinHostPort(u.Hostname(), wirePort)
	}
	return t.key, address, nil
}

// localUDP is where the gateway on this machine listens for devices; empty: it does not say.
func (c *client) localUDP() string {
	dir, err := c.dir()
	if err != nil {
		return ""
	}
	address, _ := os.ReadFile(filepath.Join(dir, runningUDPFile)) // absent: UDP is off there
	return strings.TrimSpace(string(address))
}

// explained says what to do where a device needs a key of its own.
func explained(err error) error {
	var refused device.Refused
	if errors.As(err, &refused) && refused.Code == frame.NameHasKey {
		return fmt.Errorf("%w: give it by --device-key-file (watchtower device key NAME prints it)", err)
	}
	return err
}

// shownMessage is a message in the JSON of HTTP streams, with the fields that a device
// knows.
type shownMessage struct {
	Time      time.Time `json:"time"` // of its arrival
	Type      string    `json:"type"`
	Channel   uint32    `json:"channel"`
	Sender    uint32    `json:"sender"`
	Name      string    `json:"name,omitempty"`
	Message   any       `json:"message"`
	Encoding  string    `json:"encoding,omitempty"`
	Truncated bool      `json:"truncated,omitempty"`
}

// isContainer reports whether data begins as a JSON object or array does. Without a hint only
// these count as JSON, as on streams.
func isContainer(data []byte) bool {
	data = bytes.TrimLeft(data, " \t\r\n")
	return len(data) > 0 && (data[0] == '{' || data[0] == '[')
}

// shown is a message of a sender with that name.
func shown(m device.Message, name string, now time.Time) shownMessage {
	s := shownMessage{Time: now, Type: "broadcast", Channel: m.Channel, Sender: m.Sender, Name: name, Truncated: m.Truncated}
	if m.Targeted {
		s.Type = "send"
	}
	switch {
	case (m.Hint == device.JSON || m.Hint == device.Opaque && isContainer(m.Data)) && json.Valid(m.Data):
		s.Message = json.RawMessage(m.Data)
	case utf8.Valid(m.Data):
		s.Message = string(m.Data)
	default:
		s.Message, s.Encoding = base64.StdEncoding.EncodeToString(m.Data), "base64"
	}
	return s
}
