//go:build !unix

package atomicfile

import "os"

// ToOwner does nothing: a file has the rights of its directory.
func ToOwner(*os.File) error { return nil }
