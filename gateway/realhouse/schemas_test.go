//go:build homeassistant

package realhouse

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"watchtower/internal/harness/house"
)

const testdata = "../../testdata/homeassistant/"

func file(t *testing.T, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	require.NoError(t, err)
	return b
}

// The table of device classes is that of the Home Assistant that runs here, and says what its
// schema says.
func TestTheClassesAreHomeAssistants(t *testing.T) {
	packages, err := filepath.Glob(filepath.Join(os.Getenv("HOMEASSISTANT"), "venv/lib/python3.*/site-packages/homeassistant"))
	require.NoError(t, err)
	require.Len(t, packages, 1, "make test-homeassistant sets HOMEASSISTANT")
	made, err := exec.Command("/usr/bin/python3", "../../homeassistant/classes.py", packages[0]).Output()
	require.NoError(t, err)
	committed := file(t, "../../homeassistant/classes.json")
	require.Equal(t, string(made), string(committed))
	assert.Empty(t, house.Python(t, file(t, testdata+"schemas.py"), committed, "units"))
}

// So is the table of its schemas; and all that the gateway publishes passes the schemas.
func TestTheSchemasAreHomeAssistants(t *testing.T) {
	script := file(t, testdata+"schemas.py")
	assert.Equal(t, string(file(t, testdata+"schemas.json")), house.Python(t, script, nil, "table"))
	var payloads bytes.Buffer
	for _, name := range []string{"gateway", "balcony", "everything", "heard"} {
		require.NoError(t, json.Compact(&payloads, file(t, testdata+name+".json")))
		payloads.WriteByte('\n')
	}
	assert.Empty(t, house.Python(t, script, payloads.Bytes(), "check"))
	assert.Contains(t, house.Python(t, script, []byte(`{"device":{"identifiers":["x"]},"origin":{"name":"x"},"components":{"a":{"platform":"sensor","unique_id":"a"}}}`), "check"), "state_topic")
}
