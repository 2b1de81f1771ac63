package cluster

import (
	"context"
	"encoding/binary"
	"time"

	"watchtower/bridge"
)

// A request to a gateway, and its answer:
//
//	frames:  1 | run u64 | from u64 | to u64     → length u32, frame | …
//	members: 2 | channel, sender uvarint         → members entries after that one; fewer than membersAsked: no more
//	claims:  4 | key 16                          → claims after that one; fewer than claimsAsked: no more
//	groups:  5 | filter long                     → groups after that one; none: no more
const (
	askFrames  = 1
	askMembers = 2
	askClaims  = 4
	askGroups  = 5
)

const (
	answerBytes  = 512 << 10
	membersAsked = 4096 // in one answer: 350 KiB at most
	askPatience  = 500 * time.Millisecond
	askAgain     = 50 * time.Millisecond
	claimsAsked  = 8192 // in one answer: 400 KiB at most
	groupsAsked  = 1024 // in one answer
	askRounds    = 1 << 12
)

// answer answers another gateway.
func (n *Node) answer(request []byte) []byte {
	c := cursor{b: request}
	switch c.byte() {
	case askFrames:
		run, from, to := c.uint64(), c.uint64(), c.uint64()
		if !c.bad {
			return n.stream.again(run, from, to)
		}
	case askMembers:
		after := bridge.PeerMember{Channel: bridge.Channel(c.number()), Sender: bridge.SenderID(c.number())}
		if !c.bad {
			var b []byte
			for _, m := range n.hub.Peers().Members(after, membersAsked) {
				b = appendMember(b, m)
			}
			return append(b, byte(kindState), 0) // an answer is never empty
		}
	case askClaims:
		var after bridge.ClaimKey
		copy(after[:], c.bytes(len(after)))
		if !c.bad {
			var b []byte
			for _, claim := range n.hub.Peers().Claims(after, claimsAsked) {
				b = appendClaim(b, claim)
			}
			return append(b, byte(kindState), 0)
		}
	case askGroups:
		if after := string(c.long()); !c.bad {
			var b []byte
			for _, g := range n.hub.Peers().Groups(after, groupsAsked) {
				b = appendGroup(b, g)
			}
			return append(b, byte(kindState), 0)
		}
	}
	return nil
}

// ask asks the origin, again and again until it is gone: then here is false. Its answer is empty if
// it does not know the question.
func (o *origin) ask(ctx context.Context, request []byte) (answer []byte, here bool) {
	for ctx.Err() == nil && !o.silent() {
		answer, err := o.node.transport.Request(ctx, o.slot, request, askPatience)
		if err == nil {
			return answer, true
		}
		pause(ctx, askAgain) // some errors come at once
	}
	return nil, false
}

func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}

// mendPause is between two frames that were missed. Some thousand messages in one moment would
// overrun the queues of members that take some hundred.
const mendPause = 2 * time.Millisecond

// mend asks for the frames before a number, and delivers them. Frames that come meanwhile wait.
func (o *origin) mend(ctx context.Context, to uint64) {
	o.mending = true
	defer func() { o.mending = false }()
	for o.next < to {
		request := []byte{askFrames}
		for _, v := range []uint64{o.run, o.next, to} {
			request = binary.BigEndian.AppendUint64(request, v)
		}
		answer, _ := o.ask(ctx, request)
		was := o.next
		for len(answer) >= 4 {
			length := int(binary.BigEndian.Uint32(answer))
			if length > len(answer)-4 {
				break
			}
			f, err := readFrame(answer[4 : 4+length])
			answer = answer[4+length:]
			if err != nil || f.run != o.run || f.slot != o.slot {
				break
			}
			if f.first > o.next {
				o.lose(f.first - o.next)
				o.next = f.first
				was = o.next
			}
			o.deliver(f)
			pause(ctx, mendPause)
		}
		if o.next <= was {
			return
		}
		o.stats.resent.Add(o.next - was)
	}
}

// sync asks for all members of the origin, and for what it claims. If the origin is gone before it has
// told all, it is asked again once it is heard.
func (o *origin) sync(ctx context.Context) {
	o.asked = time.Now()
	members, known, _ := asked(ctx, o, membersAsked, kindMember, readMember, func(after bridge.PeerMember) []byte {
		return binary.AppendUvarint(binary.AppendUvarint([]byte{askMembers}, uint64(after.Channel)), uint64(after.Sender))
	})
	if !known {
		return
	}
	claims, _, here := asked(ctx, o, claimsAsked, kindOpen, readClaim, func(after bridge.Claim) []byte {
		return append([]byte{askClaims}, after.Key[:]...)
	}) // an older gateway does not know that question
	if !here {
		return
	}
	groups, _, here := asked(ctx, o, 1, kindGroup, readGroup, func(after bridge.PeerGroup) []byte {
		return appendLong([]byte{askGroups}, after.Filter)
	})
	if !here {
		return
	}
	o.node.hub.Peers().ReplaceGroups(o.slot, groups)
	o.node.hub.Peers().Replace(o.slot, *o.name.Load(), members)
	o.node.lose(o.node.hub.Peers().ReplaceClaims(o.slot, claims))
	o.synced.Store(true)
}

// asked asks the origin for all entries of a kind: full of them at a time, after the last that was
// told. It reports whether the origin knows the question, and whether it is here.
func asked[T any](ctx context.Context, o *origin, full int, of kind, read func(body []byte) (T, bool), request func(after T) []byte) (all []T, known, here bool) {
	var after T
	for range askRounds {
		answer, here := o.ask(ctx, request(after))
		if len(answer) == 0 {
			return nil, false, here
		}
		some := 0
		for rest := answer; len(rest) > 0; {
			k, body, next, ok := readEntry(rest)
			if !ok {
				return nil, false, true
			}
			rest = next
			if one, ok := read(body); ok && k == of {
				all, after = append(all, one), one
				some++
			}
		}
		if some < full {
			break
		}
	}
	return all, true, true
}
