package homeassistant_test

import (
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// What the garden's valves say of themselves, on a PC and on an Arduino, becomes a device that
// keeps Home Assistant's rules, without a fault.
func TestTheGardenKeepsTheRules(t *testing.T) {
	onPC, err := os.ReadFile("../examples/garden/valve.json")
	require.NoError(t, err)
	sketch, err := os.ReadFile("../arduino/examples/Garden/Garden.ino")
	require.NoError(t, err)
	constant := regexp.MustCompile(`DESCRIPTION\[\] = (".*");`).FindSubmatch(sketch)
	require.Len(t, constant, 2)
	onBoard, err := strconv.Unquote(string(constant[1]))
	require.NoError(t, err)
	for _, description := range []string{fmt.Sprintf(string(onPC), "rose"), onBoard} {
		synctest.Test(t, func(t *testing.T) {
			h := newHome(t, "home")
			h.start()
			_, say := h.sender("rose")
			say(description)
			synctest.Wait()
			h.birth()
			wait(t, 20)
			h.stop()
			shown := ""
			all := h.bus.take(func(string) bool { return true })
			for _, p := range all {
				assert.NotContains(t, p.topic, "/send/", "the device is told of no fault: %s", p.payload)
				if !isDiscovery(p.topic) {
					continue
				}
				assert.Empty(t, broken(p.topic, []byte(p.payload)), p.topic)
				if strings.HasSuffix(p.topic, "_rose/config") {
					shown = p.payload
				}
			}
			assert.Contains(t, shown, `"platform":"valve"`)
			assert.Contains(t, shown, `"device_class":"moisture"`)
		})
	}
}
