package main

import (
	"context"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"syscall"

	"github.com/sirupsen/logrus"
	"github.com/spf13/cobra"

	"watchtower/config"
	"watchtower/gateway"
)

func serveCommand(sys surroundings) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Run the gateway (the default)",
		Long: "Run the gateway until SIGINT or SIGTERM; a second signal ends it at once.\n" +
			"Every flag is also an environment variable (--udp-listen: WATCHTOWER_UDP_LISTEN)\n" +
			"and a key of the file (udp.listen). Flags go before the environment, that\n" +
			"before the file.",
		Args: cobra.NoArgs,
	}
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		cfg, warnings, err := loadConfig(cmd.Flags(), sys)
		if err != nil {
			return err
		}
		// Commands that are copied to another terminal start elsewhere.
		if cfg.DataDir, err = filepath.Abs(cfg.DataDir); err != nil {
			return err
		}
		log := newLogger(cfg.Log, sys.err)
		for _, w := range warnings {
			log.WithFields(logrus.Fields{"variable": w.Variable, "nearest": w.Nearest}).Warn("variable is no setting")
		}
		ctx, stop := untilSignal(cmd.Context(), log, sys.exit)
		defer stop()
		return serve(ctx, cfg, log, sys)
	}
	addSettings(cmd.Flags())
	return cmd
}

// heapGrowth is by how many percent the heap grows between two collections.
// Go's own is 100: half of that is a quarter less memory where there are thousands
// of connections.
//
// ballastBytes is what is allocated and never touched, so it takes address space
// and no memory. The collector counts it: a small gateway under load collects
// after half of that in garbage, and not after every two megabytes.
const (
	heapGrowth   = 50
	ballastBytes = 12 << 20
)

func serve(ctx context.Context, cfg config.Config, log *logrus.Logger, sys surroundings) error {
	if sys.getenv("GOGC") == "" {
		debug.SetGCPercent(heapGrowth)
		ballast := make([]byte, ballastBytes)
		defer runtime.KeepAlive(ballast)
	}
	g, err := gateway.New(cfg, log)
	if err != nil {
		return err
	}
	if err := g.Listen(); err != nil {
		if e := g.Close(); e != nil {
			log.WithError(e).Warn("gateway not closed")
		}
		return err
	}
	if err := newBanner(g, cfg, sys).write(sys.out); err != nil {
		log.WithError(err).Warn("standard output is closed")
	}
	return g.Serve(ctx)
}

// newLogger returns a logger by settings that are known to be valid.
func newLogger(c config.Log, out io.Writer) *logrus.Logger {
	log := logrus.New()
	log.SetOutput(out)
	if level, err := logrus.ParseLevel(c.Level); err == nil {
		log.SetLevel(level)
	}
	if c.Format == "json" {
		log.SetFormatter(&logrus.JSONFormatter{})
	} else {
		log.SetFormatter(&logrus.TextFormatter{FullTimestamp: true})
	}
	return log
}

// untilSignal returns a context that ends at the first SIGINT or SIGTERM. At
// the second the program exits at once. Stop gives the signals back.
func untilSignal(parent context.Context, log *logrus.Logger, exit func(int)) (ctx context.Context, stop func()) {
	ctx, cancel := context.WithCancel(parent)
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	over := make(chan struct{})
	done := make(chan struct{})
	go func() {
		defer close(done)
		for first := true; ; first = false {
			select {
			case <-over:
				return
			case s := <-signals:
				if !first {
					exit(exitInterrupted)
					return
				}
				log.WithField("signal", s.String()).Info("stopping, a second signal ends at once")
				cancel()
			}
		}
	}()
	return ctx, func() {
		signal.Stop(signals)
		close(over)
		<-done
		cancel()
	}
}
