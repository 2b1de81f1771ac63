package gateway

import (
	"context"
	"fmt"
	nethttp "net/http"
	"time"

	"watchtower/auth"
	"watchtower/config"
	"watchtower/operator"
)

// passwordPatience is how long the password of an operator waits to be hashed.
const passwordPatience = 10 * time.Second

// newOperator makes the operators' API. Its functions use g.web, which is set before the
// first request.
func (g *Gateway) newOperator() (*operator.Service, error) {
	table, err := g.store.Table("operator_sessions")
	if err != nil {
		return nil, fmt.Errorf("data_dir: %w", err)
	}
	o := operator.Options{
		Open: g.cfg.Open, AdminKey: g.secrets.admin, Users: operatorUsers(g.cfg.Users), Sessions: table,
		WriteTimeout: g.cfg.HTTP.WriteTimeout,
	}
	o.Allowed = func(r *nethttp.Request) (bool, time.Duration) {
		wait := g.gate.Waits(g.web.Caller(r))
		return wait == 0, wait
	}
	o.Failed = func(r *nethttp.Request) { g.gate.Wrong(g.web.Caller(r), auth.WrongKey) }
	o.Vouched = func(r *nethttp.Request) (string, bool) { return g.web.Ingress(r) }
	o.Known = func(r *nethttp.Request) { g.web.Know(r) }
	o.CheckPassword = func(ctx context.Context, r *nethttp.Request, user, password string) (right, busy bool) {
		ctx, cancel := context.WithTimeout(ctx, passwordPatience)
		defer cancel()
		verdict := g.broker.CheckPassword(ctx, g.web.Caller(r), user, password)
		return verdict == auth.Right, verdict == auth.Later || verdict == auth.Full
	}
	o.Client = func(r *nethttp.Request) string { return g.web.Client(r) }
	o.Reload = func() (operator.Reloaded, []string) {
		done, err := g.reload()
		return done, config.Texts(err)
	}
	o.Backup = func() (operator.Backup, error) { return g.backup() }
	o.BackedUp = g.backedUp
	if err := g.readLastBackup(); err != nil {
		return nil, fmt.Errorf("data_dir: %w", err)
	}
	g.forConsole(&o)
	return operator.New(g.hub, o, g.log)
}

// operatorUsers converts the configured users for package operator.
func operatorUsers(configured map[string]config.User) map[string]operator.User {
	users := map[string]operator.User{}
	for name, u := range configured {
		users[name] = operator.User{Role: operator.ParseRole(u.Role), Hash: u.PasswordHash}
	}
	return users
}
