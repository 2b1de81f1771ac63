package gateway_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	paho "github.com/eclipse/paho.mqtt.golang"
	"github.com/goccy/go-yaml"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"watchtower/config"
	"watchtower/http/contract"
)

const (
	refKey    = "$ref"
	besideRef = "./openapi.yaml#"
)

// asyncAPI is the description of topics and streams.
type asyncAPI struct {
	t        testing.TB
	whole    map[string]any
	beside   map[string]any // openapi.yaml
	contract *contract.Contract
}

// asyncAPIOf reads what a gateway serves. Its schemas, with those of openapi.yaml, become a
// description that package contract can check against.
func asyncAPIOf(t testing.TB, text string) *asyncAPI {
	t.Helper()
	a := &asyncAPI{t: t}
	require.NoError(t, yaml.Unmarshal([]byte(text), &a.whole))
	b, err := os.ReadFile("../http/openapi.yaml")
	require.NoError(t, err)
	require.NoError(t, yaml.Unmarshal(b, &a.beside))
	schemas := maps.Clone(a.at("#/components/schemas"))
	for name, schema := range a.at(besideRef + "/components/schemas") {
		require.NotContains(t, schemas, name, "both descriptions have it")
		schemas[name] = schema
	}
	merged, err := json.Marshal(map[string]any{
		"openapi": "3.1.0", "info": map[string]any{"title": "x", "version": "1"}, "paths": map[string]any{},
		"components": map[string]any{"schemas": schemas},
	})
	require.NoError(t, err)
	file := filepath.Join(t.TempDir(), "merged.json")
	require.NoError(t, os.WriteFile(file, []byte(strings.ReplaceAll(string(merged), besideRef, "#")), 0o600))
	a.contract, err = contract.New(file)
	require.NoError(t, err)
	return a
}

// at returns the object that a reference leads to.
func (a *asyncAPI) at(ref string) map[string]any {
	a.t.Helper()
	file, path, _ := strings.Cut(ref, "#/")
	at := map[string]map[string]any{"": a.whole, "./openapi.yaml": a.beside}[file]
	for level := range strings.SplitSeq(path, "/") {
		next, ok := at[level].(map[string]any)
		require.True(a.t, ok, "%s leads nowhere", ref)
		if to, ok := next[refKey].(string); ok {
			next = a.at(to)
		}
		at = next
	}
	return at
}

// refs calls each for all references below a value.
func refs(v any, each func(string)) {
	switch v := v.(type) {
	case map[string]any:
		for key, below := range v {
			if text, ok := below.(string); ok && key == refKey {
				each(text)
			}
			refs(below, each)
		}
	case []any:
		for _, below := range v {
			refs(below, each)
		}
	}
}

// schemaOf returns the name of the schema of a message, which is a reference, and whether its
// payload is JSON.
func (a *asyncAPI) schemaOf(message map[string]any) (name string, isJSON bool) {
	ref, ok := message["payload"].(map[string]any)[refKey].(string)
	require.True(a.t, ok)
	a.at(ref)
	return ref[strings.LastIndexByte(ref, '/')+1:], message["contentType"] == nil
}

// check checks a payload as it came against a message's schema.
func (a *asyncAPI) check(message map[string]any, payload []byte) error {
	name, isJSON := a.schemaOf(message)
	if !isJSON {
		payload, _ = json.Marshal(string(payload)) // a string: cannot fail
	}
	return a.contract.Check(name, payload)
}

var placeholder = regexp.MustCompile(`\{(\w+)\}`)

// topics returns the only message of each topic, by the topic with its placeholders.
func (a *asyncAPI) topics() map[string]map[string]any {
	all := map[string]map[string]any{}
	for name := range a.at("#/channels") {
		channel := a.at("#/channels/" + name)
		address := channel["address"].(string)
		var wanted []string
		for _, p := range placeholder.FindAllStringSubmatch(address, -1) {
			wanted = append(wanted, p[1])
		}
		parameters, _ := channel["parameters"].(map[string]any)
		assert.ElementsMatch(a.t, wanted, slices.Collect(maps.Keys(parameters)), address)
		for message := range channel["messages"].(map[string]any) {
			described := a.at("#/channels/" + name + "/messages/" + message)
			a.schemaOf(described)
			if !strings.HasPrefix(address, "/") {
				require.Nil(a.t, all[address], "%s is there twice", address)
				all[address] = described
			}
		}
	}
	return all
}

// The description of topics and streams is whole: it has each topic of docs/topics.md, no
// other, and its examples are valid.
func TestAsyncAPIIsWhole(t *testing.T) {
	t.Parallel()
	b, err := os.ReadFile("../http/asyncapi.yaml")
	require.NoError(t, err)
	a := asyncAPIOf(t, string(b))
	assert.Equal(t, "3.0.0", a.whole["asyncapi"])
	refs(a.whole, func(ref string) { a.at(ref) })
	used := map[string]bool{}
	for name, v := range a.at("#/operations") {
		operation := v.(map[string]any)
		assert.Contains(t, []any{"send", "receive"}, operation["action"], name)
		used[operation["channel"].(map[string]any)[refKey].(string)] = true
	}
	for name := range a.at("#/channels") {
		assert.True(t, used["#/channels/"+name], "no operation uses %s", name)
	}
	for name, v := range a.at("#/components/messages") {
		message := v.(map[string]any)
		examples, _ := message["examples"].([]any)
		assert.NotEmpty(t, examples, name)
		for _, example := range examples {
			payload, err := json.Marshal(example.(map[string]any)["payload"])
			require.NoError(t, err)
			schema, _ := a.schemaOf(message)
			assert.NoError(t, a.contract.Check(schema, payload), name)
		}
	}
	page, err := os.ReadFile("../docs/topics.md")
	require.NoError(t, err)
	want := []string{"watchtower/channels/{channel}/broadcast", "watchtower/channels/{channel}/send/{receiver}"} // for publishing
	for _, row := range regexp.MustCompile("(?m)^\\| `((?:watchtower|homeassistant)/[^`]+)`").FindAllStringSubmatch(string(page), -1) {
		want = append(want, strings.NewReplacer("<", "{", ">", "}").Replace(row[1]))
	}
	require.Greater(t, len(want), 10)
	assert.ElementsMatch(t, want, slices.Collect(maps.Keys(a.topics())))
	for schema, wrong := range map[string]string{
		"Members": `{"count":1}`, "Status": `"away"`, "Info": `{}`, "Me": `{"id":0}`, "Event": `{"event_type":"message"}`, "Last": `{"state":1,"attributes":{}}`, "Heard": `{"type":"gap"}`, "Discovery": `{"device":{}}`,
	} {
		assert.Error(t, a.contract.Check(schema, []byte(wrong)), "the check sees faults of %s", schema)
	}
}

// The description is what AsyncAPI's own schema allows.
func TestAsyncAPIIsValid(t *testing.T) {
	t.Parallel()
	b, err := os.ReadFile("../http/asyncapi.yaml")
	require.NoError(t, err)
	valid := func(text string) error {
		var parsed any
		require.NoError(t, yaml.Unmarshal([]byte(text), &parsed))
		asJSON, err := json.Marshal(parsed)
		require.NoError(t, err)
		return contract.Valid("../testdata/asyncapi/3.0.0.json", asJSON)
	}
	require.NoError(t, valid(string(b)))
	for right, wrong := range map[string]string{
		"action: receive": "action: subscribe",
		"address: ":       "topic: ",
		"\n  title: ":     "\n  titel: ",
		"protocol: mqtt":  "protocol: 5",
	} {
		require.Contains(t, string(b), right)
		assert.Error(t, valid(strings.Replace(string(b), right, wrong, 1)), wrong)
	}
}

// What a running gateway says is as described.
func TestAsyncAPIIsTrue(t *testing.T) {
	t.Parallel()
	r := start(t, func(c *config.Config) {
		c.Channels = map[uint32]config.Channel{5: {Name: "Watering", HomeAssistant: true}, 9: {Confirm: 2, Within: time.Minute, Unprotected: true}}
	})
	_, served := r.call("GET", "/asyncapi.yaml", "", "")
	a := asyncAPIOf(t, served)
	topics := a.topics()
	patterns := map[string]*regexp.Regexp{}
	for address := range topics {
		patterns[address] = regexp.MustCompile("^" + placeholder.ReplaceAllString(address, `[^/]+`) + "$")
	}
	var mu sync.Mutex
	seen := map[string]int{}
	note := func(_ paho.Client, m paho.Message) {
		mu.Lock()
		defer mu.Unlock()
		for address, pattern := range patterns {
			if pattern.MatchString(m.Topic()) && len(m.Payload()) > 0 {
				seen[address]++
				assert.NoError(t, a.check(topics[address], m.Payload()), m.Topic())
			}
		}
	}
	client, err := r.pahoClient(func(o *paho.ClientOptions) { o.SetClientID("meter").SetDefaultPublishHandler(note) })
	require.NoError(t, err)
	for _, filter := range []string{"watchtower/#", "homeassistant/#", "watchtower/channels/5/#", "watchtower/gateways/+/refused", "watchtower/me"} {
		require.NoError(t, wait(client.Subscribe(filter, 1, nil)))
	}
	d := r.stream()
	streamed := make(chan []byte, 100)
	r.follow(fmt.Sprintf("channels=5&sender=%d", r.register("").ID), func(b []byte) {
		select {
		case streamed <- append([]byte{}, b...):
		default: // some are enough
		}
	})
	r.say(d.id, "hello")
	assert.NoError(t, a.check(a.at("#/channels/stream/messages/heard"), <-streamed))
	r.post("/send", fmt.Sprintf(`{"sender":%d,"channels":[5],"receivers":["meter"],"message":{"on":true}}`, d.id), nil)
	say := func(text string) {
		require.NoError(t, wait(client.Publish("watchtower/channels/5/broadcast", 1, false, text)))
	}
	say(`{"device":{"name":"Meter"},"sensors":{"temperature":{},"power":{"expire_after":60},"word":{"value":"{{ value }}"},"passing_word":{"value":"{{ value }}","expire_after":60},
		"either":{"value":"{{ value_json.x if value_json is mapping else value }}"},"passing":{"value":"{{ value_json.x if value_json is mapping else value }}","expire_after":60}},"events":{"bell":{"types":["ring"]}}}`)
	require.NoError(t, wait(client.Publish("watchtower/channels/5/send/999", 1, false, "nobody is there")))
	forPublishing := []string{"watchtower/channels/{channel}/broadcast", "watchtower/channels/{channel}/send/{receiver}", "homeassistant/status", "homeassistant/watchtower_{gateway}/describe"}
	missing := func() (list []string) {
		mu.Lock()
		defer mu.Unlock()
		for address := range topics {
			if seen[address] == 0 && !slices.Contains(forPublishing, address) {
				list = append(list, address)
			}
		}
		return list
	}
	round := 0
	assert.Eventually(t, func() bool {
		say("dry")
		require.NoError(t, wait(client.Publish("watchtower/channels/9/broadcast", 1, false, fmt.Sprint(round))))
		round++                                             // what was said before waits, and is not told of again
		say(`{"temperature":21.5,"power":3,"bell":"ring"}`) // again: values of before the device is known are not live
		return len(missing()) == 0
	}, patient, patient/100)
	assert.Empty(t, missing(), "nothing was seen there")
}
