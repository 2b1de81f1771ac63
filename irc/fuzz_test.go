package irc_test

import (
	"bufio"
	"bytes"
	"io"
	"net"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"watchtower/bridge"
	"watchtower/internal/harness"
)

// FuzzLines sends anything to a registered client's connection. What comes back are lines of
// UTF-8 that fit, and the gateway serves others.
func FuzzLines(f *testing.F) {
	for _, seed := range []string{
		"JOIN #5,#watering,#x,0", "PRIVMSG #5,anna,id-1 :hi", "WHO #5\nWHOIS anna anna\nNAMES\nLIST #5", "NICK b\nNICK b\nPRIVMSG b :x",
		"CAP REQ :server-time message-tags echo-message batch\nPRIVMSG #5 :x", "@a=b;+c :x!y@z PRIVMSG #5 :\x01ACTION x\x01",
		"MODE #5 +b\nTOPIC #5 :x\nAWAY :x\nAWAY\nISON a b\nUSERHOST anna", "PART #5 :bye\nQUIT :x", ": \n:\n@\n@ \n\x00", "PING\nPING :\nCAP\nCAP X",
	} {
		f.Add([]byte(seed))
	}
	g := start(f, bridge.Options{}, nil)
	f.Fuzz(func(t *testing.T, data []byte) {
		if bytes.Count(data, []byte("\n")) > 12 { // more are slowed
			return
		}
		conn, err := net.Dial("tcp", g.server.Addr().String())
		require.NoError(t, err)
		defer conn.Close()
		require.NoError(t, conn.SetDeadline(time.Now().Add(harness.Patience)))
		_, err = conn.Write(append(append([]byte("NICK anna\nUSER a 0 * :a\nJOIN #5\n"), data...), "\nQUIT\n"...))
		require.NoError(t, err)
		in := bufio.NewReader(conn)
		for {
			line, err := in.ReadString('\n')
			if err != nil {
				require.ErrorIs(t, err, io.EOF)
				break
			}
			if strings.HasPrefix(line, "@") {
				_, line, _ = strings.Cut(line, " ")
			}
			require.LessOrEqual(t, len(line), 512, line)
			require.True(t, utf8.ValidString(line), "%q", line)
			require.Regexp(t, "^(:\\S+ )?[A-Z0-9]+( .*)?\r\n$", line)
		}
	})
}
