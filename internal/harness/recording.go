package harness

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"
)

// Window is a terminal at a place of a picture, in pixels.
type Window struct {
	*Terminal
	Title string
	X, Y  int
}

// Pixels of a window.
const (
	cellWidth, cellHeight = 8, 17
	windowEdge, titleBar  = 10, 24
)

// Size is the window's.
func (w Window) Size() (width, height int) {
	return w.columns*cellWidth + 2*windowEdge, titleBar + w.rows*cellHeight + windowEdge
}

// glimpse is a line that a window showed, from a time to another.
type glimpse struct {
	window, row int
	text        string
	from, to    time.Duration
}

// Recording is a film of terminals.
type Recording struct {
	windows  []Window
	glimpses []*glimpse
	length   time.Duration
}

// Record watches terminals until they have shown all that they should.
func Record(windows []Window, done func() bool) *Recording {
	r := &Recording{windows: windows}
	shown := map[[2]int]*glimpse{}
	begun, tick := time.Now(), time.NewTicker(20*time.Millisecond)
	defer tick.Stop()
	for last := false; ; <-tick.C {
		last = done() // one more look after that
		r.length = time.Since(begun)
		for w, window := range windows {
			for row, text := range strings.Split(window.Screen(), "\n") {
				at := [2]int{w, row}
				if g := shown[at]; g != nil && g.text != text {
					g.to = r.length
					delete(shown, at)
				}
				if text != "" && shown[at] == nil {
					shown[at] = &glimpse{window: w, row: row, text: text, from: r.length}
					r.glimpses = append(r.glimpses, shown[at])
				}
			}
		}
		if last {
			return r
		}
	}
}

// SVG is the film as a picture that plays by itself, again and again, and rests at its end for some
// seconds. What shows no films shows the end.
func (r *Recording) SVG() []byte {
	var b, style bytes.Buffer
	whole := r.length + 4*time.Second
	percent := func(d time.Duration) float64 { return 100 * float64(d) / float64(whole) }
	width, height := 0, 0
	for _, w := range r.windows {
		x, y := w.Size()
		width, height = max(width, w.X+x), max(height, w.Y+y)
		fmt.Fprintf(&b, `<rect x="%d" y="%d" width="%d" height="%d" rx="6"/><text class="title" x="%d" y="%d">%s</text>`+"\n",
			w.X, w.Y, x, y, w.X+windowEdge, w.Y+16, escaped(w.Title))
	}
	for i, g := range r.glimpses {
		w := r.windows[g.window]
		class := ""
		if g.from > 0 || g.to > 0 {
			class = fmt.Sprintf(` class="k%d"`, i)
			fmt.Fprintf(&style, "@keyframes k%d{0%%{opacity:0}%.2f%%{opacity:1}", i, percent(g.from))
			hidden := ""
			if g.to > 0 {
				fmt.Fprintf(&style, "%.2f%%{opacity:0}", percent(g.to))
				hidden = ";opacity:0"
			}
			fmt.Fprintf(&style, "}.k%d{animation:k%d %.2fs step-end infinite%s}\n", i, i, whole.Seconds(), hidden)
		}
		fmt.Fprintf(&b, `<text%s x="%d" y="%d" textLength="%d">%s</text>`+"\n", class,
			w.X+windowEdge, w.Y+titleBar+13+g.row*cellHeight, cellWidth*utf8.RuneCountInString(g.text), escaped(g.text))
	}
	return fmt.Appendf(nil, `<svg xmlns="http://www.w3.org/2000/svg" xml:space="preserve" viewBox="0 0 %d %d">
<style>rect{fill:#1d2021}text{font:13px monospace;white-space:pre;fill:#d5c4a1}.title{fill:#928374}
@media (prefers-reduced-motion){text{animation:none!important}}
%s</style>
%s</svg>
`, width, height, style.Bytes(), b.Bytes())
}

func escaped(text string) string {
	var b bytes.Buffer
	_ = xml.EscapeText(&b, []byte(text)) // to memory
	return b.String()
}
