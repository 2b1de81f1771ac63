package main

import (
	"io"
	"os"
	"strings"

	"golang.org/x/term"
	"rsc.io/qr"
)

// quietModules is the margin that a QR code needs (ISO/IEC 18004, 9.1).
const quietModules = 4

// Black on white, whatever the terminal's colours are: cameras expect that.
const (
	blackOnWhite = "\x1b[38;5;16;48;5;231m"
	usualColours = "\x1b[0m"
)

// qrCode draws a text as a QR code, two modules in each character.
func qrCode(text string) (string, error) {
	code, err := qr.Encode(text, qr.M)
	if err != nil {
		return "", err
	}
	dark := func(x, y int) bool {
		return code.Black(x, y)
	}
	var b strings.Builder
	for y := -quietModules; y < code.Size+quietModules; y += 2 {
		b.WriteString(blackOnWhite)
		for x := -quietModules; x < code.Size+quietModules; x++ {
			switch upper, lower := dark(x, y), dark(x, y+1); {
			case upper && lower:
				b.WriteRune('█')
			case upper:
				b.WriteRune('▀')
			case lower:
				b.WriteRune('▄')
			default:
				b.WriteByte(' ')
			}
		}
		b.WriteString(usualColours + "\n")
	}
	return b.String(), nil
}

// isTerminal reports whether a command prints for a person.
func isTerminal(w io.Writer) bool {
	if p, ok := w.(*printer); ok {
		w = p.to
	}
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}
