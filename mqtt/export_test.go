package mqtt

// RoutesCached returns how many topics have a cached route.
func (b *Broker) RoutesCached() int {
	b.router.routesMu.RLock()
	defer b.router.routesMu.RUnlock()
	return len(b.router.routes)
}
