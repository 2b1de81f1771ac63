package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"watchtower/atomicfile"
	"watchtower/gateway"
)

// standard is the FILE argument that means standard input or output.
const standard = "-"

func backupCommand(sys surroundings) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "backup FILE",
		Short: "Write all that a running gateway keeps on disk into one file",
		Long: "Write all that a running gateway keeps on disk into one file, as an operator of the\n" +
			"gateway on this machine, or of another with --url and --admin-key. FILE holds the\n" +
			"gateway's secrets: it is for its owner only. With - it goes to standard output.",
		Example: "  watchtower backup house.tar\n  watchtower backup - | gzip > house.tar.gz",
		Args:    cobra.ExactArgs(1),
	}
	addOperator(cmd.Flags())
	force := cmd.Flags().Bool("force", false, "replace FILE if there is one")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		path := args[0]
		if err := free(path, *force); err != nil {
			return err
		}
		return signedIn(cmd, sys, func(ctx context.Context, o operator) error {
			if path == standard {
				return o.backup(ctx, o.out)
			}
			if err := o.backupInto(ctx, path, *force); err != nil {
				return err
			}
			if o.json {
				return json.NewEncoder(o.out).Encode(map[string]string{"backup": path})
			}
			_, err := fmt.Fprintf(o.out, "the backup is in %s; it holds the gateway's secrets\n", path)
			return err
		})
	}
	return cmd
}

// free returns an error if the file exists and --force is not given.
func free(path string, force bool) error {
	if force || path == standard {
		return nil
	}
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s is there already: --force replaces it", path)
	}
	return nil
}

// backup copies the gateway's backup to a writer, and checks it at the same time.
func (o operator) backup(ctx context.Context, to io.Writer) error {
	resp, err := o.send(ctx, o.at, request{method: "GET", path: "/operator/backup", token: o.token})
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	shown := newProgress(o.err)
	defer shown.end()
	return gateway.VerifyBackup(io.TeeReader(shown.reading(resp.Body, resp.ContentLength), to))
}

// backupInto writes a backup to a file atomically: a file with that name is always whole.
func (o operator) backupInto(ctx context.Context, path string, force bool) error {
	return atomicfile.Write(path, func(to io.Writer) error {
		return errors.Join(o.backup(ctx, to), free(path, force))
	})
}

func restoreCommand(sys surroundings) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "restore FILE",
		Short: "Put a backup in place of what a stopped gateway keeps on disk",
		Long: "Put a backup in place of what a stopped gateway keeps on disk. It is checked whole\n" +
			"first. What was there is kept under other names. With - it comes from standard input.",
		Example: "  watchtower restore house.tar\n  gunzip < house.tar.gz | watchtower restore -",
		Args:    cobra.ExactArgs(1),
	}
	dataDir := cmd.Flags().String("data-dir", "", "the data directory (default: that of the gateway on this machine)")
	asJSON := cmd.Flags().Bool("json", false, "print JSON")
	cmd.RunE = func(_ *cobra.Command, args []string) error {
		c := newClient(sys)
		c.dataDir = *dataDir
		dir, err := c.dir()
		if err != nil {
			return fmt.Errorf("data_dir: %w", err)
		}
		from, size := sys.in, int64(0)
		if args[0] != standard {
			f, err := os.Open(args[0])
			if err != nil {
				return err
			}
			defer f.Close()
			if info, err := f.Stat(); err == nil {
				size = info.Size()
			}
			from = f
		}
		shown := newProgress(sys.err)
		done, err := gateway.Restore(dir, shown.reading(from, size))
		shown.end()
		if err != nil {
			return fmt.Errorf("%s: %w", dir, err)
		}
		if *asJSON {
			return json.NewEncoder(c.out).Encode(map[string]any{"data_dir": dir, "gateway": done.Gateway, "made": done.Made, "kept": done.Kept})
		}
		fmt.Fprintf(c.out, "restored into %s: gateway %s as it was on %s\n",
			dir, printableText(done.Gateway), done.Made.Local().Format(time.DateTime))
		if len(done.Kept) > 0 {
			fmt.Fprintf(c.out, "what was there is kept: %s\n", strings.Join(done.Kept, ", "))
		}
		return nil
	}
	return cmd
}
