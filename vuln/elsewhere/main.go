// Command elsewhere fails if the program would not compile for other systems. It checks the
// types of all packages from their source. That takes seconds, where a compiler would first
// compile the standard library. make release-files compiles for all systems.
package main

import (
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/tools/go/packages"
)

func main() {
	root := flag.String("root", ".", "directory of the module to check")
	pattern := flag.String("package", "./...", "what is checked, with all of the module that it imports")
	flag.Parse()
	faults := 0
	for _, platform := range flag.Args() {
		n, err := check(*root, *pattern, platform, os.Stderr)
		if err != nil {
			fmt.Fprintln(os.Stderr, "elsewhere:", err)
			os.Exit(1)
		}
		faults += n
	}
	if faults > 0 {
		os.Exit(1)
	}
}

// check writes the faults of the module's packages on a platform, such as linux/arm, to out,
// and returns their number.
func check(root, pattern, platform string, out io.Writer) (faults int, err error) {
	system, processor, ok := strings.Cut(platform, "/")
	if !ok {
		return 0, fmt.Errorf("%q is no platform, such as linux/arm", platform)
	}
	root, err = filepath.Abs(root)
	if err != nil {
		return 0, err
	}
	loaded, err := packages.Load(&packages.Config{
		Mode: packages.NeedName | packages.NeedFiles | packages.NeedCompiledGoFiles | packages.NeedImports |
			packages.NeedDeps | packages.NeedTypes | packages.NeedTypesSizes | packages.NeedSyntax | packages.NeedModule,
		Dir: root,
		Env: append(os.Environ(), "GOOS="+system, "GOARCH="+processor, "CGO_ENABLED=0"),
		ParseFile: func(files *token.FileSet, name string, text []byte) (*ast.File, error) {
			f, err := parser.ParseFile(files, name, text, parser.SkipObjectResolution)
			if f != nil && !strings.HasPrefix(name, root+string(filepath.Separator)) {
				for _, d := range f.Decls {
					if function, ok := d.(*ast.FuncDecl); ok {
						function.Body = nil // how others do it is not in question
					}
				}
			}
			return f, err
		},
	}, pattern)
	if err != nil {
		return 0, err
	}
	checked := 0
	packages.Visit(loaded, nil, func(p *packages.Package) {
		if p.Module == nil || !p.Module.Main {
			return
		}
		checked++
		for _, fault := range p.Errors {
			fmt.Fprintf(out, "%s: %v\n", platform, fault)
			faults++
		}
	})
	fmt.Fprintf(out, "%s: %d packages, %d faults\n", platform, checked, faults)
	return faults, nil
}
