package config

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// branding.help takes the codes of README's table, and no others.
func TestCodes(t *testing.T) {
	t.Parallel()
	data, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, _ := strings.Cut(string(data), "| Code | Cause | Cure |\n|---|---|---|\n")
	table, _, _ = strings.Cut(table, "\n\n")
	var listed []string
	for row := range strings.Lines(table) {
		for _, code := range regexp.MustCompile("`([a-z_]+)`").FindAllStringSubmatch(strings.Split(row, "|")[1], -1) {
			listed = append(listed, code[1])
		}
	}
	slices.Sort(listed)
	if !slices.Equal(listed, codes) {
		t.Errorf("README has the codes %q, want %q", listed, codes)
	}
}
