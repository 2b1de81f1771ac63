package main

import (
	"context"
	"time"

	"watchtower/device"
)

// session is a line over session frames: what is said arrives once, also over a bad network.
type session struct {
	client  *device.Client
	channel uint32
	texts   chan string
	joined  chan struct{}
	cancel  context.CancelFunc
	ended   chan struct{}
}

func newSession(ctx context.Context, network string, o lineOptions) (line, error) {
	s := &session{channel: o.channel, texts: make(chan string), joined: make(chan struct{}, 1), ended: make(chan struct{})}
	s.joined <- struct{}{}
	client, err := device.Dial(ctx, network, o.at, device.Options{
		Secret: o.key, Name: o.name, KeepAlive: 10 * time.Second, Acknowledge: true, NoEcho: true, Hidden: true,
		RetryGap: 200 * time.Millisecond, RegisterEvery: 2 * time.Second,
		Window:    8, // what is lost holds up no others on their way
		OnSession: func(uint32) { s.again() },
	})
	if err != nil {
		return nil, err
	}
	s.client = client
	if err := client.Join(ctx, o.channel); err != nil {
		_ = client.Close(ctx)
		return nil, err
	}
	reading, cancel := context.WithCancel(context.Background())
	s.cancel = cancel
	go s.read(reading)
	return s, nil
}

func (s *session) again() {
	select {
	case s.joined <- struct{}{}:
	default:
	}
}

func (s *session) read(ctx context.Context) {
	defer close(s.ended)
	for {
		select {
		case <-ctx.Done():
			return
		case m := <-s.client.Messages():
			select {
			case s.texts <- string(m.Data):
			case <-ctx.Done():
				return
			}
		}
	}
}

func (s *session) heard() <-chan string   { return s.texts }
func (s *session) joins() <-chan struct{} { return s.joined }

func (s *session) say(ctx context.Context, text string) error {
	return s.client.Broadcast(ctx, device.JSON, []byte(text), s.channel)
}

// close ends the session, so that nobody waits for the valve.
func (s *session) close() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = s.client.Close(ctx)
	s.cancel()
	<-s.ended
}
