// Command docs writes what can be made of the struct docs of package config: the
// reference for operators, deploy/CONFIGURATION.md, and the JSON Schema for their
// editors, config/schema.json. Run it from the root of the repository: make docs.
package main

import (
	"fmt"
	"os"
	"path/filepath"
)

func main() {
	made, err := generate("config")
	if err == nil {
		err = made.write(".")
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "docs:", err)
		os.Exit(1)
	}
}

// generated are the files by their paths from the root of the repository.
type generated map[string][]byte

// generate makes the files of the docs in the folder of package config.
func generate(folder string) (generated, error) {
	root, err := readConfig(folder)
	if err != nil {
		return nil, err
	}
	schema, err := root.schema()
	if err != nil {
		return nil, err
	}
	return generated{"deploy/CONFIGURATION.md": root.markdown(), "config/schema.json": schema}, nil
}

func (g generated) write(root string) error {
	for path, data := range g {
		if err := os.WriteFile(filepath.Join(root, path), data, 0o644); err != nil {
			return err
		}
	}
	return nil
}
