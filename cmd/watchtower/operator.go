package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"
)

// operator is a client with an operator's session.
type operator struct {
	*client
	at    target
	token string
}

// signedIn signs in as an operator, calls do, and ends the session.
func signedIn(cmd *cobra.Command, sys surroundings, do func(context.Context, operator) error) error {
	c := newClient(sys)
	if err := c.readFlags(cmd); err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	o, err := c.signIn(ctx)
	if err != nil {
		return err
	}
	defer o.signOut(ctx)
	return do(ctx, o)
}

// signIn begins an operator's session.
func (c *client) signIn(ctx context.Context) (operator, error) {
	t, err := c.find()
	if err != nil {
		return operator{}, err
	}
	key, err := c.adminKey(t)
	if err != nil {
		return operator{}, err
	}
	o := operator{client: c, at: t}
	var session struct{ Token string }
	err = o.ask(ctx, request{method: "POST", path: "/operator/session"}, map[string]string{"key": key}, &session)
	o.token = session.Token
	return o, err
}

// signOut ends the session, also if the context has ended. It waits a second at most.
func (o operator) signOut(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	_ = o.ask(ctx, request{method: "DELETE", path: "/operator/session"}, nil, nil) // after an error it expires
}

// adminKey returns the admin key for a gateway. The key of the gateway on this machine is
// never sent to another one.
func (c *client) adminKey(t target) (string, error) {
	if c.givenAdminKey != "" {
		return c.givenAdminKey, nil
	}
	if key := c.getenv("WATCHTOWER_ADMIN_KEY"); key != "" {
		return key, nil
	}
	dir, err := c.dir()
	if err == nil && c.url != "" {
		if local, err := readLocal(dir); err != nil || local.url != t.url {
			return "", fmt.Errorf("the gateway at %s needs its admin key: give --admin-key-file, or keep it in a context (watchtower context add --help); its machine prints it by watchtower admin-key", t.url)
		}
	}
	return c.localAdminKey()
}

// ask makes a call. Body is sent as JSON, unless it is nil. The answer is parsed into
// answer, unless that is nil.
func (o operator) ask(ctx context.Context, r request, body, answer any) error {
	if body != nil {
		withBody, err := jsonRequest(r.method, r.path, body)
		if err != nil {
			return err
		}
		r = withBody
	}
	r.token = o.token
	b, err := o.call(ctx, o.at, r)
	if err != nil || answer == nil {
		return err
	}
	if err := json.Unmarshal(b, answer); err != nil {
		return fmt.Errorf("%s is no gateway: %w", o.at.url, err)
	}
	return nil
}
