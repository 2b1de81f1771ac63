package arduino_test

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"io"
	"os/exec"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"watchtower/wire/frame"
)

var le = binary.LittleEndian

// puppetKey is the key of every puppet.
var puppetKey = frame.Key{0x31, 0x91, 0x55, 0x10, 0x1a, 0x72, 0x60, 0x1f, 0x81, 0x64, 0xb4, 0xcf, 0xe9, 0x3c, 0x20, 0xa2}

// secret is the secret key that puppetKey is made from.
const secret = "correct horse battery staple"

// The core's results that are not the gateway's.
const (
	busy = 14
	lost = 15
)

// puppet is the core in a process of its own. It does nothing but what a test tells it.
type puppet struct {
	testing.TB
	in     io.WriteCloser
	out    *bufio.Reader
	stderr bytes.Buffer

	sent     [][]byte // datagrams that it sent, since they were last taken
	dones    []done
	messages []message
	nonces   int
	result   int // of the last request
}

type done struct {
	op   byte
	code int
}

type message struct {
	sender, channel uint32
	targeted, cut   bool
	hint            byte
	data            string
}

func newPuppet(t testing.TB, program string) *puppet {
	p := &puppet{TB: t}
	cmd := exec.Command(program)
	var err error
	p.in, err = cmd.StdinPipe()
	require.NoError(t, err)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	p.out = bufio.NewReader(out)
	cmd.Stderr = &p.stderr
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		_ = p.in.Close()
		if err := cmd.Wait(); err != nil {
			t.Errorf("%v: %s", err, p.stderr.String())
		}
	})
	return p
}

// tell gives a command, and takes its events.
func (p *puppet) tell(command byte, payload ...byte) {
	p.Helper()
	b := append([]byte{command, byte(len(payload)), byte(len(payload) >> 8)}, payload...)
	_, err := p.in.Write(b)
	require.NoError(p, err, "%s", &p.stderr)
	for {
		var head [3]byte
		_, err := io.ReadFull(p.out, head[:])
		require.NoError(p, err, "%s", &p.stderr)
		e := make([]byte, le.Uint16(head[1:]))
		_, err = io.ReadFull(p.out, e)
		require.NoError(p, err)
		switch head[0] {
		case 'F':
			p.sent = append(p.sent, e)
		case 'N':
			p.nonces++
		case 'O':
			p.dones = append(p.dones, done{e[0], int(e[1])})
		case 'M':
			p.messages = append(p.messages, message{
				le.Uint32(e), le.Uint32(e[4:]), e[8] == 1, e[10]&2 != 0, e[9], string(e[11:]),
			})
		case 'X':
			p.result = int(e[0])
		case '.':
			return
		}
	}
}

// loop calls wt_loop at a time.
func (p *puppet) loop(at time.Duration) {
	p.Helper()
	p.tell('L', le.AppendUint16(nil, uint16(at.Milliseconds()>>8))...)
}

// give lets a datagram come.
func (p *puppet) give(at time.Duration, datagram []byte) {
	p.Helper()
	p.tell('D', datagram...)
	p.loop(at)
}

// ask makes a request, and returns what the core returns.
func (p *puppet) ask(op byte, channel, to uint32, flags byte, data string) int {
	p.Helper()
	b := le.AppendUint32(le.AppendUint32([]byte{op, flags}, channel), to)
	p.tell('R', append(b, data...)...)
	return p.result
}

// taken returns the datagrams that were sent, and forgets them.
func (p *puppet) taken() [][]byte {
	s := p.sent
	p.sent = nil
	return s
}

// over returns the requests that are over, and forgets them.
func (p *puppet) over() []done {
	d := p.dones
	p.dones = nil
	return d
}

// heard returns the messages, and forgets them.
func (p *puppet) heard() []message {
	m := p.messages
	p.messages = nil
	return m
}
