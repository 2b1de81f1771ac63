package console_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"watchtower/config"
	"watchtower/internal/harness"
)

// The gateway stops and comes back, on each screen: what was seen stays, the page says how it
// is, and goes on by itself, signed in as before.
func TestTheGatewayGoesAndComesBack(t *testing.T) {
	t.Parallel()
	r := furnished(t)
	p := r.as("ann", "")
	for _, hash := range []string{"", "channels", "channels/5", "devices", "settings"} {
		p.settled(hash)
		p.waits(`document.querySelector(".lamp-good")`)
		title := evaluate[string](p, `document.querySelector("main h1").textContent`)
		r.stop()
		p.reads("Connection lost")
		p.reads("No answer for")
		assert.Equal(t, title, evaluate[string](p, `document.querySelector("main h1").textContent`), "what was seen stays")
		r.start()
		p.readsNot("Connection lost")
		p.waits(`document.querySelector(".nav .lamp-good")`)
	}
}

// What a page says first may come too late, as on a slow link. That says nothing of its session.
func TestASlowLink(t *testing.T) {
	t.Parallel()
	r := start(t)
	p := r.as("ann", "")
	p.waits(`document.querySelector(".nav .lamp-good")`)
	p.do(`(() => {
		const send = WebSocket.prototype.send
		let slow
		WebSocket.prototype.send = function (text) {
			slow ??= this
			this === slow ? setTimeout(() => this.readyState === WebSocket.OPEN && send.call(this, text), 6000) : send.call(this, text)
		}
	})()`)
	r.stop()
	r.start()
	p.reads("Connection lost: it is slow")
	p.readsNot("Connection lost")
	p.waits(`document.querySelector(".nav .lamp-good")`)
}

// A gateway with another data directory knows no session of before: one signs in, and is where
// one was.
func TestASessionThatHasEnded(t *testing.T) {
	t.Parallel()
	r := start(t)
	p := r.as("admin", "channels/5")
	p.reads("Watering")
	r.stop()
	r.cfg.DataDir = t.TempDir()
	r.start()
	p.reads("Your session has ended. Please sign in again.")
	p.fill("Admin key", adminKey)
	p.press("Sign in")
	p.waits(`document.title.startsWith("Channels 5")`)
	p.reads("Watering")
}

func TestAnOpenGateway(t *testing.T) {
	t.Parallel()
	r := start(t, func(c *config.Config) { c.SecretKey, c.Open = "", true })
	p := r.open("")
	p.reads("The gateway is open: everybody in this network may use it.")
	assert.False(t, p.can("Settings"), "that needs to be signed in")
	p.press("Sign in")
	p.press("Go on without")
	p.waits(`document.querySelector(".nav")`)
	p.press("Sign in")
	p.fill("Admin key", adminKey)
	p.press("Sign in")
	p.press("Settings")
	p.reads("All settings")
	p.press("Sign out")
	p.reads("You are not signed in.")
}

// Who has tried too often is told how long to wait.
func TestTooManyWrongKeys(t *testing.T) {
	t.Parallel()
	r := start(t, func(c *config.Config) { c.Limits.Failures, c.Limits.FailureInterval = 1, 6*time.Second })
	p := r.open("")
	p.fill("Admin key", "wrong")
	p.press("Sign in")
	p.reads("That is not the key.")
	p.press("Sign in") // and once more
	p.waits(`[...document.querySelectorAll("button")].some(b => /^Again in \d+ s$/.test(b.textContent) && b.disabled)`)
	p.fill("Admin key", adminKey)
	p.press("Sign in") // when it is possible again
	p.reads("Everything works.")
}

// A role sees what it may, and is told what it may not.
func TestRoles(t *testing.T) {
	t.Parallel()
	r := furnished(t)
	p := r.as("lou", "settings")
	p.reads("For this you have to be signed in as one who may manage. You are lou, with the role look.")
	assert.False(t, p.can("Settings"))
	for _, hash := range allScreens {
		if hash == "settings" {
			continue
		}
		p.settled(hash)
		for _, managing := range []string{"Rename", "Protect", "New token", "Forget", "Replay", "Rotate", "Remove", "Broadcast", "Publish", "New device"} {
			assert.False(t, p.can(managing), "%s: %s", hash, managing)
		}
	}
	status := evaluate[int](p, `fetch("operator/settings", { headers: { Authorization: "Bearer " + JSON.parse(sessionStorage["watchtower.session"]).token } }).then(a => a.status)`)
	assert.Equal(t, 403, status)
}

// Behind a proxy, below a path.
func TestBelowAPath(t *testing.T) {
	t.Parallel()
	r := furnished(t)
	at, dir := harness.FreeAddress(t), t.TempDir()
	conf := fmt.Sprintf(`pid %[1]s/pid; error_log stderr; events {}
http { access_log off; client_body_temp_path %[1]s; proxy_temp_path %[1]s; fastcgi_temp_path %[1]s; uwsgi_temp_path %[1]s; scgi_temp_path %[1]s;
server { listen %[2]s; location /x/ { proxy_pass http://%[3]s/; proxy_http_version 1.1;
proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection $http_connection; proxy_set_header Host $http_host; } } }`, dir, at, r.cfg.HTTP.Listen)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "nginx.conf"), []byte(conf), 0o600))
	inBackground(t, "nginx", "-p", dir, "-c", filepath.Join(dir, "nginx.conf"), "-g", "daemon off;")
	harness.Eventually(t, func() bool { return exec.Command("curl", "-sf", "-o", "/dev/null", "http://"+at+"/x/").Run() == nil }, "nginx listens")
	p := openAt(t, "http://"+at+"/x/#/channels/5")
	p.fill("Admin key", adminKey)
	p.press("Sign in")
	p.reads("Watering")
	p.waits(`document.querySelector(".nav .lamp-good")`)
	elsewhere := evaluate[[]string](p, `performance.getEntriesByType("resource").map(e => e.name).filter(name => !name.startsWith(location.origin + "/x/"))`)
	assert.Empty(t, elsewhere)
}

// Seven tabs are live at once: a browser has six connections to one host, but 255 WebSockets.
func TestSevenTabs(t *testing.T) {
	t.Parallel()
	r := furnished(t)
	first := r.as("ann", "channels/5")
	first.do(`localStorage.setItem("watchtower.session", sessionStorage.getItem("watchtower.session"))`)
	var others []*page
	for range 6 {
		others = append(others, first.tab(r.url+"#/channels/5"))
	}
	token := r.device("announcer", 5)
	for _, p := range others {
		p.waits(`document.querySelector(".nav .lamp-good")`)
	}
	r.says(token, 5, "to all tabs")
	for _, p := range append(others, first) {
		p.reads("to all tabs")
	}
}

// A page that nobody sees asks nothing, and no page asks anybody but its gateway.
func TestAHiddenPageAsksNothing(t *testing.T) {
	t.Parallel()
	r := furnished(t)
	p := r.as("ann", "")
	for _, hash := range allScreens {
		p.settled(hash)
	}
	p.settled("")
	p.waits(`document.title.startsWith("Overview")`) // no other screen is left
	p.do(`(() => {
		const send = WebSocket.prototype.send, ask = window.fetch
		window.asked = []
		window.hiddenAt = performance.now()
		WebSocket.prototype.send = function (text) { window.asked.push(text); send.call(this, text) }
		window.fetch = (...a) => { window.asked.push(String(a[0])); return ask(...a) }
		Object.defineProperty(document, "hidden", { value: true, configurable: true })
		document.dispatchEvent(new Event("visibilitychange"))
	})()`)
	quiet := `{"unfollow":`
	p.waits(`performance.now() - hiddenAt > 11000`) // longer than anything is asked again
	for _, what := range evaluate[[]string](p, "asked") {
		assert.True(t, strings.HasPrefix(what, quiet), what)
	}
	p.do(`(() => { Object.defineProperty(document, "hidden", { value: false, configurable: true }); document.dispatchEvent(new Event("visibilitychange")) })()`)
	p.waits(`asked.some(a => a.endsWith("operator/gateway"))`)
	elsewhere := evaluate[[]string](p, `performance.getEntriesByType("resource").map(e => e.name).filter(name => new URL(name).origin !== location.origin)`)
	assert.Empty(t, elsewhere)
}

// The page says that the foreign broker is not there, in the words of the gateway, and that the gateway
// works all the same.
func TestAForeignBrokerThatIsAway(t *testing.T) {
	t.Parallel()
	r := start(t, func(c *config.Config) {
		c.MQTT.Remote.URL, c.MQTT.Remote.Trust = "mqtt://"+harness.FreeAddress(t), "none"
	})
	p := r.as("ann", "")
	p.reads("It works, but without the foreign broker.")
	p.reads("connection refused")
}
