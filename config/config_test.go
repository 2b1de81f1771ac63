package config_test

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spf13/pflag"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"watchtower/config"
)

var update = flag.Bool("update", false, "write the golden files anew")

// home is an environment in which nothing is set.
var home = []string{"HOME=/home/u"}

func load(t *testing.T, environ []string, file string, args ...string) (config.Config, []config.Warning, error) {
	t.Helper()
	flags := pflag.NewFlagSet("test", pflag.ContinueOnError)
	config.AddFlags(flags)
	require.NoError(t, flags.Parse(args))
	return config.Load(flags, append(environ, home...), file)
}

func write(t *testing.T, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "w.yaml")
	require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
	return file
}

func TestDefaultsAreValid(t *testing.T) {
	c := config.Default()
	c.DataDir = "/d"
	require.NoError(t, c.Validate())
	assert.Equal(t, ":8080", c.HTTP.Listen)
	assert.Equal(t, 400*24*time.Hour, c.Senders.ExpireAfter)
	assert.Equal(t, 64000, c.Limits.MessageBytes)
	assert.True(t, c.Wire.Basic)
}

func TestNamesFollowTheRule(t *testing.T) {
	seen := map[string]bool{}
	aliases := map[string]string{}
	for _, s := range config.Settings() {
		words := strings.ReplaceAll(s.Path, ".", "_")
		assert.Equal(t, "WATCHTOWER_"+strings.ToUpper(words), s.Env)
		assert.Equal(t, strings.ReplaceAll(words, "_", "-"), s.Flag)
		assert.NotEmpty(t, s.Usage, s.Path)
		assert.NotContains(t, s.Usage, "\n")
		for _, name := range []string{s.Path, s.Env, s.Flag, s.Alias} {
			assert.False(t, name != s.Path && seen[name] && name != "", "%s is there twice", name)
		}
		seen[s.Path], seen[s.Env], seen[s.Flag] = true, true, true
		if s.Alias != "" {
			aliases[s.Alias] = s.Path
		}
	}
	assert.Equal(t, map[string]string{
		"http": "http.listen", "udp": "udp.listen", "tcp": "tcp.listen", "mqtt": "mqtt.listen", "irc": "irc.listen",
		"allow-callbacks": "callbacks.allow",
	}, aliases)
}

func TestPrecedence(t *testing.T) {
	file := write(t, "udp: {listen: ':1'}\ntcp: {listen: ':2'}\nmqtt: {listen: ':3'}\n")
	c, _, err := load(t, []string{"WATCHTOWER_UDP_LISTEN=:10", "WATCHTOWER_TCP_LISTEN=:20"}, file, "--udp-listen", ":100")
	require.NoError(t, err)
	assert.Equal(t, []string{":100", ":20", ":3", ":8080"}, []string{c.UDP.Listen, c.TCP.Listen, c.MQTT.Listen, c.HTTP.Listen})
}

// off is no truth value here, with quotes or without.
func TestOffIsAWord(t *testing.T) {
	for _, text := range []string{"off", `"off"`, "'off'"} {
		c, _, err := load(t, nil, write(t, "wire: {device_keys: "+text+"}\n"))
		require.NoError(t, err, text)
		assert.Equal(t, "off", c.Wire.DeviceKeys)
	}
}

func TestFlags(t *testing.T) {
	c, _, err := load(t, nil, "", "--http", ":1", "--tcp=", "--open", "--allow-callbacks", "a.lan,10.0.0.0/8", "--allow-callbacks", "b.lan",
		"--log-level", "debug", "--data-dir", "/d", "--senders-expire-after", "2d", "--callbacks-queue=7")
	require.NoError(t, err)
	assert.Equal(t, ":1", c.HTTP.Listen)
	assert.Empty(t, c.TCP.Listen)
	assert.True(t, c.Open)
	assert.Equal(t, []string{"a.lan", "10.0.0.0/8", "b.lan"}, c.Callbacks.Allow)
	assert.Equal(t, "/d", c.DataDir)
	assert.Equal(t, 48*time.Hour, c.Senders.ExpireAfter)
	assert.Equal(t, 7, c.Callbacks.Queue)
}

// Each setting can be set in each of its three ways. The test fails if the table names a
// field twice, or not at all.
func TestEverySettingFromEverySource(t *testing.T) {
	other := map[string]string{
		"string": "other", "bool": "true", "int": "67000", "duration": "77h", "list": "10.1.0.0/16",
	}
	special := map[string]string{
		"http.listen": ":1", "udp.listen": ":1", "tcp.listen": ":1", "mqtt.listen": ":1", "irc.listen": ":1", "http.tls_listen": ":1", "mqtt.tls_listen": ":1", "irc.tls_listen": ":1", "log.level": "warn",
		"log.format": "json", "limits.message_bytes": "5", "callbacks.retries": "7", "mqtt.max_keep_alive": "77s", "wire.basic": "false", "wire.device_keys": "off", "udp.segmentation_offload": "false", "homeassistant.enabled": "false", "http.console": "false", "mdns": "false", "limits.homeassistant_devices": "7", "http.cors_origins": "https://dash.lan", "http.hosts": "gateway.example.org", "cluster.url": "tls://a:4222,nats://b:4222", "cluster.slot": "7", "mqtt.remote.url": "mqtts://b:8883", "mqtt.remote.trust": "none", "mqtt.remote.qos": "0",
	}
	together := map[string]string{"tls.certificate": "c.pem", "tls.key": "k.pem", "tls.client_ca": "ca.pem", "mqtt.remote.probe.user": "valve"} // one needs the other
	environ := func(but string) (env []string) {
		for path, text := range together {
			if path != but {
				env = append(env, "WATCHTOWER_"+strings.ToUpper(strings.ReplaceAll(path, ".", "_"))+"="+text)
			}
		}
		return env
	}
	before, _, err := load(t, environ(""), "")
	require.NoError(t, err)
	flags := pflag.NewFlagSet("kinds", pflag.ContinueOnError)
	config.AddFlags(flags)
	for _, s := range config.Settings() {
		kind := flags.Lookup(s.Flag).Value.Type()
		text := other[kind]
		if special[s.Path] != "" {
			text = special[s.Path]
		}
		byEnv, warnings, err := load(t, append(environ(s.Path), s.Env+"="+text), "")
		require.NoError(t, err, s.Path)
		assert.Empty(t, warnings)
		assert.Contains(t, config.Changed(&before, &byEnv), s.Path)
		assert.Equal(t, config.Source{From: "environment"}, sourceOf(t, byEnv, s.Path))

		byFlag, _, err := load(t, environ(s.Path), "", "--"+s.Flag+"="+text)
		require.NoError(t, err, s.Path)
		assert.Empty(t, config.Changed(&byEnv, &byFlag), s.Path)
		assert.Equal(t, config.Source{From: "flag"}, sourceOf(t, byFlag, s.Path))

		value := map[string]string{"string": `"` + text + `"`, "list": "[" + text + "]"}[kind]
		if value == "" {
			value = text
		}
		yaml, indent := "", ""
		for key := range strings.SplitSeq(s.Path, ".") {
			yaml += "\n" + indent + key + ":"
			indent += "  "
		}
		yaml = yaml[1:] + " " + value
		file := write(t, yaml)
		byFile, _, err := load(t, environ(s.Path), file)
		require.NoError(t, err, s.Path)
		assert.Empty(t, config.Changed(&byEnv, &byFile), s.Path)
		assert.Equal(t, config.Source{From: "file", Line: 1 + strings.Count(yaml, "\n")}, sourceOf(t, byFile, s.Path))
		assert.Equal(t, file, byFile.File())
	}
}

func sourceOf(t *testing.T, c config.Config, path string) config.Source {
	for _, v := range c.Values() {
		if v.Path == path {
			return v.Source
		}
	}
	require.Fail(t, "no setting is called "+path)
	return config.Source{}
}

// A value's text is what a flag would take. That of a secret is not shown.
func TestValuesAreAsFlagsTakeThem(t *testing.T) {
	c := config.Default()
	for _, v := range c.Values() {
		assert.Equal(t, v.Default, v.Text, v.Path)
		assert.Equal(t, config.Source{From: "default"}, v.Source)
		assert.Equal(t, v.Text != "", v.Set)
	}
	c, _, err := load(t, home, "", "--secret-key", "hunter22222", "--http-trusted-proxies", "10.0.0.1,::1", "--callbacks-allow", "a.lan,b.lan")
	require.NoError(t, err)
	texts := map[string]string{}
	for _, v := range c.Values() {
		texts[v.Path] = v.Text
		assert.Equal(t, v.Path == "secret_key", v.Secret && v.Set)
	}
	assert.Empty(t, texts["secret_key"])
	assert.Equal(t, "10.0.0.1/32,::1/128", texts["http.trusted_proxies"])
	assert.Equal(t, "a.lan,b.lan", texts["callbacks.allow"])
}

// A reload takes a value over with its source.
func TestAReloadKnowsWhereValuesComeFrom(t *testing.T) {
	c, _, err := load(t, home, "", "--log-level", "debug", "--http-listen", ":1")
	require.NoError(t, err)
	before := c
	read, _, err := load(t, append([]string{"WATCHTOWER_CALLBACKS_ALLOW=a.lan"}, home...), write(t, "http:\n  listen: ':2'\n"))
	require.NoError(t, err)
	c.Reload(read)
	assert.Equal(t, "default", sourceOf(t, c, "log.level").From)
	assert.Equal(t, "environment", sourceOf(t, c, "callbacks.allow").From)
	assert.Equal(t, "flag", sourceOf(t, c, "http.listen").From, "it waits for a restart")
	assert.Equal(t, "flag", sourceOf(t, before, "log.level").From)
}

func TestDataDir(t *testing.T) {
	for _, c := range []struct {
		flag    string
		environ []string
		want    string
	}{
		{"", home, "/home/u/.local/state/watchtower"},
		{"", append([]string{"STATE_DIRECTORY=/var/lib/a:/var/lib/b"}, home...), "/var/lib/a"},
		{"", append([]string{"STATE_DIRECTORY=/var/lib/a", "WATCHTOWER_DATA_DIR=/e"}, home...), "/e"},
		{"/f", []string{"WATCHTOWER_DATA_DIR=/e"}, "/f"},
	} {
		got, err := config.DataDir(c.flag, c.environ)
		require.NoError(t, err)
		assert.Equal(t, c.want, got)
		flags := pflag.NewFlagSet("test", pflag.ContinueOnError)
		config.AddFlags(flags)
		if c.flag != "" {
			require.NoError(t, flags.Set("data-dir", c.flag))
		}
		loaded, _, err := config.Load(flags, c.environ, "")
		require.NoError(t, err)
		assert.Equal(t, c.want, loaded.DataDir, "Load and DataDir agree")
	}
	_, err := config.DataDir("", nil)
	require.ErrorContains(t, err, "--data-dir")
	_, _, err = config.Load(nil, nil, "")
	require.EqualError(t, err, "data_dir: is not set, and there is no $HOME to put it in: give --data-dir")
}

func TestUnknownVariablesWarn(t *testing.T) {
	_, warnings, err := load(t, []string{"WATCHTOWER_UDP_LISTE=:1", "WATCHTOWER_SERVICE_HOST=10.0.0.1", "WATCHTOWER_CONFIG=x", "OTHER=1", "WATCHTOWER_HTTP=:80", "WATCHTOWER_ALLOW_CALLBACKS=x", "WATCHTOWER_URL=x"}, "")
	require.NoError(t, err)
	assert.Equal(t, []config.Warning{
		{Variable: "WATCHTOWER_ALLOW_CALLBACKS", Nearest: "WATCHTOWER_CALLBACKS_ALLOW"},
		{Variable: "WATCHTOWER_HTTP", Nearest: "WATCHTOWER_HTTP_LISTEN"},
		{Variable: "WATCHTOWER_SERVICE_HOST"},
		{Variable: "WATCHTOWER_UDP_LISTE", Nearest: "WATCHTOWER_UDP_LISTEN"},
	}, warnings)
}

func TestFaultsNameTheirSource(t *testing.T) {
	file := write(t, "udp:\n  listen: nowhere\n")
	_, _, err := load(t, []string{"WATCHTOWER_TCP_QUEUE=many", "WATCHTOWER_OPEN=perhaps"}, file, "--callbacks-retries=-3")
	var faults config.Faults
	require.ErrorAs(t, err, &faults)
	require.Len(t, faults, 4)
	assert.Equal(t, "WATCHTOWER_TCP_QUEUE", faults[0].Where)
	assert.Equal(t, "open: must be true or false (WATCHTOWER_OPEN)", faults[1].Error())
	assert.Equal(t, file+":2", faults[2].Where)
	assert.Equal(t, "callbacks.retries: must be 0 to 100, is -3 (--callbacks-retries)", faults[3].Error())
}

func TestSecretsAreNotInFaults(t *testing.T) {
	secret := strings.Repeat("hunter2", 40)
	_, _, err := load(t, []string{"WATCHTOWER_SECRET_KEY=" + secret}, "")
	require.Error(t, err)
	assert.NotContains(t, err.Error(), "hunter2")
}

func TestMissingFile(t *testing.T) {
	_, _, err := load(t, nil, filepath.Join(t.TempDir(), "none.yaml"))
	require.ErrorContains(t, err, "none.yaml")
}

func TestLargeFile(t *testing.T) {
	_, _, err := load(t, nil, write(t, strings.Repeat("# more\n", 200_000)))
	require.ErrorContains(t, err, "no configuration file")
}

func TestClashingListeners(t *testing.T) {
	_, _, err := load(t, nil, "", "--mqtt", "127.0.0.1:8080", "--tcp", ":0", "--udp", ":8080")
	require.EqualError(t, err, `mqtt.listen: 127.0.0.1:8080 is taken by http.listen: choose another port, or "" for off (--mqtt)`)
}

func golden(t *testing.T, file, got string) {
	t.Helper()
	if *update {
		require.NoError(t, os.WriteFile(file, []byte(got), 0o644))
	}
	want, err := os.ReadFile(file)
	require.NoError(t, err)
	assert.Equal(t, string(want), got)
}

const testdata = "../testdata/config"

func TestInvalidFiles(t *testing.T) {
	files, err := filepath.Glob(testdata + "/invalid/*.yaml")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			_, _, err := load(t, nil, file)
			require.Error(t, err)
			got := strings.ReplaceAll(err.Error(), file, filepath.Base(file))
			golden(t, strings.TrimSuffix(file, ".yaml")+".golden", got+"\n")
		})
	}
}

func TestValidFiles(t *testing.T) {
	files, err := filepath.Glob(testdata + "/valid/*.yaml")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			c, _, err := load(t, nil, file)
			require.NoError(t, err)
			golden(t, strings.TrimSuffix(file, ".yaml")+".golden", string(c.YAML(false)))
			reload(t, c)
		})
	}
}

// reload checks that the printed configuration, when it is loaded, gives the same again.
func reload(t *testing.T, c config.Config) {
	t.Helper()
	printed := c.YAML(true)
	again, _, err := load(t, nil, write(t, string(printed)))
	require.NoError(t, err, string(printed))
	assert.True(t, bytes.Equal(printed, again.YAML(true)), "%s\nbecame\n%s", printed, again.YAML(true))
	assert.Equal(t, c.Channels, again.Channels)
	assert.Equal(t, c.Users, again.Users)
}

func TestPrintedTextIsReadBack(t *testing.T) {
	for _, text := range []string{`a"b\c`, "'single'", "# no comment", "*&!{}[]", "ünï→cödé", "true", "null", "12", "1e3", "~", " lead", "😀", "%d", "a: b"} {
		c := config.Default()
		c.DataDir = "/" + text
		c.SecretKey = text
		require.NoError(t, c.Validate(), text)
		again, _, err := load(t, nil, write(t, string(c.YAML(true))))
		require.NoError(t, err, text)
		assert.Equal(t, c.SecretKey, again.SecretKey)
		assert.Equal(t, c.DataDir, again.DataDir)
	}
}

func TestSecretsAreCommentedOut(t *testing.T) {
	c, _, err := load(t, nil, "", "--secret-key", "hunter22", "--wire-basic-key", "hunter23")
	require.NoError(t, err)
	hidden := string(c.YAML(false))
	assert.NotContains(t, hidden, "hunter")
	assert.Contains(t, hidden, "\n# secret_key: set, not shown\n")
	assert.Contains(t, string(c.YAML(true)), "\nsecret_key: \"hunter22\"\n")
	_, _, err = load(t, nil, write(t, hidden))
	require.NoError(t, err, "it loads without its secrets, too")
}

func FuzzFile(f *testing.F) {
	files, err := filepath.Glob(testdata + "/*/*.yaml")
	require.NoError(f, err)
	for _, file := range files {
		data, err := os.ReadFile(file)
		require.NoError(f, err)
		f.Add(data)
	}
	file := filepath.Join(f.TempDir(), "fuzz.yaml")
	f.Fuzz(func(t *testing.T, data []byte) {
		require.NoError(t, os.WriteFile(file, data, 0o600))
		c, _, err := config.Load(nil, home, file)
		if err != nil {
			assert.NotEmpty(t, err.Error())
			return
		}
		reload(t, c)
	})
}
