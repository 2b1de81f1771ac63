package main

import (
	"strconv"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A given key must be right, whatever an earlier command kept. A key that was right is not
// checked again until the gateway has another key.
func TestAKeyThatIsGivenHasToBeRight(t *testing.T) {
	t.Parallel()
	s := serveProgram(t, t.TempDir(), append(anyPort, "--secret-key", "the first key of this home")...)
	url := s.file("gateway.url")
	try := func(command ...string) error {
		_, err := s.command(append(command, "--url", url)...).CombinedOutput()
		return err
	}
	require.NoError(t, try("broadcast", "5", "hi"), "with the key that the gateway left on this machine")
	require.NoError(t, try("broadcast", "--secret-key", "the first key of this home", "5", "hi"))
	for _, command := range [][]string{{"broadcast", "5", "hi"}, {"send", "5", "1", "hi"}, {"channels"}, {"register"}, {"join", "5"}} {
		err := try(append(command, "--secret-key", "wrong")...)
		require.Error(t, err, command)
		assert.Equal(t, "exit status "+strconv.Itoa(exitError), err.Error(), command)
	}
	before := s.file(cacheFile)
	require.NoError(t, try("broadcast", "--secret-key", "the first key of this home", "5", "hi"))
	assert.Equal(t, before, s.file(cacheFile), "it did not register again")

	s.end(syscall.SIGTERM)
	s = serveProgram(t, s.home, append(anyPort, "--secret-key", "the second key of this home")...)
	url = s.file("gateway.url")
	require.Error(t, try("broadcast", "--secret-key", "the first key of this home", "5", "hi"))
	require.NoError(t, try("broadcast", "5", "hi"))
}
