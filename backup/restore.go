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

// A restore goes like this. Each file is written beside the one that it replaces, as
// NAME.being-restored, and synced. When all are there and right, the journal is put in place:
// from then on the new ones count. Then, for each file, the old one is renamed, and the
// new one takes its name. Last the journal goes. Finish does what is left of that; it
// can be killed and called again as often as it takes.
const (
	newSuffix   = ".being-restored"
	journalName = "restore.json"
)

// journal is what a restore that counts has to do.
type journal struct {
	Files []string `json:"files"`
	Aside string   `json:"aside"` // what is behind the names of the old files
}

// Plan is where a backup is restored, and what it may hold.
type Plan struct {
	Dir      string
	Files    []string                      // names that it may have
	Required []string                      // those that it must have
	Check    func(name, path string) error // whether a file can be used; nil: any
}

// Restored is what a restore did.
type Restored struct {
	Manifest
	Kept []string // what was there before, under the names that it has now
}

// Restore puts a backup in place. Nobody else may use the directory. Until everything
// is on disk and right, nothing is replaced.
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

// prepare writes everything beside what it replaces, and then the journal.
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
		f, err := os.OpenFile(path(e.Name+newSuffix), os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
		written = append(written, path(e.Name+newSuffix))
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
	return m, errors.Join(atomicfile.SyncDir(plan.Dir), atomicfile.WriteText(path(journalName), string(text)))
}

// synced is a file that is on disk when it is closed.
type synced struct{ *os.File }

func (s synced) Close() error { return errors.Join(s.Sync(), s.File.Close()) }

// Finish does what a restore that was interrupted has left: it completes one that
// counts, and removes the files of one that does not, and of backups. It returns the
// names that old files have now.
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
			continue // it has its place
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

// sweep removes what was not finished and does not count.
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
