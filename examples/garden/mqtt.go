package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	paho "github.com/eclipse/paho.mqtt.golang"
)

// lastWill is said by the broker when the valve's connection is lost: nobody knows how it is.
const lastWill = `{"tap":null}`

// broker is a line over MQTT. The client id is the valve's name.
type broker struct {
	client paho.Client
	topic  string // of the channel
	texts  chan string
	joined chan struct{}
	ended  chan struct{}
}

func newMQTT(ctx context.Context, o lineOptions) (line, error) {
	b := &broker{topic: fmt.Sprintf("watchtower/channels/%d/", o.channel), texts: make(chan string, 64), joined: make(chan struct{}, 1), ended: make(chan struct{})}
	options := paho.NewClientOptions().AddBroker("tcp://"+o.at).SetClientID(o.name).
		SetUsername("valve").SetPassword(o.key).SetKeepAlive(5*time.Second).SetPingTimeout(2*time.Second).
		SetWill(b.topic+"broadcast", lastWill, 1, false).
		SetAutoReconnect(true).SetMaxReconnectInterval(time.Second).SetOrderMatters(true).
		SetOnConnectHandler(b.subscribe)
	b.client = paho.NewClient(options)
	if err := b.done(ctx, b.client.Connect()); err != nil {
		b.close()
		return nil, err
	}
	return b, nil
}

// subscribe asks for all that is said, and for what is sent to this valve.
func (b *broker) subscribe(client paho.Client) {
	token := client.SubscribeMultiple(map[string]byte{b.topic + "broadcast/+": 1, b.topic + "send/+/+": 1}, func(_ paho.Client, m paho.Message) {
		select {
		case b.texts <- string(m.Payload()):
		case <-b.ended:
		}
	})
	go func() { // a handler of the library may not wait
		select {
		case <-token.Done():
		case <-b.ended:
			return
		}
		if token.Error() != nil {
			return // the connection is lost again
		}
		select {
		case b.joined <- struct{}{}:
		default:
		}
	}()
}

func (b *broker) done(ctx context.Context, token paho.Token) error {
	select {
	case <-token.Done():
		return token.Error()
	case <-ctx.Done():
		return ctx.Err()
	case <-b.ended:
		return errors.New("closed")
	}
}

func (b *broker) heard() <-chan string   { return b.texts }
func (b *broker) joins() <-chan struct{} { return b.joined }

func (b *broker) say(ctx context.Context, text string) error {
	if !b.client.IsConnectionOpen() {
		return errors.New("not connected") // else the library keeps it, however many there are
	}
	return b.done(ctx, b.client.Publish(b.topic+"broadcast", 1, false, text))
}

func (b *broker) close() {
	close(b.ended)
	b.client.Disconnect(250)
}
