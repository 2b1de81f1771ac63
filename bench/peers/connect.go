package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"watchtower/bench/processor"
)

// connects is the measurement of what a connect costs the server.
const connects = "connect, disconnect"

const (
	connected     = 5000 // how often it is done
	connectedOnce = 500  // before that, without counting
	atOnce        = 32   // at a time
)

// connectCost measures the server's processor time for CONNECT, CONNACK and DISCONNECT of a clean
// session, each with a client id of its own, from accepting the connection to closing it.
func (p *process) connectCost(ctx context.Context) sample {
	if err := p.comeAndGo(ctx, "before", connectedOnce); err != nil {
		return sample{err: err}
	}
	before, err := p.used(ctx)
	if err == nil {
		err = p.comeAndGo(ctx, "client", connected)
	}
	if err != nil {
		return sample{err: err}
	}
	after, err := p.used(ctx)
	return sample{connectMicros: float64((after - before).Nanoseconds()) / 1000 / connected, err: err}
}

func (p *process) comeAndGo(ctx context.Context, name string, n int) error {
	return together(ctx, atOnce, n, func(i int) error {
		c, present, err := p.connect(fmt.Sprintf("%s-%d", name, i), true)
		if err != nil {
			return err
		}
		if present {
			err = errors.New("there was a session")
		}
		return errors.Join(err, c.leave())
	})
}

// used returns the server's processor time, once the server has had time to end what was begun.
func (p *process) used(ctx context.Context) (time.Duration, error) {
	select {
	case <-time.After(200 * time.Millisecond):
	case <-ctx.Done():
		return 0, ctx.Err()
	}
	return processor.Time(p.cmd.Process.Pid)
}

// together calls do with the numbers below n, several at a time, until one fails.
func together(ctx context.Context, several, n int, do func(i int) error) error {
	var working sync.WaitGroup
	errs := make([]error, several)
	for w := range several {
		working.Go(func() {
			for i := w; i < n && errs[w] == nil; i += several {
				if errs[w] = ctx.Err(); errs[w] == nil {
					errs[w] = do(i)
				}
			}
		})
	}
	working.Wait()
	return errors.Join(errs...)
}
