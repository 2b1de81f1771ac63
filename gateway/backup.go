package gateway

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"watchtower/backup"
	"watchtower/boltfile"
	"watchtower/bridge/store"
	mqttstore "watchtower/mqtt/store"
)

// backedUp are the files of a backup: both databases and the generated keys. Without the
// keys devices could not use the rest.
var backedUp = []string{stateFile, storeFile, keyFile, adminKeyFile}

// backup copies what is on disk. The broker's database refers to senders, and not the
// other way round: a session without its sender would be lost, but a sender needs no
// session. So the order is: a snapshot of the broker's database, then a write of all
// registrations so far, then a snapshot of the senders. A sender that is deleted between
// the two snapshots leaves a session, which the next start removes.
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
			continue // there is none: the key is configured
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

// backupDocument holds when the last backup was taken, in Unix seconds.
const backupDocument = "last_backup"

// readLastBackup reads when the last backup was taken: by this gateway, or the one that was restored.
func (g *Gateway) readLastBackup() error {
	text, err := g.store.Document(backupDocument).Load()
	if err != nil || text == nil {
		return err
	}
	at, err := strconv.ParseInt(string(text), 10, 64)
	if err != nil {
		return fmt.Errorf("the time of the last backup: %w", err)
	}
	g.lastBackup.Store(at)
	return nil
}

// backedUp notes that a backup has been taken just now.
func (g *Gateway) backedUp() {
	now := time.Now().Unix()
	g.lastBackup.Store(now)
	_ = g.store.Document(backupDocument).Save(strconv.AppendInt(nil, now, 10)) // /readyz tells of a full disk; the store tries again
}

// lastBackupTime is when the last backup was taken; zero: none was.
func (g *Gateway) lastBackupTime() (at time.Time) {
	if seconds := g.lastBackup.Load(); seconds != 0 {
		at = time.Unix(seconds, 0)
	}
	return at
}

// RestoreMissing restores a backup from a file, if that is there, into a data directory without
// a gateway, and reports whether it did. A directory that has a gateway is left alone.
func RestoreMissing(dir, file string) (done backup.Restored, did bool, err error) {
	if _, err := os.Lstat(filepath.Join(dir, storeFile)); !errors.Is(err, fs.ErrNotExist) {
		return done, false, err
	}
	f, err := os.Open(file)
	if errors.Is(err, fs.ErrNotExist) {
		return done, false, nil
	} else if err != nil {
		return done, false, err
	}
	defer f.Close()
	done, err = Restore(dir, f)
	return done, err == nil, err
}

// Restore restores a backup into a data directory that no gateway uses. It keeps the
// replaced files under other names.
func Restore(dir string, from io.Reader) (backup.Restored, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return backup.Restored{}, err
	}
	unlock, err := boltfile.LockDir(dir)
	if err != nil {
		return backup.Restored{}, err
	}
	defer unlock()
	for _, name := range []string{storeFile, stateFile} { // earlier versions lock only these
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

// VerifyBackup reads a whole backup and returns an error if anything is wrong with it.
func VerifyBackup(from io.Reader) error {
	_, err := backup.Verify(from)
	return err
}
