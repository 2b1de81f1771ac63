package outbound

import (
	"sync"
	"testing"
)

func TestALatchLetsAllGoOn(t *testing.T) {
	t.Parallel()
	for range 1000 {
		var l Latch
		var waiting sync.WaitGroup
		for range 4 {
			waiting.Go(func() { <-l.Done() })
		}
		waiting.Go(l.Close)
		waiting.Wait()
		l.Close()
		<-l.Done()
	}
	var open Latch
	select {
	case <-open.Done():
		t.Fatal("nobody has closed it")
	default:
	}
}
