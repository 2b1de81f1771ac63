package main

import (
	"bytes"
	"encoding/binary"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gitlab.com/gomidi/midi/v2"
	"gitlab.com/gomidi/midi/v2/smf"
)

var plainly = reading{speed: 1, longest: time.Hour}

const ms = time.Millisecond

// Chords and notes that touch are one opening; keys that nobody lets go end with the track; tracks
// of one name are one valve; the tempo may change, in a track of its own.
func TestScores(t *testing.T) {
	t.Parallel()
	s := smf.NewSMF1()
	s.TimeFormat = smf.MetricTicks(500)
	var tempo, chord, again, held smf.Track
	tempo.Add(0, smf.MetaTempo(120))
	tempo.Add(1000, smf.MetaTempo(60)) // from here a tick is two milliseconds
	tempo.Close(0)
	chord.Add(0, smf.MetaTrackSequenceName("rose "))
	chord.Add(0, midi.NoteOn(0, 60, 100))
	chord.Add(100, midi.NoteOn(0, 64, 100))
	chord.Add(100, midi.NoteOff(0, 60))
	chord.Add(100, midi.NoteOff(0, 64))
	chord.Add(0, midi.NoteOn(0, 67, 100)) // touches
	chord.Add(100, midi.NoteOn(0, 67, 0)) // is a NoteOff
	chord.Close(0)
	again.Add(0, smf.MetaTrackSequenceName("rose"))
	again.Add(350, midi.NoteOn(1, 60, 100))
	again.Add(150, midi.NoteOff(1, 60))
	again.Add(0, midi.NoteOff(1, 61)) // was never on
	again.Close(0)
	held.Add(0, smf.MetaTrackSequenceName("fern"))
	held.Add(900, midi.NoteOn(0, 60, 100))
	held.Add(200, midi.NoteOn(0, 60, 100)) // is on already
	held.Add(100, midi.ProgramChange(0, 60))
	held.Close(0)
	for _, track := range []smf.Track{tempo, chord, again, held} {
		require.NoError(t, s.Add(track))
	}
	b, err := s.Bytes()
	require.NoError(t, err)
	got, err := plainly.read(b)
	require.NoError(t, err)
	want := score{valves: []string{"rose", "fern"}, notes: []note{{"rose", 0, 500 * ms}, {"fern", 900 * ms, 1400 * ms}}}
	assert.Equal(t, want, got)

	got, err = reading{speed: 2, longest: time.Hour, valves: []string{"a", "b", "c"}}.read(b)
	require.NoError(t, err)
	assert.Equal(t, []note{{"a", 0, 200 * ms}, {"b", 175 * ms, 250 * ms}, {"c", 450 * ms, 700 * ms}}, got.notes)
}

// What is no score is refused, and the error says why.
func TestNoScores(t *testing.T) {
	t.Parallel()
	bytesOf := func(file string) []byte {
		b, err := os.ReadFile(file)
		require.NoError(t, err)
		return b
	}
	good := bytesOf("valkyries.mid")
	changed := func(at int, to byte) []byte {
		b := bytes.Clone(good)
		b[at] = to
		return b
	}
	many := smf.New()
	var track smf.Track
	for range tempoChanges + 1 {
		track.Add(1, smf.MetaTempo(100))
	}
	track.Close(0)
	require.NoError(t, many.Add(track))
	tempos, err := many.Bytes()
	require.NoError(t, err)
	one := func(p part) []byte { return bytesOf(written(t, p)) }
	for _, c := range []struct {
		data []byte
		want string
	}{
		{nil, "it is no MIDI file"},
		{[]byte("\x89PNG\r\n\x1a\n and so on, as long as a header"), "it is no MIDI file: those begin with MThd"},
		{good[:14], "it has no notes"},
		{good[:100], "it is damaged"},
		{changed(12, 0xe7), "frames of a film (SMPTE)"},
		{bytes.Replace(good, []byte{0xff, 0x51, 3, 5, 22, 21}, []byte{0xff, 0x51, 3, 0, 0, 0}, 1), "beats a minute"},
		{make([]byte, scoreBytes+1), "and a score at most 262144"},
		{tempos, "its tempo changes 1001 times"},
		{one(part{"rose", nil}), "it has no notes"},
		{one(part{"rose", [][2]uint32{{5, 5}}}), "it has no notes"},
		{one(part{"", [][2]uint32{{0, 100}}}), "track 1 has notes and no name"},
		{one(part{"two words", [][2]uint32{{0, 100}}}), `track 1 is named "two words"`},
		{one(part{strings.Repeat("x", 33), [][2]uint32{{0, 100}}}), "which no valve can be"},
		{one(part{"rose", [][2]uint32{{3_600_000, 3_601_000}}}), "it lasts 1h0m1s, and -longest is 1h0m0s"},
	} {
		_, err := plainly.read(c.data)
		if assert.Error(t, err, c.want) {
			assert.Contains(t, err.Error(), c.want)
		}
	}
	_, err = reading{speed: 1, longest: time.Hour, valves: []string{"rose"}}.read(good)
	require.EqualError(t, err, "track 3 has notes, and -valves names only 1")
	file := filepath.Join(t.TempDir(), "no.mid")
	require.NoError(t, os.WriteFile(file, []byte("la la la"), 0o600))
	_, err = open(file, plainly)
	require.EqualError(t, err, file+": it is no MIDI file: those begin with MThd")
}

// No file ends the program or takes long, and what is read is in order.
func FuzzScore(f *testing.F) {
	good, err := os.ReadFile("valkyries.mid")
	require.NoError(f, err)
	f.Add(good)
	for _, at := range []int{9, 11, 12, 13, 21, 40, 60} {
		b := bytes.Clone(good)
		b[at] ^= 0xff
		f.Add(b)
	}
	header := binary.BigEndian.AppendUint32([]byte("MThd\x00\x00\x00\x06\x00\x01\xff\xff\x00\x60MTrk"), 0xffffffff)
	f.Add(append(header, 0, 0xff, 1, 0xff, 0xff, 0xff, 0x7f))
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := plainly.read(b)
		if err != nil {
			return
		}
		if len(s.notes) == 0 || s.length() > time.Hour {
			t.Errorf("%d notes of %v", len(s.notes), s.length())
		}
		last := map[string]time.Duration{}
		for _, n := range s.notes {
			if n.on < last[n.valve] || n.off <= n.on || !valveName.MatchString(n.valve) {
				t.Errorf("%+v after %v", n, last[n.valve])
			}
			last[n.valve] = n.off
		}
	})
}
