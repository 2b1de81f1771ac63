#!/usr/bin/env bash
# nats.go 1.55.0 (package jetstream): a goroutine stays for ever if CleanupPublisher is called soon
# after the first PublishMsgAsync. That call starts a goroutine, which watches the connection's status
# by a channel of the publisher. It reads which channel only once it runs; CleanupPublisher, which
# should end it, sets the channel to nil. Whoever runs first decides: if the cleanup comes first, the
# goroutine waits for a nil channel, also after the connection is closed. The documentation says that
# CleanupPublisher cleans up what PublishAsync has made. A busy machine is enough for it: a test of
# leaked goroutines then fails once in a while. Here one processor makes the order certain.
#
# Installs pinned packages in a temporary folder. Needs Go 1.26 or newer. The server listens on
# loopback, on a port that was free.
#
# Output seen on 2026-11-30, with nats-server 2.15.2:
#   cleaned up when the goroutine has run: 0 left
#   cleaned up at once: 1 left
set -euo pipefail
dir="$(mktemp -d)"
trap 'rm -rf "$dir"' EXIT
cd "$dir"
cat > go.mod <<'GO'
module finding

go 1.26
GO
cat > main.go <<'GO'
package main

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"strings"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// left counts the goroutines that watch a publisher's connection.
func left() int {
	all := make([]byte, 1<<20)
	return strings.Count(string(all[:runtime.Stack(all, true)]), "jetstream.(*jetStream).resetPendingAcksOnReconnect(")
}

func try(url string, wait time.Duration) int {
	nc := must(nats.Connect(url))
	js := must(jetstream.New(nc))
	ack := must(js.PublishMsgAsync(&nats.Msg{Subject: "things.one", Data: []byte("1")}))
	if wait > 0 {
		<-ack.Ok()
		time.Sleep(wait)
	}
	js.CleanupPublisher()
	nc.Close()
	time.Sleep(time.Second)
	return left()
}

func main() {
	s := must(server.NewServer(&server.Options{Host: "127.0.0.1", Port: server.RANDOM_PORT, JetStream: true, StoreDir: os.Args[1], NoSigs: true, NoLog: true}))
	s.Start()
	if !s.ReadyForConnections(10 * time.Second) {
		panic("the server does not listen")
	}
	nc := must(nats.Connect(s.ClientURL()))
	must(must(jetstream.New(nc)).CreateStream(context.Background(), jetstream.StreamConfig{Name: "THINGS", Subjects: []string{"things.>"}}))
	nc.Close()
	runtime.GOMAXPROCS(1)
	fmt.Println("cleaned up when the goroutine has run:", try(s.ClientURL(), 200*time.Millisecond), "left")
	fmt.Println("cleaned up at once:", try(s.ClientURL(), 0), "left")
	s.Shutdown()
}
GO
go get github.com/nats-io/nats.go@v1.55.0 github.com/nats-io/nats-server/v2@v2.15.2 >/dev/null 2>&1
go mod tidy >/dev/null 2>&1
go run . "$dir/store" | tee seen
diff seen - <<'OUTPUT'
cleaned up when the goroutine has run: 0 left
cleaned up at once: 1 left
OUTPUT
echo "as it was"
