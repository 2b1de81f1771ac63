package gateway

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"

	"watchtower/backup"
	"watchtower/boltfile"
	"watchtower/bridge/store"
	mqttstore "watchtower/mqtt/store"
)

// The databases in the data directory.
const (
	storeFile = "watchtower.db" // senders, and all that is not the broker's
	stateFile = "broker.db"     // the broker's; useless without the other
)

// openStores locks the data directory and opens both databases.
func (g *Gateway) openStores() (err error) {
	if g.unlock, err = boltfile.LockDir(g.cfg.DataDir); err != nil {
		return err
	}
	kept, err := backup.Finish(g.cfg.DataDir)
	if err != nil {
		return err
	}
	if len(kept) > 0 {
		g.log.WithField("kept", kept).Warn("a restore that was interrupted is complete now")
	}
	path := func(name string) string { return filepath.Join(g.cfg.DataDir, name) }
	if err := refuseOrphans(path(storeFile), path(stateFile)); err != nil {
		return err
	}
	if g.store, err = store.Open(path(storeFile), g.log); err != nil {
		return err
	}
	if g.state, err = mqttstore.Open(path(stateFile), g.log); err != nil {
		return err
	}
	if g.state.Fresh() && !g.store.Fresh() {
		g.log.WithField("file", path(stateFile)).Warn("broker.db is missing or empty: MQTT sessions and retained messages begin anew")
	}
	return nil
}

// closeStores releases what openStores took, also after its error.
func (g *Gateway) closeStores() error {
	var errs []error
	if g.state != nil {
		errs = append(errs, g.state.Close())
	}
	if g.store != nil {
		errs = append(errs, g.store.Close())
	}
	if g.unlock != nil {
		g.unlock()
	}
	return errors.Join(errs...)
}

// refuseOrphans returns an error if watchtower.db is missing or empty, but broker.db has
// sessions or retained messages: those belong to senders of the missing file. An
// incomplete copy of the data directory can cause that. The owner has to decide what to do.
func refuseOrphans(storePath, statePath string) error {
	gone, err := boltfile.Missing(storePath)
	if err != nil || !gone {
		return err
	}
	if gone, err := boltfile.Missing(statePath); err != nil || gone {
		return err
	}
	what := "is missing"
	if _, err := os.Stat(storePath); !errors.Is(err, fs.ErrNotExist) {
		what = "is empty"
	}
	content, err := mqttstore.Inspect(statePath)
	if err != nil {
		return fmt.Errorf("%s %s, and broker.db beside it cannot be read: %w. %s", storePath, what, err, wayOut)
	}
	if content == (mqttstore.Content{}) {
		return nil // it holds nothing to lose
	}
	return fmt.Errorf("%s %s, but broker.db beside it has %d sessions and %d retained messages of the gateway that was here. %s",
		storePath, what, content.Sessions, content.Retained, wayOut)
}

const wayOut = "Nothing was changed. Put back a backup (watchtower restore FILE) or watchtower.db alone, or move broker.db away, too, to begin anew: then every device registers anew and gets another id"

// pair checks that both databases belong together. Each counts the starts: so pair notices
// a watchtower.db that was put back and is older than broker.db. It lacks the newest
// senders, so what broker.db has for them belongs to nobody. Pair keeps a copy of that.
func (g *Gateway) pair() error {
	id := fmt.Sprintf("%08x", g.id)
	owner, err := g.state.Owner()
	if err != nil {
		return err
	}
	if owner.Gateway != "" && owner.Gateway != id {
		return fmt.Errorf("broker.db belongs to the gateway %s, watchtower.db to %s: put back the one that belongs to the other, or a backup of both (watchtower restore FILE), or move broker.db away: then MQTT sessions and retained messages begin anew", owner.Gateway, id)
	}
	counter := g.store.Document("starts")
	b, err := counter.Load()
	if err != nil {
		return err
	}
	starts, _ := strconv.ParseUint(string(b), 10, 64) // none is 0
	if owner.Starts > starts {
		aside, err := g.copyState()
		if err != nil {
			return fmt.Errorf("watchtower.db is older than broker.db, of which a copy is to be kept: %w", err)
		}
		g.log.WithField("kept", aside).Warn("watchtower.db is older than broker.db: what broker.db has for senders that came since is let go, and kept in a copy")
	}
	starts = max(starts, owner.Starts) + 1
	if counter.Save(strconv.AppendUint(nil, starts, 10)) == nil { // else the disk is full, which was logged
		_ = g.state.Claim(mqttstore.Owner{Gateway: id, Starts: starts})
	}
	return nil
}

// copyState copies broker.db to a file beside it, and returns its path.
func (g *Gateway) copyState() (aside string, err error) {
	state, err := g.state.Snapshot()
	if err != nil {
		return "", err
	}
	defer state.Close()
	aside = boltfile.Aside(filepath.Join(g.cfg.DataDir, stateFile), "kept")
	f, err := os.OpenFile(aside, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return "", err
	}
	_, err = state.WriteTo(f)
	return aside, errors.Join(err, f.Sync(), f.Close())
}
