package gateway

import (
	"os"
	"strings"
)

// ownHost returns a function that reports whether a host name is this machine's, or one
// of its certificate.
func (g *Gateway) ownHost() func(string) bool {
	machine, err := os.Hostname()
	if err != nil {
		g.log.WithError(err).Warn("the machine's name is not known")
	}
	return func(host string) bool {
		return machine != "" && strings.EqualFold(host, machine) || g.certs != nil && g.certs.names(host)
	}
}

// names reports whether the certificate in force is for a host.
func (c *certificates) names(host string) bool {
	leaf := c.current().Certificates[0].Leaf
	return leaf != nil && leaf.VerifyHostname(host) == nil
}
