package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"

	mochi "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/hooks/auth"
	"github.com/mochi-mqtt/server/v2/listeners"
	natsserver "github.com/nats-io/nats-server/v2/server"

	"watchtower/bench/bare"
)

// serveCommand makes this program one of the servers.
const serveCommand = "serve"

// serve runs a server at an address until SIGTERM.
func serve(server, address string) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	switch server {
	case bareHTTP, bareTCP:
		l, err := net.Listen("tcp", address)
		if err != nil {
			return err
		}
		if server == bareHTTP {
			return new(bare.HTTP).Serve(ctx, l)
		}
		return new(bare.TCP).Serve(ctx, l)
	case bareUDP:
		at, err := net.ResolveUDPAddr("udp4", address)
		if err != nil {
			return err
		}
		c, err := net.ListenUDP("udp4", at)
		if err != nil {
			return err
		}
		return new(bare.UDP).Serve(ctx, c)
	case nats:
		return serveNATS(ctx, address)
	case bareMochi:
		return serveMochi(ctx, address)
	}
	return fmt.Errorf("there is no server %q", server)
}

func serveNATS(ctx context.Context, address string) error {
	host, text, err := net.SplitHostPort(address)
	if err != nil {
		return err
	}
	port, err := strconv.Atoi(text)
	if err != nil {
		return err
	}
	opts := &natsserver.Options{
		ServerName: "peers", Host: host, Port: natsserver.RANDOM_PORT, NoSigs: true, NoLog: true,
		JetStream: true, StoreDir: "jetstream",
		MQTT: natsserver.MQTTOpts{Host: host, Port: port},
	}
	s, err := natsserver.NewServer(opts)
	if err != nil {
		return err
	}
	s.Start()
	if !s.ReadyForConnections(10 * time.Second) {
		return errors.New("nats-server does not start")
	}
	<-ctx.Done()
	s.Shutdown()
	s.WaitForShutdown()
	return nil
}

func serveMochi(ctx context.Context, address string) error {
	s := mochi.New(&mochi.Options{Logger: slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError}))})
	if err := s.AddHook(new(auth.AllowHook), nil); err != nil {
		return err
	}
	if err := s.AddListener(listeners.NewTCP(listeners.Config{ID: "peers", Address: address})); err != nil {
		return err
	}
	if err := s.Serve(); err != nil {
		return err
	}
	<-ctx.Done()
	return s.Close()
}
