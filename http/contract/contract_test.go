package contract_test

import (
	nethttp "net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"watchtower/http/contract"
)

// The contract reports what does not match the description; without that, the other tests
// would check nothing.
func TestWhatIsNotAsDescribedIsReported(t *testing.T) {
	c, err := contract.New("../openapi.yaml")
	require.NoError(t, err)
	server := httptest.NewServer(nethttp.HandlerFunc(func(w nethttp.ResponseWriter, r *nethttp.Request) {
		w.Header().Set("Content-Type", r.Header.Get("Answer-Type"))
		w.WriteHeader(map[string]int{"": 200, "400": 400, "418": 418, "201": 201}[r.Header.Get("Answer-Status")])
		_, _ = w.Write([]byte(r.Header.Get("Answer")))
	}))
	defer server.Close()
	problem := `{"type":"urn:watchtower:problem:x","title":"X","status":400,"detail":"x"}`
	const is, not = true, false
	for _, test := range []struct {
		good                             bool
		method, path, body               string
		answerStatus, answerType, answer string
	}{
		{is, "GET", "/channels?sender=1", "", "", "application/json", `{"channels":[5]}`},
		{not, "GET", "/channels?sender=1", "", "", "application/json", `{"channels":[0]}`},
		{not, "GET", "/channels?sender=1", "", "", "application/json", `{"channels":[5],"more":1}`},
		{not, "GET", "/channels?sender=1", "", "", "application/json", `{}`},
		{not, "GET", "/channels?sender=1", "", "", "text/plain", `{"channels":[5]}`},
		{not, "GET", "/channels?sender=1", "", "201", "application/json", `{"channels":[5]}`},
		{not, "GET", "/channels?sender=x", "", "", "application/json", `{"channels":[5]}`},
		{not, "GET", "/operator/topics/value", "", "", "application/octet-stream", "no topic"},
		{is, "GET", "/channels", "", "400", "application/problem+json", problem},
		{not, "GET", "/channels", "", "400", "application/problem+json", `{"title":"X"}`},
		{not, "GET", "/nowhere", "", "", "application/json", `{}`},
		{is, "POST", "/broadcast", `{"sender":1,"channels":[5],"message":null}`, "", "application/json", `{"id":"01ARZ3NDEKTSV4RRFFQ69G5FAV"}`},
		{not, "POST", "/broadcast", `{"sender":1,"channels":[5]}`, "", "application/json", `{"id":"01ARZ3NDEKTSV4RRFFQ69G5FAV"}`},
		{not, "POST", "/broadcast", `{"sender":1,"channels":[5],"message":"x","ttl":0}`, "", "application/json", `{"id":"01ARZ3NDEKTSV4RRFFQ69G5FAV"}`},
		{not, "POST", "/broadcast", `{"sender":1,"channels":[5],"message":"x"}`, "", "application/json", `{"id":"1"}`},
		{is, "POST", "/broadcast?channels=5&sender=1", "any bytes", "", "application/json", `{"id":"01ARZ3NDEKTSV4RRFFQ69G5FAV"}`},
	} {
		var reported []error
		client := nethttp.Client{Transport: c.Transport(nethttp.DefaultTransport, func(err error) { reported = append(reported, err) })}
		req, err := nethttp.NewRequest(test.method, server.URL+test.path, strings.NewReader(test.body))
		require.NoError(t, err)
		req.Header.Set("Answer-Status", test.answerStatus)
		req.Header.Set("Answer-Type", test.answerType)
		req.Header.Set("Answer", test.answer)
		resp, err := client.Do(req)
		require.NoError(t, err)
		resp.Body.Close()
		assert.Equal(t, test.good, len(reported) == 0, "%+v: %v", test, reported)
	}
	assert.True(t, c.Seen("GET /channels 200"))
	assert.False(t, c.Seen("GET /channels 204"))
	assert.NoError(t, c.Check("Heard", []byte(`{"type":"gap","channel":5}`)))
	assert.Error(t, c.Check("Heard", []byte(`{"type":"gap"}`)))
	assert.Error(t, c.Check("Nothing", []byte(`{}`)))
	wrong := filepath.Join(t.TempDir(), "openapi.yaml")
	require.NoError(t, os.WriteFile(wrong, []byte("openapi: 3.1.0\ninfo: {}\npaths: {}\n"), 0o600))
	_, err = contract.New(wrong)
	assert.Error(t, err)
}
