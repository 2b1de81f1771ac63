//go:build manual

package main

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"

	"watchtower/gateway"
)

// addManual adds the command that writes the manual pages that packages have. Only a program that is
// built with the tag manual has it.
func addManual(root *cobra.Command) {
	root.AddCommand(&cobra.Command{
		Use:    "manual DIR",
		Short:  "Write a manual page for each command into a directory",
		Args:   cobra.ExactArgs(1),
		Hidden: true,
		RunE: func(_ *cobra.Command, args []string) error {
			if err := os.MkdirAll(args[0], 0o755); err != nil {
				return err
			}
			root.DisableAutoGenTag = true // it has the day, and the same commit gives the same bytes
			err := doc.GenManTree(root, &doc.GenManHeader{Section: "1", Source: "watchtower " + gateway.Version, Manual: "Watchtower"}, args[0])
			if err != nil {
				return fmt.Errorf("manual pages: %w", err)
			}
			return nil
		},
	})
}
