package gateway

import (
	"encoding/json"
	"math"
	"net"
	"os"
	"path/filepath"
	"runtime/debug"
	"sync"
	"time"

	"watchtower/atomicfile"
	"watchtower/bridge"
)

// Version is the program's version.
const Version = "0.1.0"

// leaveWord writes the gateway's URL, its address for devices and its keys into the data directory, for clients on this
// machine such as the command line's. If that fails, as on a full disk, the gateway serves
// all the same; the files of an earlier run are removed, because they would be wrong.
func (g *Gateway) leaveWord() {
	files := map[string]string{runningKeyFile: g.secrets.key + "\n", runningAdminFile: g.secrets.admin + "\n"}
	if at := g.Listening().At("udp"); at != "" {
		files[runningUDPFile] = reachable(at) + "\n"
	}
	if at := g.Listening().At("http"); at != "" {
		files[runningURLFile] = "http://" + reachable(at) + "\n"
	}
	g.retract() // an earlier run may have been killed, and have listened elsewhere
	for name, content := range files {
		if err := atomicfile.WriteText(filepath.Join(g.cfg.DataDir, name), content); err != nil {
			g.log.WithError(err).WithField("file", name).Warn("file not written: commands on this machine need --url and --secret-key")
			g.retract()
			return
		}
	}
}

// announce tells the bus that the gateway is up.
func (g *Gateway) announce() error {
	if err := g.hub.PublishStatus("online"); err != nil {
		return err
	}
	return g.publishInfo()
}

// retract removes what leaveWord wrote.
func (g *Gateway) retract() {
	for _, name := range []string{runningURLFile, runningUDPFile, runningKeyFile, runningAdminFile} {
		if err := os.Remove(filepath.Join(g.cfg.DataDir, name)); err != nil && !os.IsNotExist(err) {
			g.log.WithError(err).Warn("file not removed")
		}
	}
}

// reachable turns the address of a listener into one that this machine can connect to.
func reachable(addr string) string {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return addr
	}
	if ip := net.ParseIP(host); ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return net.JoinHostPort(host, port)
}

// publishInfo publishes the retained topic that describes the gateway. It holds no
// secrets.
func (g *Gateway) publishInfo() error {
	_, senders := g.hub.Directory().Counts()
	stats := g.broker.Stats()
	names := map[uint32]string{}
	for c, ch := range g.reloads.inForce().Channels {
		if ch.Name != "" {
			names[c] = ch.Name
		}
	}
	payload, err := json.Marshal(map[string]any{
		"name":      g.name,
		"version":   Version,
		"revision":  revision(),
		"listeners": g.Listening().byKey(),
		"channels":  len(g.hub.Directory().Channels()),
		"names":     names, // of channels, as configured
		"senders":   senders,
		"sessions":  stats.Sessions,

		"lost": g.lost(),

		"messages_per_minute": g.rate.perMinute(g.messagesIn(), g.hub.Now()),
	})
	if err != nil {
		return err
	}
	if g.space != nil {
		if err := g.broker.PublishRetained(g.space.tree.Info(), payload); err != nil {
			return err
		}
	}
	return g.broker.PublishRetained(g.hub.Tree().Info(), payload)
}

// messagesIn returns the number of messages that came in over all protocols since the
// start.
func (g *Gateway) messagesIn() (n uint64) {
	for _, p := range bridge.Protocols() {
		in, _ := g.hub.Counters().Messages(p)
		n += in
	}
	return n
}

// lost returns the number of drops over all protocols, for whatever reason, since the start.
func (g *Gateway) lost() (n uint64) {
	for _, p := range bridge.Protocols() {
		for _, why := range bridge.Reasons() {
			n += g.hub.Counters().Dropped(p, why)
		}
	}
	return n
}

// rate turns a rising count into messages a minute.
type rate struct {
	mu    sync.Mutex
	count uint64
	at    time.Time
}

// perMinute returns how fast the count rose since the last call; 0 at the first call.
func (r *rate) perMinute(count uint64, now time.Time) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	n, passed := count-r.count, now.Sub(r.at)
	first := r.at.IsZero()
	r.count, r.at = count, now
	if first || passed <= 0 {
		return 0
	}
	return int(math.Round(float64(n) / passed.Minutes()))
}

func revision() string {
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" {
				return s.Value
			}
		}
	}
	return ""
}
