package bench

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

func TestAGatewayOnAnotherMachineTellsWhatItUses(t *testing.T) {
	far := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, "# TYPE process_cpu_seconds_total counter\nprocess_cpu_seconds_total 12.34\nprocess_resident_memory_bytes 2.5165824e+07\n")
	}))
	defer far.Close()
	s := &server{opts: Options{URL: far.URL}, web: newWeb()}
	defer s.web.close()
	assert.Equal(t, usage{12340 * time.Millisecond, 24 << 20}, s.use())
}

func TestMedian(t *testing.T) {
	assert.Equal(t, 2.0, median([]float64{3, 1, 2}))
	assert.Equal(t, 2.5, median([]float64{4, 1, 2, 3}))
}
