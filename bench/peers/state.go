package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
)

// What is on the disk for startFull. The sessions belong to the first of the names.
const (
	names    = 100_000
	sessions = 10_000
	retained = 100_000 // each under a name
	group    = 100     // retained messages that are written at once
)

// stateTopic is the topic of a name's retained message, and payload what that says.
func stateTopic(i int) string { return "devices/" + senderName(i) + "/state" }

func payload(i int) string { return fmt.Sprintf("%-64d", i) }

// fill makes the state: names if the server has some, sessions with a subscription each, and
// retained messages.
func (p *process) fill(ctx context.Context) error {
	if p.http != "" {
		if err := p.register(ctx, names); err != nil {
			return err
		}
	}
	err := together(ctx, registrars, sessions, func(i int) error {
		c, _, err := p.connect(senderName(i), false)
		if err != nil {
			return err
		}
		return errors.Join(c.subscribe("devices/"+senderName(i)+"/set", 1), c.leave())
	})
	if err != nil {
		return err
	}
	return together(ctx, registrars, retained/group, func(i int) error { return p.retain(i*group, group) })
}

// retain publishes n retained messages at QoS 1, and waits for every PUBACK.
func (p *process) retain(first, n int) error {
	c, _, err := p.connect(fmt.Sprintf("retains-%d", first), true)
	if err != nil {
		return err
	}
	var publishes, answers strings.Builder
	for i := range n {
		id := string([]byte{0, byte(i + 1)})
		publishes.WriteString(packet(0x33, field16(stateTopic(first+i))+id+payload(first+i)))
		answers.WriteString(packet(0x40, id))
	}
	_, err = c.Write([]byte(publishes.String()))
	return errors.Join(err, c.expect(answers.String()), c.leave())
}

// acceptsClient connects a client that has a session.
func (p *process) acceptsClient() error { return p.hasSession(0) }

func (p *process) hasSession(i int) error {
	c, present, err := p.connect(senderName(i), false)
	if err != nil {
		return err
	}
	if !present {
		err = fmt.Errorf("%s has no session", senderName(i))
	}
	return errors.Join(err, c.leave())
}

// isFull checks that the state is there: the last session, and the last retained message.
func (p *process) isFull() error {
	if err := p.hasSession(sessions - 1); err != nil {
		return err
	}
	c, _, err := p.connect("looks", true)
	if err != nil {
		return err
	}
	last := retained - 1
	err = c.subscribe(stateTopic(last), 0)
	if err == nil {
		err = c.expect(packet(0x31, field16(stateTopic(last))+payload(last)))
	}
	return errors.Join(err, c.leave())
}
