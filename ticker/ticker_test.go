package ticker

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
)

func TestTickersFireTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(300 * time.Millisecond)
		a := New(time.Second)
		time.Sleep(100 * time.Millisecond)
		b := New(time.Second)
		defer a.Stop()
		defer b.Stop()
		for range 3 {
			first := <-a.C
			assert.Zero(t, first.UnixNano()%int64(time.Second))
			assert.Equal(t, first, <-b.C)
			a.Next()
			b.Next()
		}
	})
}

func TestATickerLeavesOutWhatItMissed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begun := time.Now()
		k := New(time.Second)
		defer k.Stop()
		assert.Equal(t, time.Second, (<-k.C).Sub(begun))
		time.Sleep(3200 * time.Millisecond)
		k.Next()
		assert.Equal(t, 5*time.Second, (<-k.C).Sub(begun))
	})
}

func TestUntil(t *testing.T) {
	at := func(millis int64) time.Time { return time.UnixMilli(1_700_000_000_000 + millis) }
	assert.Equal(t, time.Second, until(at(0), time.Second))
	assert.Equal(t, 600*time.Millisecond, until(at(400), time.Second))
	assert.Equal(t, 1001*time.Millisecond, until(at(999), time.Second), "a clock that runs slow does not make two of one")
}
