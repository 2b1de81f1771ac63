package contract

import (
	"bytes"
	"fmt"
	"os"

	"github.com/pb33f/jsonschema/v6"
)

// Valid checks a JSON document against the JSON schema in a file. All faults are in
// the error.
func Valid(schemaFile string, document []byte) error {
	file, err := os.Open(schemaFile)
	if err != nil {
		return err
	}
	defer file.Close()
	schema, err := jsonschema.UnmarshalJSON(file)
	if err != nil {
		return fmt.Errorf("%s: %w", schemaFile, err)
	}
	compiler := jsonschema.NewCompiler()
	if err := compiler.AddResource("schema.json", schema); err != nil {
		return fmt.Errorf("%s: %w", schemaFile, err)
	}
	compiled, err := compiler.Compile("schema.json")
	if err != nil {
		return fmt.Errorf("%s: %w", schemaFile, err)
	}
	parsed, err := jsonschema.UnmarshalJSON(bytes.NewReader(document))
	if err != nil {
		return err
	}
	return compiled.Validate(parsed)
}
