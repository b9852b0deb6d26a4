package main

import (
	"regexp"
	"strings"
)

// A directive is a line of Apache's configuration: its name in lower case, and its words.
type directive struct {
	line  int
	name  string
	words []string
}

// word returns one of the words, "" where there are fewer.
func (d directive) word(i int) string {
	if i < len(d.words) {
		return d.words[i]
	}
	return ""
}

// parseApache returns the directives of a configuration of Apache. A section begins with
// one called "<name" and ends with one called "</name".
func parseApache(text string) []directive {
	var all []directive
	joined := strings.ReplaceAll(strings.ReplaceAll(text, "\r\n", "\n"), "\\\n", " ")
	for i, line := range strings.Split(joined, "\n") {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		if line[0] == '<' {
			line = strings.TrimSuffix(line, ">")
		}
		words := apacheWords(line)
		all = append(all, directive{i + 1, strings.ToLower(words[0]), words[1:]})
	}
	return all
}

// apacheWords splits a line at spaces that are not quoted.
func apacheWords(line string) []string {
	var words []string
	for _, found := range apacheWord.FindAllString(line, -1) {
		if quote := found[0]; (quote == '"' || quote == '\'') && len(found) > 1 {
			found = strings.ReplaceAll(found[1:len(found)-1], `\`+string(quote), string(quote))
		}
		words = append(words, found)
	}
	return words
}

var apacheWord = regexp.MustCompile(`"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'|\S+`)
