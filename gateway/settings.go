package gateway

import (
	"watchtower/operator"
)

// settings returns the settings in force, and the path of the configuration file.
func (g *Gateway) settings() (list []operator.Setting, file string) {
	cfg := g.reloads.inForce()
	for _, v := range cfg.Values() {
		s := operator.Setting{
			Name: v.Path, From: v.From, Line: v.Line, Default: v.Default, Help: v.Help(), Secret: v.Secret, NeedsRestart: !v.Reloads,
		}
		if v.Secret {
			s.Set = &v.Set
		} else {
			s.Value = &v.Text
		}
		list = append(list, s)
	}
	return list, cfg.File()
}
