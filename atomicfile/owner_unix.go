//go:build unix

package atomicfile

import (
	"os"
	"path/filepath"
	"syscall"
)

// ToOwner gives a file that root has made to whom its directory belongs, so that a service reads
// what root does in its directory. Whoever is not root keeps the file.
func ToOwner(f *os.File) error {
	if os.Geteuid() != 0 {
		return nil
	}
	info, err := os.Stat(filepath.Dir(f.Name()))
	if err != nil {
		return err
	}
	dir, ok := info.Sys().(*syscall.Stat_t)
	if !ok || dir.Uid == 0 {
		return nil
	}
	return f.Chown(int(dir.Uid), int(dir.Gid))
}
