// Command watchtower is the gateway, and a client of it for people.
//
// This package reads the command line and writes to the terminal. Package gateway has the
// gateway, package config its settings.
package main

import (
	"os"

	// The authorities that count where the system has none, as in a container of this program
	// alone: callbacks need them.
	_ "golang.org/x/crypto/x509roots/fallback"
)

func main() {
	os.Exit(run(os.Args[1:], system()))
}
