package page

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http/httptest"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

func TestLanguage(t *testing.T) {
	t.Parallel()
	for accepted, want := range map[string]string{
		"":                                "en",
		"*":                               "en",
		"de":                              "de",
		"de-AT":                           "de",
		"fr-CH, fr;q=0.9, en;q=0.8":       "fr",
		"pt-BR":                           "pt",
		"es-419":                          "es",
		"ja-JP":                           "ja",
		"en;q=0.5, ja":                    "ja",
		"nl, de;q=0.5":                    "de",
		"nl":                              "en",
		"xx-yy-zz":                        "en",
		"de;q=0, fr":                      "fr",
		"de;q=x":                          "en",
		"\"><script>":                     "en",
		strings.Repeat("a-", 10_000):      "en",
		strings.Repeat("de-x-y,", 10_000): "en", // more than anybody reads
	} {
		w := httptest.NewRecorder()
		plain.Write(w, visit(accepted), 200, Login{})
		if got := w.Header().Get("Content-Language"); got != want || !strings.Contains(w.Body.String(), `<html lang="`+want+`">`) {
			t.Errorf("Accept-Language %.40q: %q, want %q", accepted, got, want)
		}
	}
}

// Each language has each text, and in each text what belongs into it.
func TestTexts(t *testing.T) {
	t.Parallel()
	files, err := os.ReadDir("lang")
	if err != nil {
		t.Fatal(err)
	}
	if len(files) != len(languages) {
		t.Errorf("%d files of texts for %d languages", len(files), len(languages))
	}
	verbs := regexp.MustCompile("%.")
	english := catalogs[0].texts
	for _, c := range catalogs[1:] {
		for _, key := range slices.Sorted(maps.Keys(english)) {
			text, ok := c.texts[key]
			switch {
			case !ok:
				t.Errorf("%s lacks %s: %q", c.tag, key, english[key])
			case strings.TrimSpace(text) == "" || text != strings.TrimSpace(text):
				t.Errorf("%s: %s is %q", c.tag, key, text)
			case !slices.Equal(verbs.FindAllString(text, -1), verbs.FindAllString(english[key], -1)):
				t.Errorf("%s: %s is %q, want what is in %q", c.tag, key, text, english[key])
			}
		}
		for key := range c.texts {
			if _, ok := english[key]; !ok {
				t.Errorf("%s has %s, which there is not", c.tag, key)
			}
		}
	}
}

// A text that stands twice in a file would be another one than the translator sees.
func TestTextsOnce(t *testing.T) {
	t.Parallel()
	for _, c := range catalogs {
		data, err := os.ReadFile("lang/" + c.tag + ".json")
		if err != nil {
			t.Fatal(err)
		}
		seen := make(map[string]bool)
		d := json.NewDecoder(strings.NewReader(string(data)))
		for i := 0; ; i++ {
			token, err := d.Token()
			if err != nil {
				break
			}
			key, ok := token.(string)
			if ok && i%2 == 1 { // after the bracket, names and texts take turns
				if seen[key] {
					t.Errorf("%s: %s stands there twice", c.tag, key)
				}
				seen[key] = true
			}
		}
		if len(seen) != len(c.texts) {
			t.Errorf("%s: %d names for %d texts", c.tag, len(seen), len(c.texts))
		}
	}
}

// The pages say nothing but what is in the files, and all of that is said somewhere.
func TestKeys(t *testing.T) {
	t.Parallel()
	asked := make(map[string]bool)
	templates, err := os.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range templates {
		if !strings.HasSuffix(file.Name(), ".html") {
			continue
		}
		text, err := os.ReadFile(file.Name())
		if err != nil {
			t.Fatal(err)
		}
		for _, call := range regexp.MustCompile(`(?:say|strong) "([^"]+)"`).FindAllStringSubmatch(string(text), -1) {
			asked[call[1]] = true
			if _, ok := catalogs[0].texts[call[1]]; !ok {
				t.Errorf("%s says %s, which is not in the files", file.Name(), call[1])
			}
		}
		// What is not markup and no action is a word that nobody could translate.
		bare := regexp.MustCompile(`(?s)\{\{.*?\}\}|<[^>]*>|\w+="[^"]*"|&amp;\w+=`).ReplaceAllString(string(text), " ")
		if words := regexp.MustCompile(`[A-Za-z]{2,}`).FindAllString(bare, -1); len(words) > 0 {
			t.Errorf("%s has words of its own: %q", file.Name(), words)
		}
	}
	for key := range catalogs[0].texts {
		group, _, _ := strings.Cut(key, ".")
		if !asked[key] && group != "error" && group != "link" && group != "post" {
			t.Errorf("%s is in the files, and no page says it", key)
		}
	}
}

// Names stand out in a sentence, and stay names.
func TestStrong(t *testing.T) {
	t.Parallel()
	for _, c := range catalogs {
		w := httptest.NewRecorder()
		plain.Write(w, visit(c.tag), 200, Choose{Domain: nasty, IdPs: []IdP{{"a", "A"}}})
		if body := w.Body.String(); !strings.Contains(body, "<strong>&#34;&gt;&lt;script&gt;alert(1)&lt;/script&gt;&#39;&amp;{{.}}</strong>") {
			t.Errorf("%s: %s", c.tag, body)
		}
	}
}

func TestMessage(t *testing.T) {
	t.Parallel()
	const want = "Ihr Identitätsanbieter muss das Attribut „title“ mit einem Wert senden. Sagen Sie das bitte Ihrer Administration."
	if got := Message(visit("de"), "attribute_missing", "title"); got != want {
		t.Errorf("%q, want %q", got, want)
	}
	// Whatever is in the text of an argument, it is none.
	if got := Message(visit("en"), "attribute_missing", "100%d"); !strings.Contains(got, "“100%d”") {
		t.Errorf("%q", got)
	}
	if got := fmt.Sprint(catalogs[0].say("error.not_there.text")); got != "error.not_there.text" {
		t.Errorf("a text that there is not: %q", got)
	}
}
