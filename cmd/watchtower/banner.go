package main

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"

	"watchtower/config"
	"watchtower/gateway"
)

// banner is what serve prints to standard output for people: where the gateway listens,
// its key, and commands to try. The commands work when they are copied.
type banner struct {
	at        gateway.Listening
	hosts     []string // names and addresses by which other machines may reach it
	name      string
	dataDir   string // absolute
	key       string // empty: the gateway is open
	generated bool   // the key is new
	ownKey    bool   // the key was configured, not generated
	admin     string // the operator's key
	adminNew  bool   // it is new
	ownAdmin  bool   // it was configured
	console   bool   // the operators' page is served
	baseTopic string
	program   string // the command that runs this program, as shell text
	findsDir  bool   // the client finds the data directory without --data-dir
}

// The files that a running gateway keeps in its data directory.
const (
	secretKeyFile    = "secret.key"    // the generated key
	adminKeyFile     = "admin.key"     // the operator's, likewise
	runningURLFile   = "gateway.url"   // while it runs: its HTTP address
	runningUDPFile   = "gateway.udp"   // while it runs: its address for devices; absent: UDP is off
	runningKeyFile   = "gateway.key"   // while it runs: the key in force
	runningAdminFile = "gateway.admin" // the operator's, likewise
)

func newBanner(g *gateway.Gateway, cfg config.Config, sys surroundings) banner {
	key, generated := g.Key()
	admin, adminNew := g.AdminKey()
	// Another terminal does not have the environment variables of this one.
	dir, err := config.DataDir("", []string{"HOME=" + sys.getenv("HOME")})
	told := sys.getenv("WATCHTOWER_DATA_DIR") != "" || sys.getenv("STATE_DIRECTORY") != ""
	return banner{
		at: g.Listening(), hosts: g.Hosts(), name: g.Name(), dataDir: cfg.DataDir, key: key, generated: generated, ownKey: cfg.SecretKey != "",
		admin: admin, adminNew: adminNew, ownAdmin: cfg.AdminKey != "",
		console: cfg.HTTP.Console, baseTopic: cfg.MQTT.BaseTopic, program: thisProgram(), findsDir: err == nil && !told && dir == cfg.DataDir,
	}
}

func (b banner) write(w io.Writer) error {
	var out bytes.Buffer
	fmt.Fprintf(&out, "Watchtower gateway %s\n\n", b.name)
	row := func(what, value string) {
		if value != "" {
			fmt.Fprintf(&out, "  %-15s %s\n", what, value)
		}
	}
	for _, l := range b.at {
		scheme := ""
		if l.URL {
			scheme = l.Key + "://"
		}
		row(l.Name, withScheme(scheme, l.Address))
	}
	row("other devices", b.othersRow())
	row("console", b.consoleRow())
	row("listens for", b.audience())
	row("data directory", b.dataDir)
	row("secret key", b.keyRow())
	row("admin key", b.adminRow())
	if try := b.try(); len(try) > 0 {
		fmt.Fprintf(&out, "\nTry, each in another terminal:\n\n  %s\n\n", strings.Join(try, "\n  "))
	} else {
		fmt.Fprintf(&out, "\nHTTP and MQTT are off: there is nothing to try without a client of your own.\n\n")
	}
	_, err := w.Write(out.Bytes())
	return err
}

// hostsShown is the most names and addresses in the banner.
const hostsShown = 4

// othersRow returns what another device has in the place of localhost; empty: none can reach
// this machine.
func (b banner) othersRow() string {
	if len(b.hosts) == 0 {
		return ""
	}
	return "write this for localhost: " + strings.Join(b.hosts[:min(hostsShown, len(b.hosts))], ", ")
}

// consoleRow returns the address of the operators' page, or "" if there is none.
func (b banner) consoleRow() string {
	i := slices.IndexFunc(b.at, func(l gateway.Bound) bool { return l.Key == "http" || l.Key == "https" })
	if i < 0 || !b.console {
		return ""
	}
	return withScheme(b.at[i].Key+"://", b.at[i].Address) + "/  (in a browser, with the admin key)"
}

// audience returns a text if other machines can reach the gateway: that they can, and the
// flags that prevent it. Else it returns "".
func (b banner) audience() string {
	var flags []string
	for _, l := range b.at {
		if host, port := reach(l.Address); host == "localhost" && l.Flag != "" {
			flags = append(flags, "--"+l.Flag+" 127.0.0.1:"+port)
		}
	}
	if len(flags) == 0 {
		return ""
	}
	return "the whole network; for this machine alone: " + strings.Join(flags, " ")
}

func (b banner) keyRow() string {
	switch {
	case b.key == "":
		return "none: the gateway is open, everybody may register"
	case b.generated:
		return b.key + "  (generated; kept in " + filepath.Join(b.dataDir, secretKeyFile) + ")"
	case b.ownKey:
		return "as configured (secret_key)"
	}
	return "not shown; to see it: " + b.client("secret-key")
}

func (b banner) adminRow() string {
	switch {
	case b.adminNew:
		return b.admin + "  (generated; kept in " + filepath.Join(b.dataDir, adminKeyFile) + ")"
	case b.ownAdmin:
		return "as configured (admin_key)"
	}
	return "not shown; to see it: " + b.client("admin-key")
}

// try returns up to three commands: two that follow channel 5, and one that says something
// there. They use the protocols that are on.
func (b banner) try() []string {
	var commands []string
	if b.at.At("mqtt") != "" {
		commands = append(commands, b.mosquitto("mosquitto_sub", "-v -t "+shellQuote(b.baseTopic+"/channels/5/#")))
	} else if b.at.At("http") != "" {
		commands = append(commands, b.client("join")+" 5")
	}
	if b.at.At("http") != "" {
		return append(commands, b.curl(), b.client("broadcast")+` 5 "hello"`)
	}
	if b.at.At("mqtt") != "" {
		commands = append(commands, b.mosquitto("mosquitto_pub", "-t "+shellQuote(b.baseTopic+"/channels/5/broadcast")+` -m "hello"`))
	}
	return commands
}

func (b banner) mosquitto(program, what string) string {
	host, port := reach(b.at.At("mqtt"))
	login := ""
	if b.key != "" {
		login = ` -u watchtower -P "$(` + b.client("secret-key") + `)"`
	}
	return fmt.Sprintf("%s -h %s -p %s%s %s", program, shellQuote(host), port, login, what)
}

// curl returns a command that registers, and follows channel 5 with the id that it gets.
func (b banner) curl() string {
	base := withScheme("http://", b.at.At("http"))
	body := "'{}'"
	if b.key != "" {
		read := b.client("secret-key")
		if strings.ContainsAny(b.key, `"\`) {
			read += ` | sed 's/[\\"]/\\&/g'` // escapes it for a JSON string
		}
		body = `"{\"secret_key\":\"$(` + read + `)\"}"`
	}
	register := fmt.Sprintf(`curl -s %s -d %s | grep -o '"id":[0-9]*' | cut -d: -f2`, shellQuote(base+"/register"), body)
	return fmt.Sprintf(`curl -N "%s/channels/join?channels=5&sender=$(%s)"`, base, register)
}

func (b banner) client(command string) string {
	if b.findsDir {
		return b.program + " " + command
	}
	return b.program + " " + command + " --data-dir " + shellQuote(b.dataDir)
}

// reach turns the address of a listener into one that this machine can connect to.
func reach(address string) (host, port string) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return address, ""
	}
	if ip, err := netip.ParseAddr(host); host == "" || err == nil && ip.IsUnspecified() {
		host = "localhost"
	}
	return host, port
}

func withScheme(scheme, address string) string {
	if address == "" {
		return ""
	}
	host, port := reach(address)
	return scheme + net.JoinHostPort(host, port)
}
