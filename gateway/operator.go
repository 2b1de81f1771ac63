package gateway

import (
	"context"
	"errors"
	"fmt"
	nethttp "net/http"
	"time"

	"watchtower/config"
	"watchtower/operator"
)

// newOperator makes what operators do. HTTP, which counts failures, is there by
// the time somebody asks.
func (g *Gateway) newOperator() (*operator.Service, error) {
	table, err := g.store.Table("operator_sessions")
	if err != nil {
		return nil, fmt.Errorf("data_dir: %w", err)
	}
	o := operator.DefaultOptions()
	o.Open, o.AdminKey, o.Users = g.cfg.Open, g.secrets.admin, operatorUsers(g.cfg.Users)
	o.Sessions = table
	o.WriteTimeout = g.cfg.HTTP.WriteTimeout
	o.Allowed = func(r *nethttp.Request) (bool, time.Duration) { return g.web.Allowed(r) }
	o.Failed = func(r *nethttp.Request, _ string) { g.web.Failed(r) }
	o.Known = func(r *nethttp.Request) { g.web.Know(r) }
	o.CheckPassword = func(_ context.Context, _ *nethttp.Request, user, password string) (right, busy bool) {
		return g.broker.CheckPassword(user, password), false
	}
	o.Client = func(r *nethttp.Request) string { return g.web.Client(r) }
	o.Reload = func() (operator.Reloaded, []string) {
		done, err := g.reload()
		return done, faultsOf(err)
	}
	return operator.New(g.hub, o, g.log)
}

// operatorUsers are the configuration's users, as the operator's part has them.
func operatorUsers(configured map[string]config.User) map[string]operator.User {
	users := map[string]operator.User{}
	for name, u := range configured {
		users[name] = operator.User{Role: operator.ParseRole(u.Role), Hash: u.PasswordHash}
	}
	return users
}

// faultsOf lists what is wrong with a configuration.
func faultsOf(err error) (list []string) {
	var faults config.Faults
	if errors.As(err, &faults) {
		for _, f := range faults {
			list = append(list, f.Error())
		}
	} else if err != nil {
		list = append(list, err.Error())
	}
	return list
}
