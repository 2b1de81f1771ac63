package main

import (
	"context"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"github.com/sirupsen/logrus"
)

// supervise tells a service manager, as sd_notify(3) says, that the service is ready, and that
// it stops once ctx ends. Between the two it says that the service is alive, three times in
// the time that the service manager's watchdog gives, each time after alive has returned.
// Without a service manager, which $NOTIFY_SOCKET names, it only waits.
func supervise(ctx context.Context, log logrus.FieldLogger, alive func()) {
	tell := func(state string) {
		if _, err := daemon.SdNotify(false, state); err != nil {
			log.WithError(err).Warn("service manager not told")
		}
	}
	tell(daemon.SdNotifyReady)
	defer tell(daemon.SdNotifyStopping)
	limit, err := daemon.SdWatchdogEnabled(false)
	if err != nil {
		log.WithError(err).Warn("the service manager's watchdog is not told")
	}
	if limit == 0 {
		<-ctx.Done()
		return
	}
	tick := time.NewTicker(limit / 3)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			alive()
			tell(daemon.SdNotifyWatchdog)
		}
	}
}
