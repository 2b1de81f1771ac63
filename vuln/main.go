// Command vuln fails when the program calls a known fault of a module or of Go.
//
// It is govulncheck with a database that comes from the Go module proxy: the
// module golang.org/x/vulndb, whose folder data/osv holds every report. Reports are found
// through an index in the format of https://go.dev/doc/security/vuln/database, which this
// command makes in a temporary directory. The database is pinned by its hash, so that a
// build that passed passes again; -database latest takes the newest.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"

	"golang.org/x/vuln/scan"
)

// The database that make test looks into.
const (
	pinned    = "v0.0.0-20261105234957-e22db6528018"
	pinnedSum = "h1:mfngRv0Yoh0VApsXKEN82CjD99kl7mtparN3bs3JnqI="
)

func main() {
	version := flag.String("database", pinned, "version of golang.org/x/vulndb")
	root := flag.String("root", ".", "directory of the module to check")
	flag.Parse()
	if err := check(context.Background(), *root, *version, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "vuln:", err)
		os.Exit(1)
	}
}

// check checks the module at root, and writes its findings to out. An error says that the
// module calls a known fault, or that it could not be checked.
func check(ctx context.Context, root, version string, out io.Writer) error {
	reports, err := download(ctx, version)
	if err != nil {
		return err
	}
	db, err := os.MkdirTemp("", "vulndb-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(db)
	if err := writeIndex(reports, db); err != nil {
		return err
	}
	cmd := scan.Command(ctx, "-C", root, "-db", "file://"+db, "./...")
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		return err
	}
	return cmd.Wait()
}

// download returns the folder of a database's reports in the module cache.
func download(ctx context.Context, version string) (string, error) {
	var out bytes.Buffer
	cmd := exec.CommandContext(ctx, "go", "mod", "download", "-json", "golang.org/x/vulndb@"+version)
	cmd.Stdout, cmd.Stderr = &out, os.Stderr
	failed := cmd.Run()
	var module struct{ Version, Sum, Dir, Error string }
	if err := json.Unmarshal(out.Bytes(), &module); err != nil || failed != nil {
		return "", fmt.Errorf("golang.org/x/vulndb@%s: %s (%v)", version, module.Error, failed)
	}
	if module.Version == pinned && module.Sum != pinnedSum {
		return "", fmt.Errorf("golang.org/x/vulndb@%s has the hash %s, not %s", version, module.Sum, pinnedSum)
	}
	fmt.Println("known faults as of golang.org/x/vulndb", module.Version)
	return filepath.Join(module.Dir, "data", "osv"), nil
}

// fault is a report's entry in an index. If it has no version that corrects the fault,
// govulncheck reads the report itself.
type fault struct {
	ID       string   `json:"id"`
	Modified string   `json:"modified"`
	Aliases  []string `json:"aliases,omitempty"`
}

type module struct {
	Path  string  `json:"path"`
	Vulns []fault `json:"vulns"`
}

// writeIndex makes a database from a folder of reports: the index, and the folder itself
// under the name ID.
func writeIndex(reports, db string) error {
	files, err := filepath.Glob(filepath.Join(reports, "GO-*.json"))
	if err != nil {
		return err
	}
	if len(files) == 0 {
		return fmt.Errorf("%s holds no reports", reports)
	}
	var faults []fault
	var newest string
	modules := map[string]*module{}
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		var report struct {
			fault
			Affected []struct{ Package struct{ Name string } }
		}
		if err := json.Unmarshal(b, &report); err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
		faults = append(faults, report.fault)
		newest = max(newest, report.Modified)
		for _, a := range report.Affected {
			m := modules[a.Package.Name]
			if m == nil {
				m = &module{Path: a.Package.Name}
				modules[m.Path] = m
			}
			if len(m.Vulns) == 0 || m.Vulns[len(m.Vulns)-1].ID != report.ID {
				m.Vulns = append(m.Vulns, fault{ID: report.ID, Modified: report.Modified})
			}
		}
	}
	var sorted []*module
	for _, path := range slices.Sorted(maps.Keys(modules)) {
		sorted = append(sorted, modules[path])
	}
	if err := os.Mkdir(filepath.Join(db, "index"), 0o700); err != nil {
		return err
	}
	for name, content := range map[string]any{"db": map[string]string{"modified": newest}, "modules": sorted, "vulns": faults} {
		b, err := json.Marshal(content)
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(db, "index", name+".json"), b, 0o600); err != nil {
			return err
		}
	}
	return os.Symlink(reports, filepath.Join(db, "ID"))
}
