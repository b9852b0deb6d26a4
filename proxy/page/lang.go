package page

import (
	"embed"
	"encoding/json"
	"fmt"
	"html/template"
	"net/http"
	"strings"

	"golang.org/x/text/language"
)

// langs has a file of texts for each language: by key, with %s where a name belongs.
//
//go:embed lang/*.json
var langs embed.FS

// languages are those that the pages are in. The first is for whoever reads none.
var languages = []language.Tag{
	language.English, language.German, language.French, language.Spanish, language.Portuguese, language.Japanese,
}

var (
	matcher  = language.NewMatcher(languages)
	catalogs = readCatalogs()
)

// A catalog is what the pages say, in one language.
type catalog struct {
	tag   string // RFC 5646
	texts map[string]string
}

// readCatalogs returns those of all languages, in their order.
func readCatalogs() []*catalog {
	var all []*catalog
	for _, l := range languages {
		c := &catalog{tag: l.String()}
		data, err := langs.ReadFile("lang/" + c.tag + ".json")
		if err == nil {
			err = json.Unmarshal(data, &c.texts)
		}
		if err != nil {
			panic(err) // it is part of the program
		}
		all = append(all, c)
	}
	return all
}

// languageOf returns the index of the language that the visitor likes best (RFC 9110,
// section 12.5.4).
func languageOf(r *http.Request) int {
	liked, _, err := language.ParseAcceptLanguage(r.Header.Get("Accept-Language"))
	if err != nil {
		return 0
	}
	_, i, _ := matcher.Match(liked...)
	return i
}

// say returns the text under a key, with the arguments in it.
func (c *catalog) say(key string, args ...any) string {
	text, ok := c.texts[key]
	if !ok {
		return key
	}
	if len(args) == 0 {
		return text
	}
	return fmt.Sprintf(text, args...)
}

// strong is say for the one argument that a text is about.
func (c *catalog) strong(key, about string) template.HTML {
	text := template.HTMLEscapeString(c.say(key))
	return template.HTML(strings.Replace(text, "%s", "<strong>"+template.HTMLEscapeString(about)+"</strong>", 1))
}

// Message returns what an [Error] page says, for who does not read pages.
func Message(r *http.Request, say string, args ...any) string {
	return catalogs[languageOf(r)].say("error."+say+".text", args...)
}
