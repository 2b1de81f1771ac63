package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

// environ is the environment of the program in a process of its own.
func environ(home string) []string { return []string{"HOME=" + home} }

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fake is the part of a gateway that the client uses.
type fake struct {
	*httptest.Server
	key string

	mu        sync.Mutex
	protected string // a protected name
	tokens    map[string]uint32
	ids       map[string]uint32
	registers int
	streams   map[chan string]string // what is written on each: its sender
	opened    chan string            // the query of each stream that was opened
	said      []heard
}

// heard is a broadcast or send that reached the fake.
type heard struct {
	path, query, contentType, body string
	members                        int // streams that were open
}

func newFake(t *testing.T, key string) *fake {
	f := &fake{key: key, tokens: map[string]uint32{}, ids: map[string]uint32{}, streams: map[chan string]string{}, opened: make(chan string, 10)}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /register", f.register)
	mux.HandleFunc("GET /channels", f.known(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) }))
	mux.HandleFunc("GET /channels/join", f.known(f.join))
	mux.HandleFunc("POST /broadcast", f.known(f.hear))
	mux.HandleFunc("POST /send", f.known(f.hear))
	f.Server = httptest.NewServer(mux)
	t.Cleanup(func() {
		f.kick()
		f.Close()
	})
	return f
}

func problem(w http.ResponseWriter, status int, detail string) {
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]any{"title": "t", "status": status, "detail": detail})
}

func (f *fake) register(w http.ResponseWriter, r *http.Request) {
	var body struct {
		SecretKey string `json:"secret_key"`
		Name      string
		Protected bool
	}
	_ = json.NewDecoder(r.Body).Decode(&body)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.registers++
	token := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
	switch {
	case body.SecretKey != f.key:
		problem(w, 401, "secret_key: is not the gateway's secret key")
		return
	case body.Name == f.protected && body.Name != "" && f.tokens[token] != f.ids[body.Name]:
		problem(w, 401, "name: is protected")
		return
	}
	if f.ids[body.Name] == 0 {
		f.ids[body.Name] = uint32(72 + len(f.ids))
	}
	id := f.ids[body.Name]
	for token, of := range f.tokens {
		if of == id {
			delete(f.tokens, token)
		}
	}
	token = fmt.Sprintf("wt_%d", f.registers)
	f.tokens[token] = id
	if body.Protected {
		f.protected = body.Name
	}
	fmt.Fprintf(w, `{"id":%d,"token":%q}`, id, token)
}

// forget makes every token stop.
func (f *fake) forget() {
	f.mu.Lock()
	defer f.mu.Unlock()
	clear(f.tokens)
}

func (f *fake) known(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		f.mu.Lock()
		_, ok := f.tokens[strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")]
		f.mu.Unlock()
		if !ok {
			problem(w, 401, "sender: needs its token")
			return
		}
		next(w, r)
	}
}

func (f *fake) join(w http.ResponseWriter, r *http.Request) {
	if r.URL.Query().Get("channels") == "400" {
		problem(w, 400, "channels[0]: no\x1b[2J such \u009bchannel")
		return
	}
	lines := make(chan string)
	f.mu.Lock()
	f.streams[lines] = r.URL.Query().Get("sender")
	f.mu.Unlock()
	_, _ = io.WriteString(w, "\n")
	_ = http.NewResponseController(w).Flush()
	f.opened <- r.URL.RawQuery
	for {
		select {
		case <-r.Context().Done():
			f.mu.Lock()
			delete(f.streams, lines)
			f.mu.Unlock()
			return
		case line, open := <-lines:
			if !open {
				return
			}
			_, _ = io.WriteString(w, line+"\n")
			_ = http.NewResponseController(w).Flush()
		}
	}
}

// kick ends every stream.
func (f *fake) kick() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for lines := range f.streams {
		close(lines)
	}
	clear(f.streams)
}

// tell writes a line on the only stream.
func (f *fake) tell(line string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for lines := range f.streams {
		lines <- line
	}
}

func (f *fake) hear(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.said = append(f.said, heard{r.URL.Path, r.URL.RawQuery, r.Header.Get("Content-Type"), string(body), len(f.streams)})
	fmt.Fprint(w, `{"id":"01JABC"}`)
}

// place is a data directory and what the commands print.
type place struct {
	surroundings
	dir      string
	out, err *bytes.Buffer
}

func newPlace(t *testing.T) *place {
	p := &place{dir: t.TempDir(), out: &bytes.Buffer{}, err: &bytes.Buffer{}}
	p.surroundings = surroundings{
		in: strings.NewReader(""), out: p.out, err: p.err,
		environ: []string{"WATCHTOWER_DATA_DIR=" + p.dir, "HOME=" + p.dir},
		exit:    func(code int) { t.Errorf("exit %d", code) },
	}
	return p
}

// announce makes the fake the gateway that runs in the data directory.
func (p *place) announce(t *testing.T, f *fake) {
	require.NoError(t, os.WriteFile(filepath.Join(p.dir, runningURLFile), []byte(f.URL+"\n"), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(p.dir, runningKeyFile), []byte(f.key), 0o600))
}

// run executes a command and returns what it printed.
func (p *place) run(args ...string) (code int, out, err string) {
	p.out.Reset()
	p.err.Reset()
	code = run(args, p.surroundings)
	return code, p.out.String(), p.err.String()
}

func (f *fake) heard() []heard {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.said)
}

func (f *fake) registered() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.registers
}
