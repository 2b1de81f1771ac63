package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"sync"
	"syscall"

	"github.com/sirupsen/logrus"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"watchtower/config"
	"watchtower/gateway"
)

func serveCommand(sys surroundings) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Run the gateway (the default)",
		Long: "Run the gateway until SIGINT or SIGTERM; a second signal ends it at once. At\n" +
			"SIGHUP it reads its configuration again.\n" +
			"Every flag is also an environment variable (--udp-listen: WATCHTOWER_UDP_LISTEN)\n" +
			"and a key of the file (udp.listen). Flags go before the environment, that\n" +
			"before the file.",
		Args: cobra.NoArgs,
	}
	restore := cmd.Flags().String("restore", "", "restore this backup first, if it is there and the data directory has no gateway")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if cmd.Flag("context").Changed {
			return usagef("-c names a gateway to speak to; a gateway's own file is --config")
		}
		cfg, warnings, err := configToServe(cmd.Flags(), sys)
		if err != nil {
			return err
		}
		log := newLogger(cfg.Log, sys.err)
		for _, w := range warnings {
			log.WithFields(logrus.Fields{"variable": w.Variable, "nearest": w.Nearest}).Warn("variable is no setting")
		}
		if err := restoreMissing(cfg.DataDir, *restore, log); err != nil {
			return err
		}
		ctx, stop := untilSignal(cmd.Context(), log, sys.exit)
		defer stop()
		hangups := make(chan os.Signal, 1)
		signal.Notify(hangups, syscall.SIGHUP) // from here on SIGHUP does not end the program
		defer signal.Stop(hangups)
		again := func() (config.Config, error) {
			cfg, _, err := configToServe(cmd.Flags(), sys)
			return cfg, err
		}
		return serve(ctx, cfg, again, hangups, log, sys)
	}
	addSettings(cmd.Flags())
	return cmd
}

// restoreMissing restores a backup into a data directory that has no gateway, as after
// somebody's backup program has put back only that file.
func restoreMissing(dir, file string, log *logrus.Logger) error {
	if file == "" {
		return nil
	}
	done, did, err := gateway.RestoreMissing(dir, file)
	if err != nil {
		return fmt.Errorf("--restore %s: %w", file, err)
	}
	if did {
		log.WithFields(logrus.Fields{"file": file, "gateway": done.Gateway, "made": done.Made}).Info("backup restored")
	}
	return nil
}

// heapGrowth is the percentage by which the heap grows between two collections. Go's
// default is 100. With 50 a gateway with thousands of connections takes a quarter less
// memory. StartGrowth counts until the gateway serves: what it reads from the disk is no garbage, so
// collecting more often would take a fifth of the start, for a twelfth of its memory.
//
// ballastBytes is the size of a block that is allocated and never used. It takes address
// space and no memory, but the garbage collector counts it. So a small gateway under load
// collects after half of ballastBytes in garbage, and not after every two megabytes.
const (
	startGrowth  = 200
	heapGrowth   = 50
	ballastBytes = 12 << 20
)

// configToServe reads the configuration, at the start and at a reload.
func configToServe(flags *pflag.FlagSet, sys surroundings) (config.Config, []config.Warning, error) {
	cfg, warnings, err := loadConfig(flags, sys)
	if err != nil {
		return cfg, nil, err
	}
	// The banner's commands may be run in another directory, so they need the whole path.
	cfg.DataDir, err = filepath.Abs(cfg.DataDir)
	return cfg, warnings, err
}

// serve runs a gateway until ctx ends. At each hangup the gateway reads its configuration
// again.
func serve(ctx context.Context, cfg config.Config, again func() (config.Config, error), hangups <-chan os.Signal, log *logrus.Logger, sys surroundings) error {
	if sys.getenv("GOGC") == "" {
		debug.SetGCPercent(startGrowth)
		ballast := make([]byte, ballastBytes)
		defer runtime.KeepAlive(ballast)
	}
	g, err := gateway.New(cfg, log, gateway.From(again))
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
	if sys.getenv("GOGC") == "" {
		debug.SetGCPercent(heapGrowth)
	}
	serving, over := context.WithCancel(ctx)
	var beside sync.WaitGroup
	beside.Go(func() { calm(serving) })
	beside.Go(func() { supervise(serving, log, g.Alive) })
	beside.Go(func() {
		for {
			select {
			case <-serving.Done():
				return
			case <-hangups:
				g.Reload()
			}
		}
	})
	defer beside.Wait()
	defer over()
	return g.Serve(ctx)
}

// newLogger returns a logger for settings that have been checked.
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

// untilSignal returns a context that ends at the first SIGINT or SIGTERM. At the second the
// program exits at once. Stop restores the default of these signals.
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
