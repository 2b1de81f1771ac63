package main

import (
	"bytes"
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"gitlab.com/gomidi/midi/v2/smf"
)

// note is a time for which a valve is open, counted from the beginning of the score.
type note struct {
	valve   string
	on, off time.Duration
}

// score is what is played.
type score struct {
	valves []string // in the order of their tracks
	notes  []note   // in the order in which they begin
}

// length is when the last note ends.
func (s score) length() (end time.Duration) {
	for _, n := range s.notes {
		end = max(end, n.off)
	}
	return end
}

// reading says how a score is read.
type reading struct {
	valves  []string      // in place of the names of the tracks that have notes; empty: those
	speed   float64       // how much faster it is played
	longest time.Duration // that it may be
}

// Limits of a score. The library takes a time that grows with the square of the changes of tempo.
const (
	scoreBytes   = 256 << 10
	tempoChanges = 1000
	scoreTicks   = 1 << 32
)

// valveName is what a device may be called.
var valveName = regexp.MustCompile(`^[A-Za-z0-9_.:-]{1,32}$`)

// read reads a Standard MIDI File. A valve is open while any note of its track is on, and stays
// open between two notes that touch. Errors name the track.
func (r reading) read(data []byte) (score, error) {
	file, err := parseMIDI(data)
	if err != nil {
		return score{}, err
	}
	turns := map[string][]turn{}
	var s score
	for i, track := range file.Tracks {
		name, all, err := r.turns(file, track)
		if err != nil {
			return score{}, fmt.Errorf("track %d: %w", i+1, err)
		}
		if len(all) == 0 {
			continue // it has the tempo only
		}
		if len(r.valves) > 0 {
			if name = ""; len(s.valves) < len(r.valves) {
				name = r.valves[len(s.valves)]
			}
		}
		switch {
		case name == "" && len(r.valves) > 0:
			return score{}, fmt.Errorf("track %d has notes, and -valves names only %d", i+1, len(r.valves))
		case name == "":
			return score{}, fmt.Errorf("track %d has notes and no name: name it after a valve, or say -valves", i+1)
		case !valveName.MatchString(name):
			return score{}, fmt.Errorf("track %d is named %q, which no valve can be: 1 to 32 of A–Z a–z 0–9 _ . : -", i+1, name)
		}
		if !slices.Contains(s.valves, name) {
			s.valves = append(s.valves, name)
		}
		turns[name] = append(turns[name], all...)
	}
	for _, name := range s.valves {
		s.notes = append(s.notes, notes(name, turns[name])...)
	}
	slices.SortStableFunc(s.notes, func(a, b note) int { return cmp.Compare(a.on, b.on) })
	switch {
	case len(s.notes) == 0:
		return score{}, fmt.Errorf("it has no notes")
	case s.length() > r.longest:
		return score{}, fmt.Errorf("it lasts %v, and -longest is %v", s.length().Round(time.Second), r.longest)
	}
	return s, nil
}

// parseMIDI reads what the library can read, and the rest of this file can count.
func parseMIDI(data []byte) (*smf.SMF, error) {
	switch {
	case len(data) > scoreBytes:
		return nil, fmt.Errorf("it has %d bytes, and a score at most %d", len(data), scoreBytes)
	case len(data) < 14 || !bytes.HasPrefix(data, []byte("MThd")):
		return nil, fmt.Errorf("it is no MIDI file: those begin with MThd")
	case data[12]&0x80 != 0:
		return nil, fmt.Errorf("its times are frames of a film (SMPTE), and not beats") // the library ends the program
	}
	file, err := smf.ReadFrom(bytes.NewReader(data))
	switch {
	case err != nil:
		return nil, fmt.Errorf("it is damaged: %w", err)
	case len(file.TempoChanges()) > tempoChanges:
		return nil, fmt.Errorf("its tempo changes %d times, at most %d are read", len(file.TempoChanges()), tempoChanges)
	}
	for _, change := range file.TempoChanges() {
		if change.BPM < 1 || change.BPM > 10_000 {
			return nil, fmt.Errorf("its tempo is %g beats a minute, which is not from 1 to 10,000", change.BPM)
		}
	}
	return file, nil
}

// turn is a key that is pressed or let go.
type turn struct {
	at time.Duration
	by int // 1 or -1
}

// turns returns the name of a track and what its keys do. A key that is still down at the end is
// let go there.
func (r reading) turns(file *smf.SMF, track smf.Track) (name string, all []turn, err error) {
	down := map[[2]uint8]bool{} // by channel and key
	var ticks int64
	var at time.Duration
	for _, event := range track {
		if ticks += int64(event.Delta); ticks >= scoreTicks {
			return "", nil, fmt.Errorf("it has more than %d ticks", int64(scoreTicks)-1)
		}
		var channel, key, velocity uint8
		var text string
		m := event.Message
		switch {
		case m.GetMetaTrackName(&text):
			name = strings.TrimSpace(text)
		case m.GetNoteStart(&channel, &key, &velocity):
			if k := [2]uint8{channel, key}; !down[k] {
				down[k] = true
				at = r.time(file, ticks)
				all = append(all, turn{at, 1})
			}
		case m.GetNoteEnd(&channel, &key):
			if k := [2]uint8{channel, key}; down[k] {
				delete(down, k)
				at = r.time(file, ticks)
				all = append(all, turn{at, -1})
			}
		}
	}
	for range down {
		all = append(all, turn{r.time(file, ticks), -1})
	}
	return name, all, nil
}

func (r reading) time(file *smf.SMF, ticks int64) time.Duration {
	return time.Duration(float64(file.TimeAt(ticks)) * float64(time.Microsecond) / r.speed)
}

// notes are the times in which any key is down.
func notes(valve string, all []turn) (open []note) {
	slices.SortStableFunc(all, func(a, b turn) int {
		return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(b.by, a.by)) // notes that touch are one
	})
	down := 0
	for _, t := range all {
		if down == 0 {
			open = append(open, note{valve: valve, on: t.at})
		}
		if down += t.by; down == 0 {
			open[len(open)-1].off = t.at
		}
	}
	return slices.DeleteFunc(open, func(n note) bool { return n.on == n.off })
}
