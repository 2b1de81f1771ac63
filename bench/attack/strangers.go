package main

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"watchtower/bench/target"
)

// hold dials n connections, calls say on each, and keeps them open until ctx ends. It
// returns how many were made, and how many of those were still open when the last was made.
func hold(ctx context.Context, n int, dial func(i int) (net.Conn, error), say func(i int, nc net.Conn) error) (string, error) {
	conns := make([]net.Conn, 0, n)
	context.AfterFunc(ctx, func() {
		for _, nc := range conns {
			_ = nc.Close()
		}
	})
	var said sync.WaitGroup
	made := 0
	for i := range n {
		nc, err := dial(i)
		if err != nil || ctx.Err() != nil {
			continue // the gateway takes no more connections from this address
		}
		made++
		conns = append(conns, nc)
		if say != nil {
			said.Go(func() {
				_ = nc.SetWriteDeadline(time.Now().Add(10 * time.Second))
				_ = say(i, nc) // the gateway may refuse it
			})
		}
	}
	said.Wait()
	open := 0
	for _, nc := range conns {
		_ = nc.SetReadDeadline(time.Now().Add(time.Millisecond))
		_, err := io.Copy(io.Discard, nc)
		if e, ok := err.(net.Error); ok && e.Timeout() { //nolint:errorlint // a net.Conn's own
			open++
		}
	}
	return fmt.Sprintf("%d connections made, %d left open", made, open), nil
}

func unfinishedRegistrations(ctx context.Context, g *target.Gateway) (string, error) {
	head := "POST /register HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 448000\r\n\r\n" + `{"name":"`
	body := strings.Repeat("a", 447_000)
	return hold(ctx, 1000,
		func(i int) (net.Conn, error) { return from(i/100).DialContext(ctx, "tcp", g.HTTP) },
		func(_ int, nc net.Conn) error { _, err := io.WriteString(nc, head+body); return err })
}

func unfinishedFrames(ctx context.Context, g *target.Gateway) (string, error) {
	b := append([]byte("M"), make([]byte, 8)...)
	b = binary.LittleEndian.AppendUint32(b, 64_000)
	b = append(b, make([]byte, 63_000)...)
	return hold(ctx, 5000,
		func(i int) (net.Conn, error) { return from(10+i/500).DialContext(ctx, "tcp", g.Wire) },
		func(_ int, nc net.Conn) error { _, err := nc.Write(b); return err })
}

func claimingPackets(ctx context.Context, g *target.Gateway) (string, error) {
	b := append([]byte{0x10, 0xff, 0xff, 0x3f, 0, 4, 'M', 'Q', 'T', 'T', 4, 0xc2, 0, 0}, make([]byte, 60<<10)...)
	return hold(ctx, 1000,
		func(i int) (net.Conn, error) { return from(30+i/200).DialContext(ctx, "tcp", g.MQTT) },
		func(_ int, nc net.Conn) error { _, err := nc.Write(b); return err })
}

func idleConnections(ctx context.Context, g *target.Gateway) (string, error) {
	return hold(ctx, 10_000, func(int) (net.Conn, error) { return from(40).DialContext(ctx, "tcp", g.Wire) }, nil)
}

// basicIDs registers with the right key, from many ports and addresses, and sends one
// message with each id.
func basicIDs(ctx context.Context, g *target.Gateway) (string, error) {
	const sockets, each = 1000, 150
	to, err := net.ResolveUDPAddr("udp", g.Wire)
	if err != nil {
		return "", err
	}
	k := append([]byte{'K', byte(len(target.SecretKey))}, target.SecretKey...)
	got := 0
	buf := make([]byte, 64)
	for n := 0; n < sockets*each && ctx.Err() == nil; n++ {
		nc, err := net.DialUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 67, byte(n/1000+1))}, to)
		if err != nil {
			return "", err
		}
		_, _ = nc.Write(k) // on loopback it arrives, or the gateway drops it
		_ = nc.SetReadDeadline(time.Now().Add(2 * time.Millisecond))
		if m, err := nc.Read(buf); err == nil && m == 5 && buf[0] == 'A' {
			got++
			_, _ = nc.Write(append([]byte("P"), buf[1:5]...)) // confirms the id
		}
		_ = nc.Close()
	}
	return fmt.Sprintf("%d ids given", got), nil
}

func wrongKeys(ctx context.Context, g *target.Gateway) (string, error) {
	asked, waited := 0, 0
	client := &http.Client{Transport: &http.Transport{DialContext: from(50).DialContext}}
	for range 500 {
		resp, err := client.Post("http://"+g.HTTP+"/register", "application/json", strings.NewReader(`{"secret_key":"wrong"}`))
		if err != nil {
			continue
		}
		asked++
		if resp.StatusCode == http.StatusTooManyRequests {
			waited++
		}
		_, _ = io.Copy(io.Discard, resp.Body) // so that the connection is used again
		_ = resp.Body.Close()
	}
	nc, err := from(51).DialContext(ctx, "tcp", g.Wire)
	if err != nil {
		return "", err
	}
	defer nc.Close()
	for range 100_000 {
		if _, err := io.WriteString(nc, "K\x05wrong"); err != nil {
			break
		}
	}
	return fmt.Sprintf("%d of %d told to wait over HTTP", waited, asked), nil
}
