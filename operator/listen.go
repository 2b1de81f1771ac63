package operator

import (
	"context"
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"github.com/oklog/ulid/v2"

	"watchtower/bridge"
	"watchtower/bridge/jsonline"
)

// Protocol is how lists of members and metrics name a page that may be sent to.
var Protocol = bridge.NewProtocol("console")

// The queue of what pages listen to. What does not fit is counted as a drop of the bus.
const (
	tapMessages = 4096
	tapBytes    = 16 << 20
)

// Listening is not joining: what is said on a channel comes by a tap, so neither members
// nor delivery reports change because somebody looks. Only a page that has said something
// on a channel can be sent to there, by an attachment that makes nobody a member.
type ears struct {
	hub *bridge.Hub
	tap *bridge.Link // broadcasts
	own *bridge.Link // what is sent to operators

	mu    sync.Mutex
	pages map[bridge.Channel]map[*page]struct{}
	heard atomic.Pointer[map[bridge.Channel]struct{}] // channels with a page; nil: none
}

func newEars(hub *bridge.Hub) *ears {
	e := &ears{hub: hub, pages: map[bridge.Channel]map[*page]struct{}{}}
	e.tap = hub.AddTap(0, tapMessages, tapBytes, e.wants)
	e.own = hub.AddLink(Protocol, tapMessages, 0)
	return e
}

// wants is called in the publisher's goroutine.
func (e *ears) wants(m *bridge.Message) bool {
	heard := e.heard.Load()
	if heard == nil {
		return false
	}
	_, ok := (*heard)[m.Channel]
	return ok
}

// run hands out what is said until ctx ends.
func (e *ears) run(ctx context.Context) {
	var both sync.WaitGroup
	both.Go(func() { e.tap.Run(ctx, e.overheard) })
	both.Go(func() { e.own.Run(ctx, e.sent) })
	both.Wait()
}

func (e *ears) overheard(jobs []bridge.Job) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, j := range jobs {
		if pages := e.pages[j.Message.Channel]; len(pages) > 0 {
			text := jsonline.Append(make([]byte, 0, jsonline.Size(j.Message)), j.Message)
			for p := range pages {
				p.hear(j.Message, text)
			}
		}
		j.Release()
	}
}

// sent gives what is sent to an operator's sender to the pages of that operator.
func (e *ears) sent(jobs []bridge.Job) {
	for _, j := range jobs {
		offered := 0
		for _, a := range j.To {
			if p, ok := a.Member.(*page); ok && a.Wants(j.Message) {
				p.hear(j.Message, jsonline.Append(nil, j.Message))
				offered++
			}
		}
		j.Done(e.hub.Counters(), Protocol, offered, 0)
	}
}

func (e *ears) add(c bridge.Channel, p *page) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.pages[c] == nil {
		e.pages[c] = map[*page]struct{}{}
	}
	e.pages[c][p] = struct{}{}
	e.noteLocked()
}

func (e *ears) remove(c bridge.Channel, p *page) {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.pages[c], p)
	if len(e.pages[c]) == 0 {
		delete(e.pages, c)
	}
	e.noteLocked()
}

func (e *ears) noteLocked() {
	if len(e.pages) == 0 {
		e.heard.Store(nil)
		return
	}
	heard := make(map[bridge.Channel]struct{}, len(e.pages))
	for c := range maps.Keys(e.pages) {
		heard[c] = struct{}{}
	}
	e.heard.Store(&heard)
}

// listening is one channel that a page listens to. Guarded by the page's lock.
type listening struct {
	most    int // messages a second
	second  int64
	count   int                    // of them in this second
	skipped int                    // since the page was told
	catch   bool                   // what was said before is on its way: what comes waits in late
	late    [][]byte               // lines
	ids     []ulid.ULID            // of late
	before  map[ulid.ULID]struct{} // what the page got of what was said before
	answers *bridge.Attachment     // by which the page's operator can be sent to; nil: not yet
}

// listen begins to give a page what is said on a channel, after what was said before.
func (p *page) listen(a asked) error {
	if a.Most < 0 {
		return fault(invalidField, "most", "must be a number of messages a second, is %d", a.Most)
	}
	p.mu.Lock()
	full := p.listening[a.Listen] == nil && len(p.listening) >= listensMost
	if !full {
		l := &listening{most: a.Most, catch: true}
		if l.most == 0 {
			l.most = usualMost
		}
		if old := p.listening[a.Listen]; old != nil {
			l.answers = old.answers
		}
		p.listening[a.Listen] = l
	}
	p.mu.Unlock()
	if full {
		return fault(invalidField, "listen", "a page listens to at most %d channels", listensMost)
	}
	p.service.ears.add(a.Listen, p)
	missed, gap, err := p.service.opts.Missed(a.Listen, a.Since)
	if err != nil {
		p.unlisten(a.Listen)
		return fault(invalidField, "since", "%q is neither a message's id, nor a time such as 10m, nor all", bridge.Shorten(a.Since))
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	l := p.listening[a.Listen]
	if l == nil { // it was quick
		return nil
	}
	if gap {
		p.rawLocked(jsonline.AppendGap(nil, a.Listen))
	}
	l.before = make(map[ulid.ULID]struct{}, len(missed))
	for _, m := range missed {
		l.before[m.ID] = struct{}{}
		p.rawLocked(jsonline.Append(nil, m))
	}
	for i, text := range l.late {
		if _, twice := l.before[l.ids[i]]; !twice {
			p.rawLocked(text)
		}
	}
	l.catch, l.late, l.ids = false, nil, nil
	p.rawLocked(mustJSON(struct {
		Type    string         `json:"type"`
		Channel bridge.Channel `json:"channel"`
	}{"listening", a.Listen}))
	p.rouse()
	return nil
}

// hear gives a page a message, unless the channel's are too many in this second.
func (p *page) hear(m *bridge.Message, text []byte) {
	now := time.Now().Unix()
	p.mu.Lock()
	defer p.mu.Unlock()
	l := p.listening[m.Channel]
	if l == nil {
		return
	}
	if now != l.second {
		l.second, l.count = now, 0
	}
	if l.count++; l.count > l.most && m.Type == bridge.Broadcast {
		l.skipped++
		return
	}
	if l.catch {
		l.late, l.ids = append(l.late, text), append(l.ids, m.ID)
		return
	}
	if _, twice := l.before[m.ID]; twice {
		return
	}
	p.rawLocked(text)
	p.rouse()
}

// tellSkipped tells a page how many messages it was not given.
func (p *page) tellSkipped() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c, l := range p.listening {
		if l.skipped == 0 {
			continue
		}
		p.rawLocked(mustJSON(struct {
			Type    string         `json:"type"`
			Channel bridge.Channel `json:"channel"`
			N       int            `json:"n"`
		}{"skipped", c, l.skipped}))
		l.skipped = 0
		p.rouse()
	}
}

func (p *page) unlisten(c bridge.Channel) {
	p.service.ears.remove(c, p)
	p.mu.Lock()
	l := p.listening[c]
	delete(p.listening, c)
	p.mu.Unlock()
	if l != nil && l.answers != nil {
		p.service.hub.Detach(l.answers)
	}
}

func (p *page) unlistenAll() {
	p.mu.Lock()
	channels := make([]bridge.Channel, 0, len(p.listening))
	for c := range p.listening {
		channels = append(channels, c)
	}
	p.mu.Unlock()
	for _, c := range channels {
		p.unlisten(c)
	}
}
