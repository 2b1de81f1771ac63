package gateway

import (
	"fmt"
	"maps"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/sirupsen/logrus"

	"watchtower/atomicfile"
	"watchtower/channelmap"
	"watchtower/config"
	"watchtower/operator"
)

// From gives a gateway the function that reads its configuration again at a reload, from
// the same file, environment and flags as before New. Without it a reload only reads the
// TLS files and admin.key again.
func From(read func() (config.Config, error)) Option {
	return func(g *Gateway) { g.reloads.read = read }
}

// reloads holds the configuration in force: that of the start, with what was reloaded
// since.
type reloads struct {
	read func() (config.Config, error)
	mu   sync.Mutex // one at a time
	now  atomic.Pointer[config.Config]
}

func newReloads(cfg config.Config) *reloads {
	r := &reloads{read: func() (config.Config, error) { return cfg, nil }}
	r.now.Store(&cfg)
	return r
}

func (r *reloads) inForce() *config.Config { return r.now.Load() }

// Reload reads the configuration again, and puts in force what can change while the
// gateway runs. It logs what has changed, and what needs a restart. If the configuration
// has a fault, nothing changes, and all faults are logged.
func (g *Gateway) Reload() {
	done, err := g.reload()
	if err != nil {
		g.log.WithField("faults", strings.Join(config.Texts(err), "; ")).Error("configuration not reloaded: nothing has changed")
		return
	}
	g.log.WithFields(logrus.Fields{"reloaded": done.Reloaded, "needs_restart": done.NeedsRestart}).Info("configuration reloaded")
}

func (g *Gateway) reload() (operator.Reloaded, error) {
	g.reloads.mu.Lock()
	defer g.reloads.mu.Unlock()
	done := operator.Reloaded{Reloaded: []string{}, NeedsRestart: []string{}}
	read, err := g.reloads.read()
	if err != nil {
		return done, err
	}
	before := g.reloads.inForce()
	after := merge(*before, read)
	putCertificates, err := g.certs.change(after.TLS)
	if err != nil {
		return done, err
	}
	admin, _, err := loadAdminKey(after)
	if err != nil {
		return done, err
	}
	channels, err := g.readMaps(&read)
	if err != nil {
		return done, err
	}
	if err := g.callbacks.Allow(after.Callbacks.Allow); err != nil { // the last step that can fail
		return done, err
	}
	done.Reloaded = append(done.Reloaded, config.Changed(before, &after)...)
	done.NeedsRestart = append(done.NeedsRestart, config.Changed(&after, &read)...)
	if putCertificates() {
		done.Reloaded = append(done.Reloaded, "certificates")
	}
	if admin != g.secrets.admin {
		if err := atomicfile.WriteText(filepath.Join(g.cfg.DataDir, runningAdminFile), admin+"\n"); err != nil {
			g.log.WithError(err).Warn("file not written: an operator's commands on this machine need --admin-key-file")
		}
	}
	if admin != g.secrets.admin && !slices.Contains(done.Reloaded, "admin_key") {
		done.Reloaded = append(done.Reloaded, "admin_key")
	}
	g.secrets.admin = admin
	g.reloads.now.Store(&after)
	g.putInForce(before, &after, channels)
	return done, nil
}

// merge returns the configuration after a reload: the values of read where they can change
// while the gateway runs, and those of before elsewhere.
func merge(before, read config.Config) config.Config {
	after := before
	after.Reload(read)
	after.Users = read.Users
	if !before.TLS.On() || !read.TLS.On() { // TLS listeners open and close only at a restart
		after.TLS = before.TLS
	}
	after.Channels = map[uint32]config.Channel{}
	maps.Copy(after.Channels, read.Channels)
	for n, is := range read.Channels {
		is.HomeAssistant, is.Device = before.Channels[n].HomeAssistant, before.Channels[n].Device
		after.Channels[n] = is
	}
	for n, was := range before.Channels {
		if _, left := read.Channels[n]; !left && was.HomeAssistant { // announced until the restart
			was.Confirm, was.Within, was.Unprotected, was.Map = 0, 0, false, nil
			after.Channels[n] = was
		}
	}
	return after
}

// putInForce hands the changes to the parts. Nothing here can fail.
func (g *Gateway) putInForce(before, after *config.Config, channels *channelmap.Maps) {
	if after.Log.Level != before.Log.Level {
		if level, err := logrus.ParseLevel(after.Log.Level); err == nil { // always: it was checked
			g.log.SetLevel(level)
		}
	}
	g.hub.Users().Set(slices.Collect(maps.Keys(after.Users)))
	g.broker.SetUsers(brokerUsers(after.Users))
	g.people.Update(g.secrets.admin, operatorUsers(after.Users))
	if !reflect.DeepEqual(before.Channels, after.Channels) {
		g.hub.Directory().SetRules(rulesOf(*after))
		g.house.Rename(houseNames(*after))
		g.maps.Change(channels)
		if err := g.publishInfo(); err != nil {
			g.log.WithError(err).Warn("info not published")
		}
	}
}

// change reads the files that the new settings name, also if the names are the same. Put
// puts them in force, and reports whether they differ from those before. For nil
// certificates change does nothing.
func (c *certificates) change(files config.TLS) (put func() bool, err error) {
	if c == nil {
		return func() bool { return false }, nil
	}
	seen := stamp(files)
	fresh, err := readCertificates(files)
	if err != nil {
		return nil, fmt.Errorf("the TLS files cannot be used: %w", err)
	}
	return func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		differ := c.files != files || c.seen != seen
		c.files, c.seen, c.config = files, seen, fresh
		return differ
	}, nil
}
