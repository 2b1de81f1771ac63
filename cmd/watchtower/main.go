// Command watchtower is the gateway, and a client of it for people.
//
// This package reads the command line and speaks to the terminal. What a
// gateway does is in package gateway; what can be set in package config.
package main

import "os"

func main() {
	os.Exit(run(os.Args[1:], system()))
}
