package arduino_test

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"watchtower/config"
	"watchtower/internal/harness"
)

// Two of the example Motion agree before there is an alarm. One that sees somebody all the time is
// none.
func TestMotion(t *testing.T) {
	t.Parallel()
	launch, _, err := config.Load(nil, []string{"HOME=/"}, filepath.Join("..", "..", "examples", "launch", "launch.yaml"))
	require.NoError(t, err)
	udp, tcp, keys := withKeys(t, func(c *config.Config) { c.Channels = launch.Channels }, "hall", "door")
	siren := listener(t, tcp)
	ctx, cancel := context.WithTimeout(context.Background(), harness.Patience)
	defer cancel()
	require.NoError(t, siren.Join(ctx, 8))
	text, err := os.ReadFile(filepath.Join("..", "..", "arduino", "examples", "Motion", "Motion.ino"))
	require.NoError(t, err)
	hall := upload(t, "Motion", text, keys[0], newRadio(t, udp, 0))
	door := upload(t, "Motion", bytes.Replace(text, []byte(`NAME "hall"`), []byte(`NAME "door"`), 1), keys[1], newRadio(t, udp, 0))
	hall.waits("it is connected", func() bool { return hall.count("hall: connected") == 1 })
	door.waits("it is connected", func() bool { return door.count("door: connected") == 1 })

	hall.sees(true)
	hall.waits("it has said so twice", func() bool { return hall.count("hall: said") >= 2 })
	assert.Equal(t, 1, hall.count("hall: motion"), "it is one movement")
	assert.Empty(t, siren.Messages(), "one is no alarm")
	door.sees(true)
	assert.Equal(t, "motion", string(heard(t, siren).Data))
	hall.sees(false)
	hall.sees(true)
	hall.waits("it is another movement", func() bool { return hall.count("hall: motion") == 2 })
	assert.Zero(t, hall.count("hall: refused")+door.count("door: refused"))
}

// The example Button opens and closes, a press each.
func TestButton(t *testing.T) {
	t.Parallel()
	udp, tcp, key := withKey(t, "button", nil)
	e := listener(t, tcp)
	button := uno(t, "Button", key, newRadio(t, udp, 0))
	button.sees(true) // the resistor of the pin
	button.waits("it is connected", func() bool { return button.count("button: connected") == 1 })
	for i, word := range []string{"open", "close", "open"} {
		button.sees(false)
		assert.Equal(t, word, string(heard(t, e).Data))
		button.waits("it knows", func() bool { return button.count("button: done") == i+1 })
		button.sees(true)
	}
}
