package gateway

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"watchtower/backup"
	"watchtower/boltfile"
	"watchtower/bridge/store"
	mqttstore "watchtower/mqtt/store"
)

// backedUp are the files of a backup: both databases, and the keys that were
// generated, without which the rest is of no use to devices.
var backedUp = []string{stateFile, storeFile, keyFile, adminKeyFile}

// backup copies what is on disk. What the broker knows refers to senders, and never
// the other way: a session without its sender is lost, a sender without a session is
// only one that has none. So the broker's state is fixed first, then everything that
// was registered until then is written, and then who is known is fixed. What was
// deleted between the two is gone from the copy as after a start.
func (g *Gateway) backup() (copies *backup.Copies, err error) {
	state, err := g.state.Snapshot()
	if err != nil {
		return nil, err
	}
	defer state.Close()
	if err := g.store.Flush(); err != nil {
		return nil, err
	}
	known, err := g.store.Snapshot()
	if err != nil {
		return nil, err
	}
	defer known.Close()
	copies = backup.NewCopies(Version, fmt.Sprintf("%08x", g.id))
	defer func() {
		if err != nil {
			copies.Close()
		}
	}()
	add := func(name string, s *boltfile.Snapshot) error {
		return copies.Add(g.cfg.DataDir, name, func(w io.Writer) error { _, err := s.WriteTo(w); return err })
	}
	if err := errors.Join(add(stateFile, state), add(storeFile, known)); err != nil {
		return nil, err
	}
	for _, name := range []string{keyFile, adminKeyFile} {
		b, err := os.ReadFile(filepath.Join(g.cfg.DataDir, name))
		if errors.Is(err, fs.ErrNotExist) {
			continue // it is configured
		}
		if err == nil {
			err = copies.Add(g.cfg.DataDir, name, func(w io.Writer) error { _, err := w.Write(b); return err })
		}
		if err != nil {
			return nil, err
		}
	}
	return copies, nil
}

// Restore puts a backup in place in a data directory that no gateway uses. What was
// there is kept under other names.
func Restore(dir string, from io.Reader) (backup.Restored, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return backup.Restored{}, err
	}
	unlock, err := boltfile.LockDir(dir)
	if err != nil {
		return backup.Restored{}, err
	}
	defer unlock()
	for _, name := range []string{storeFile, stateFile} { // earlier versions lock these alone
		if _, err := mqttstore.Inspect(filepath.Join(dir, name)); errors.Is(err, boltfile.ErrInUse) {
			return backup.Restored{}, err
		}
	}
	return backup.Restore(from, backup.Plan{
		Dir: dir, Files: backedUp, Required: []string{storeFile, stateFile},
		Check: func(name, path string) error {
			switch name {
			case storeFile:
				return store.Verify(path)
			case stateFile:
				return mqttstore.Verify(path)
			}
			return nil
		},
	})
}

// VerifyBackup reads a backup to its end, and says what is wrong with it.
func VerifyBackup(from io.Reader) error {
	_, err := backup.Verify(from)
	return err
}
