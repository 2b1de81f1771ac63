package main

import (
	"fmt"
	"io"
	"time"
)

// retry is how soon a command is said again that the valve has not confirmed.
const retry = 300 * time.Millisecond

// player is what the conductor wants of a valve, and knows of it.
type player struct {
	name  string
	id    uint32 // its sender; 0: nobody has said so far that it is this valve
	named bool   // the gateway says that it is

	want    bool          // it shall be open
	due     time.Duration // when its last note began, in the score
	unheard bool          // it has not said that it is open since
	told    time.Time     // when it was last told
	asked   time.Time     // when it was first told of the note

	is        string // open, closed, or nothing for one that is lost
	heard     time.Time
	mute      bool // it has been said that it does not answer
	confirmed bool // it has said that it is as it shall be
	soil      int
	firstSoil int
	refused   string // why the gateway did not take a command

	notes, missed int
	late          time.Duration // the most that it opened after its note
}

// heardOf takes what the valve says, and reports whether it has changed.
func (p *player) heardOf(id uint32, s state, at time.Duration) (changed bool) {
	if p.id == 0 {
		p.firstSoil = s.Soil
	}
	p.id, p.refused, p.heard, p.mute = id, "", time.Now(), false
	if s.Tap != "" { // else its last will, which knows nothing of the soil
		p.soil = s.Soil
	}
	if s.Tap == "open" && p.unheard {
		p.unheard = false
		p.late = max(p.late, at-p.due)
	}
	if !p.told.IsZero() { // else it does not know yet how it shall be
		p.confirmed = p.confirmed && p.want || s.Tap == p.word()
	}
	changed = p.is != s.Tap
	p.is = s.Tap
	return changed
}

// refuse takes why the gateway did not take a command: the valve is not there. It reports whether
// that is new.
func (p *player) refuse(why string, out io.Writer) bool {
	if p.refused != why {
		p.refused = why
		fmt.Fprintf(out, "%s: %s\n", p.name, why)
	}
	was := p.is
	p.is = ""
	return was != ""
}

// silent reports whether a valve that is open, or was told to open, has just become one that does
// not answer: then it has closed by itself, or has not opened. One that said that it has closed by
// itself, and shall be open, is told again.
func (p *player) silent(now time.Time, hold time.Duration) bool {
	last := p.heard
	if p.asked.After(last) {
		last = p.asked
	}
	told := (p.unheard || p.want && p.is == "closed") && !p.asked.IsZero()
	if p.mute || p.is != "open" && !told || now.Sub(last) <= hold {
		return false
	}
	p.is, p.mute = "", true
	return true
}

// shall begins or ends a note, planned for due.
func (p *player) shall(open bool, due time.Duration) {
	if open {
		p.over()
	}
	p.want, p.confirmed, p.told, p.asked = open, false, time.Time{}, time.Time{}
	if open {
		p.notes++
		p.due, p.unheard = due, true
	}
}

// over counts the last note, if nothing was heard of it. A short one may be over before the valve
// has said that it is open.
func (p *player) over() {
	if p.unheard {
		p.missed++
	}
	p.unheard = false
}

// word is how it shall be.
func (p *player) word() string {
	if p.want {
		return "open"
	}
	return "closed"
}

// closed reports whether the valve has said so since it was told.
func (p *player) closed() bool { return !p.want && (p.notes == 0 || p.confirmed) }

// command is what the valve is to be told now; "": nothing. An open valve is told again before
// it closes by itself, and one that has not confirmed it soon.
func (p *player) command(now time.Time, hold time.Duration) string {
	since := now.Sub(p.told)
	switch {
	case p.id == 0:
	case p.want && (since >= hold/3 || p.is != "open" && since >= retry):
		p.told = now
		if p.asked.IsZero() {
			p.asked = now
		}
		return fmt.Sprintf("tap open %d", hold/time.Second)
	case !p.want && p.notes > 0 && !p.confirmed && since >= retry:
		p.told = now
		return "tap close"
	}
	return ""
}

// sign shows the valve's state in one column.
func (p *player) sign() string {
	switch p.is {
	case "open":
		return "●"
	case "closed":
		return "·"
	}
	return "?"
}
