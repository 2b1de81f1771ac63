//go:build !race

package console_test

import (
	"fmt"
	"slices"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/heapprofiler"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp/kb"
	"github.com/stretchr/testify/assert"
)

// floods says 2,000 messages of 70 bytes a second until stop is called.
func (s *speaker) floods(channel int) (said *atomic.Int64, stop func()) {
	const every, each = 10 * time.Millisecond, 20
	said = new(atomic.Int64)
	end, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		t := time.NewTicker(every)
		defer t.Stop()
		for begun, n := time.Now(), 0; ; {
			for ; n < int(time.Since(begun)/every)*each; n++ {
				s.says(channel, fmt.Sprintf("%-70d", n))
				said.Add(1)
			}
			select {
			case <-end:
				return
			case <-t.C:
			}
		}
	}()
	return said, func() { close(end); <-ended }
}

// slowed has the page's processor be so many times slower.
func (p *page) slowed(times float64) {
	p.Helper()
	ask(p, emulation.SetCPUThrottlingRate, emulation.SetCPUThrottlingRateParams{Rate: times})
}

// Looking at 2,000 messages a second is smooth on a phone, whose processor is about four times
// slower.
func TestAFloodOfMessages(t *testing.T) {
	r := start(t)
	s := r.speaker("machine", 5)
	p := r.as("lou", "channels/5")
	p.reads("Nothing was said here lately.")
	p.slowed(4)
	said, stop := s.floods(5)
	rate := `Number(document.querySelector(".bar .rate")?.textContent.replace(",", ""))`
	p.waits(rate + ` > 1500`)
	begun := evaluate[float64](p, `(() => {
		window.drawings = 0
		const changes = new MutationObserver(() => window.drawings++)
		changes.observe(document.querySelector(".log"), { subtree: true, characterData: true, childList: true })
		return performance.now()
	})()`)
	type look struct{ Pictures, Elements, Rate, Real, Drawings, Until float64 }
	var seen []look
	median := func(of func(look) float64) float64 {
		all := make([]float64, len(seen))
		for i, l := range seen {
			all[i] = of(l)
		}
		slices.Sort(all)
		return all[len(all)/2]
	}
	pictures := func() float64 { return median(func(l look) float64 { return l.Pictures }) }
	// Five seconds count. They may come late: a machine with other work draws less.
	for n := 0; len(seen) < 5 || pictures() < 30 && n < 20; n++ {
		from, before := time.Now(), said.Load()
		l := evaluate[look](p, `(async () => {
			let pictures = 0, ended = false
			const count = () => { pictures++; ended || requestAnimationFrame(count) }
			const at = performance.now()
			count()
			await new Promise(f => setTimeout(f, 1000))
			const until = performance.now()
			ended = true
			return { Pictures: pictures / (until - at) * 1000, Drawings: window.drawings, Until: until, Elements: document.querySelectorAll("*").length, Rate: `+rate+` }
		})()`)
		l.Real = float64(said.Load()-before) / time.Since(from).Seconds()
		t.Logf("%.0f", l)
		seen = append(seen[max(0, len(seen)-4):], l)
	}
	stop()
	last := seen[len(seen)-1]
	assert.GreaterOrEqual(t, pictures(), 30.0, "pictures a second")
	assert.LessOrEqual(t, last.Drawings/(last.Until-begun)*1000, 4.5, "drawings of the list a second")
	assert.InEpsilon(t, median(func(l look) float64 { return l.Real }), median(func(l look) float64 { return l.Rate }), 0.05, "the rate that is shown")
	assert.Less(t, last.Elements, 2000.0)

	s.says(5, "after the flood")
	ended := time.Now()
	p.reads("after the flood")
	assert.Less(t, time.Since(ended), 5*time.Second, "it is live again")
	ask(p, heapprofiler.CollectGarbage, cdp.Empty{})
	assert.Less(t, ask(p, runtime.GetHeapUsage, cdp.Empty{}).UsedSize, 64e6, "bytes of objects in the page")

	// Nothing was lost on the way, and the oldest were let go.
	p.slowed(1)
	p.do(`document.querySelector("[role=listbox]").focus()`)
	p.key(kb.Home)
	older := strconv.FormatInt(said.Load()+1-5000, 10)
	older = older[:len(older)-3] + "," + older[len(older)-3:]
	p.reads(older + " older messages were let go")
}
