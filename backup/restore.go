package backup

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"watchtower/atomicfile"
)

// A restore has three steps. First it writes and syncs each file beside the one that it
// replaces, as NAME.being-restored. When all are written and checked, it writes the
// journal: from then on the new files count. Last, Finish renames each old file, gives its
// name to the new one, and removes the journal. If Finish is killed, the next call does
// the rest.
const (
	newSuffix   = ".being-restored"
	journalName = "restore.json"
)

// journal says what Finish has to do.
type journal struct {
	Files []string `json:"files"`
	Aside string   `json:"aside"` // suffix for the names of the old files
}

// Plan says where a backup is restored, and what it may hold.
type Plan struct {
	Dir      string
	Files    []string                      // allowed names
	Required []string                      // names that must be there
	Check    func(name, path string) error // fails if a file cannot be used; nil: all can
}

// Restored is what a restore did.
type Restored struct {
	Manifest
	Kept []string // the new names of the replaced files
}

// Restore restores a backup. No other process may use the directory meanwhile. Restore
// replaces nothing before all files are on disk and checked.
func Restore(r io.Reader, plan Plan) (done Restored, err error) {
	if _, err := Finish(plan.Dir); err != nil {
		return done, err
	}
	if done.Manifest, err = prepare(r, plan); err != nil {
		return done, fmt.Errorf("nothing is restored: %w", err)
	}
	if done.Kept, err = Finish(plan.Dir); err != nil {
		return done, fmt.Errorf("not all is in its place yet, restore again: %w", err)
	}
	return done, nil
}

// prepare writes all files beside those that they will replace, and then the journal.
func prepare(r io.Reader, plan Plan) (m Manifest, err error) {
	path := func(name string) string { return filepath.Join(plan.Dir, name) }
	var written []string
	defer func() {
		if err != nil {
			for _, p := range written {
				os.Remove(p)
			}
		}
	}()
	m, err = read(r, func(m Manifest) error {
		for _, name := range plan.Required {
			if !slices.ContainsFunc(m.Files, func(e Entry) bool { return e.Name == name }) {
				return fmt.Errorf("%w: it has no %s", ErrBroken, name)
			}
		}
		return names(plan.Files)(m)
	}, func(e Entry) (io.WriteCloser, error) {
		os.Remove(path(e.Name + newSuffix))                                                     // what an interrupted restore left
		f, err := os.OpenFile(path(e.Name+newSuffix), os.O_CREATE|os.O_WRONLY|os.O_EXCL, 0o600) // root follows no link there
		written = append(written, path(e.Name+newSuffix))
		if err == nil {
			err = atomicfile.ToOwner(f)
		}
		return synced{f}, err
	})
	if err != nil {
		return m, err
	}
	j := journal{Aside: ".replaced-" + time.Now().Format("20060102-150405")}
	for _, e := range m.Files {
		if plan.Check != nil {
			if err := plan.Check(e.Name, path(e.Name+newSuffix)); err != nil {
				return m, err
			}
		}
		j.Files = append(j.Files, e.Name)
	}
	text, err := json.Marshal(j)
	if err != nil {
		return m, err
	}
	return m, errors.Join(atomicfile.SyncDir(plan.Dir), atomicfile.WriteOwned(path(journalName), string(text)))
}

// synced is a file that Close syncs to the disk.
type synced struct{ *os.File }

func (s synced) Close() error { return errors.Join(s.Sync(), s.File.Close()) }

// Finish ends an interrupted restore. If there is a journal, it completes the restore,
// else it removes the restore's files. It also removes what interrupted backups left. It
// returns the new names of the replaced files.
func Finish(dir string) (kept []string, err error) {
	path := func(name string) string { return filepath.Join(dir, name) }
	text, err := os.ReadFile(path(journalName))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, sweep(dir)
	}
	var j journal
	if err == nil {
		err = json.Unmarshal(text, &j)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: what is left of a restore makes no sense: %w. Remove it, and restore again", path(journalName), err)
	}
	for _, name := range j.Files {
		if filepath.Base(name) != name {
			return kept, fmt.Errorf("%s: %q is no name of a file", path(journalName), name)
		}
		if _, err := os.Lstat(path(name + newSuffix)); errors.Is(err, fs.ErrNotExist) {
			continue // it was renamed already
		}
		switch err := os.Rename(path(name), path(name+j.Aside)); {
		case err == nil:
			kept = append(kept, name+j.Aside)
		case !errors.Is(err, fs.ErrNotExist):
			return kept, err
		}
		if err := os.Rename(path(name+newSuffix), path(name)); err != nil {
			return kept, err
		}
	}
	if err := atomicfile.SyncDir(dir); err != nil {
		return kept, err
	}
	if err := os.Remove(path(journalName)); err != nil {
		return kept, err
	}
	return kept, errors.Join(atomicfile.SyncDir(dir), sweep(dir))
}

// sweep removes what interrupted restores and backups left.
func sweep(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		copied, _ := filepath.Match(copyPattern, e.Name())
		begun, _ := filepath.Match(atomicfile.Pattern(journalName), e.Name())
		if copied || begun || strings.HasSuffix(e.Name(), newSuffix) {
			os.Remove(filepath.Join(dir, e.Name()))
		}
	}
	return nil
}
