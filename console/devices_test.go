package console_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/chromedp/chromedp/kb"
	paho "github.com/eclipse/paho.mqtt.golang"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"watchtower/internal/harness"
)

// mqtt connects an MQTT client with a persistent session, which the test may disconnect.
func (r *running) mqtt(name string, subscriptions ...string) paho.Client {
	r.Helper()
	return r.mqttBy(r.g.Listening().At("mqtt"), name, subscriptions...)
}

// mqttBy does the same by another address, such as a cable's.
func (r *running) mqttBy(address, name string, subscriptions ...string) paho.Client {
	r.Helper()
	c := paho.NewClient(paho.NewClientOptions().AddBroker("tcp://" + address).SetClientID(name).
		SetUsername("x").SetPassword(secretKey).SetAutoReconnect(false).SetCleanSession(false))
	r.done(c.Connect())
	r.Cleanup(func() { c.Disconnect(0) })
	for _, filter := range subscriptions {
		r.done(c.Subscribe(filter, 1, func(paho.Client, paho.Message) {}))
	}
	return c
}

func (r *running) done(t paho.Token) {
	r.Helper()
	require.True(r, t.WaitTimeout(harness.Patience))
	require.NoError(r, t.Error())
}

// id returns the id of a device by its token.
func (r *running) id(token string) int {
	r.Helper()
	id, _ := r.call("GET", "me", token, nil)["id"].(float64)
	return int(id)
}

// status makes a call with the page's session, and returns how it is answered.
func (p *page) status(method, path string) int {
	p.Helper()
	return evaluate[int](p, fmt.Sprintf(`fetch("operator/" + %q, {method: %q, body: %[2]q === "GET" ? undefined : "{}", headers: {"Content-Type": "application/json", Authorization: "Bearer " + JSON.parse(sessionStorage.getItem("watchtower.session")).token}}).then(r => r.status)`, path, method))
}

func TestADeviceIsManaged(t *testing.T) {
	t.Parallel()
	r := start(t)
	token := r.device("lamp", 5)
	r.device("door")
	p := r.as("ann", "devices")
	p.fill("Find a name or an id", "lam")
	p.waits(`document.querySelectorAll("table.rows tbody tr").length === 1`)
	p.reads("HTTP")
	p.press("lamp")
	p.waits(`document.querySelector("h1")?.textContent === "lamp"`)

	p.do(`[...document.querySelectorAll("main button")].find(b => b.textContent === "Rename").focus()`)
	p.key(kb.Enter)
	p.fill("New name", "door")
	p.press("Rename")
	p.waits(`document.querySelector("dialog .fault")`)
	assert.Equal(t, "door", evaluate[string](p, `document.querySelector("dialog input").value`), "a refused name stays to be corrected")
	p.fill("New name", "kitchen")
	p.press("Rename")
	p.waits(`document.querySelector("h1")?.textContent === "kitchen" && !document.querySelector("dialog")`)
	p.waits(`document.activeElement.textContent === "Rename"`) // the focus is where it was

	p.reads("channel 5")
	p.press("Protect")
	p.press("Protect it")
	p.reads("needs its token")
	p.press("Protect no longer")
	p.press("Protect it no longer")
	p.reads("No: whoever has the secret key")

	p.press("New token")
	p.press("End the old token, and show a new one")
	p.waits(`document.querySelector(".secret code")`)
	fresh := evaluate[string](p, `document.querySelector(".secret code").textContent`)
	assert.Equal(t, r.id(fresh), r.id(fresh))
	assert.NotEqual(t, token, fresh)
	p.press("Done")
	p.readsNot(fresh)
	p.press("New token")
	p.press("Keep the old one")
	assert.NotContains(t, evaluate[string](p, `document.documentElement.outerHTML`), fresh, "it is shown once")

	p.press("Forget")
	p.reads("leaves 1 channel")
	p.press("Forget kitchen")
	p.waits(`location.hash === "#/devices"`)
	p.fill("Find a name or an id", "kitchen")
	p.reads("None is like that.")
	p.press("Show all")
	p.reads("door")
}

func TestWhoIsMissingAndWhatIsLost(t *testing.T) {
	t.Parallel()
	r := start(t)
	p := r.as("lou", "devices")
	p.reads("Nobody is missing")
	r.mqtt("polite", "watchtower/channels/5/#").Disconnect(100)
	p.do(`location.reload()`)
	p.reads("polite")
	p.reads("away, last seen")
	p.reads("Nobody is missing")
	cable := harness.NewCable(t, r.g.Listening().At("mqtt"))
	r.mqttBy(cable.Addr(), "greenhouse", "watchtower/channels/5/#")
	cable.Cut()
	harness.Eventually(t, func() bool { return len(r.missing()) == 1 })
	p.do(`location.reload()`)
	p.reads("Missing: 1 device")
	p.reads("Its connection over MQTT broke")
	p.reads("Its MQTT session waits for it on 1 channel: messages at QoS 1 and 2 are kept until it is back")
	p.goes("")
	p.press("Missing: 1 device")
	p.waits(`location.hash === "#/devices"`)
	p.press("greenhouse")
	p.waits(`document.querySelector("h1")?.textContent === "greenhouse"`)
	p.reads("away, last seen")
	p.goes("devices/4294967295")
	p.reads("There is no sender with this id.")
	p.goes("devices/nonsense")
	p.reads("There is no sender with this id.")
}

func TestTheKeyOfANewDevice(t *testing.T) {
	t.Parallel()
	r := start(t)
	p := r.as("admin", "devices")
	p.do(`document.querySelector("main button.main").focus()`)
	p.key(kb.Enter)
	p.fill("Name of the device", "no name")
	p.key(kb.Enter)
	p.waits(`document.querySelector("dialog .fault")`)
	p.fill("Name of the device", "lamp")
	p.key(kb.Enter)
	p.waits(`document.querySelector("dialog .qr")`)
	hex := evaluate[string](p, `document.querySelectorAll("dialog .copied")[1].textContent`)
	require.Regexp(t, `^[0-9a-f]{32}$`, hex)
	assert.Contains(t, evaluate[string](p, `document.querySelector("dialog .copied").textContent`), "device_key[16] PROGMEM = {0x"+hex[:2])
	p.looks(1280, "dark")
	drawn := evaluate[string](p, `document.querySelector(".qr path:last-child").getAttribute("d")`)
	wanted := evaluate[string](p, fmt.Sprintf(`import("./console/vendor/lean-qr.js").then(({generate}) => {
		const code = generate(%q)
		let d = ""
		for (let y = 0; y < code.size; y++) for (let x = 0; x < code.size; x++) if (code.get(x, y)) d += "M" + (x + 4) + " " + (y + 4) + "h1v1h-1z"
		return d
	})`, hex))
	assert.Equal(t, wanted, drawn)
	assert.Equal(t, "#fff", evaluate[string](p, `document.querySelector(".qr path").getAttribute("fill")`), "a camera wants white around it")
	assert.NotEmpty(t, evaluate[string](p, `document.querySelector(".qr").getAttribute("aria-label")`))
	own := evaluate[string](p, `import("./console/session.js").then(s => s.call("GET", "devices/lamp/key")).then(key => key.hex)`)
	assert.Equal(t, own, hex, "its own key, and not the one that all devices share")
	p.key(kb.Escape)
	p.waits(`!document.querySelector("dialog") && document.activeElement.textContent === "New device"`)
}

func TestManyDevicesComeInPages(t *testing.T) {
	t.Parallel()
	r := start(t)
	for i := range 130 {
		r.device(fmt.Sprintf("lamp-%d", i))
	}
	p := r.as("lou", "devices")
	p.waits(`document.querySelectorAll("table.rows tbody tr").length === 100`)
	p.press("More")
	p.waits(`document.querySelectorAll("table.rows tbody tr").length === 130`)
	assert.False(t, p.can("More"))
	p.choose("State", "here")
	p.reads("None is like that.")
}

// Who may only look finds nothing to press that changes something, and is refused by the
// gateway if it tries.
func TestLookingChangesNothing(t *testing.T) {
	t.Parallel()
	r := start(t)
	id := r.id(r.device("lamp", 5))
	p := r.as("lou", "devices")
	p.reads("lamp")
	for _, screen := range []string{"devices", fmt.Sprintf("devices/%d", id), "callbacks", "topics", "homeassistant"} {
		p.goes(screen)
		p.waits(`document.querySelector("main h1") && !document.querySelector("main .pending")`)
		for _, act := range []string{"New device", "Rename", "Protect", "New token", "Forget", "Publish", "Remove", "Replay", "New secret", "Switch off"} {
			assert.False(t, p.can(act), "%s on %s", act, screen)
		}
	}
	p.goes("settings")
	p.reads("For this you have to be signed in as one who may manage. You are lou, with the role look.")
	for _, call := range []string{
		fmt.Sprintf("PATCH senders/%d", id), fmt.Sprintf("DELETE senders/%d", id), fmt.Sprintf("POST senders/%d/token", id),
		"GET device-key?name=x", "GET settings", "GET sessions", "GET backup", "POST reload",
		"PUT topics/value?topic=a", "DELETE topics/value?topic=a",
	} {
		method, path, _ := strings.Cut(call, " ")
		assert.Equal(t, 403, p.status(method, path), call)
	}
}
