package proxy

import (
	"cmp"
	"fmt"

	"go.uber.org/zap"

	"github.com/jitgate/jitgate/config"
	"github.com/jitgate/jitgate/proxy/page"
)

// newPages returns the pages as a configuration wants them. An error names the template
// that is wrong.
func newPages(b config.Branding, log *zap.Logger) (*page.Set, error) {
	brand := page.Brand{Name: b.Name, Logo: b.LogoURL, Help: b.Help, Folder: b.Templates}
	for _, link := range b.Links {
		brand.Links = append(brand.Links, page.Link{URL: link.URL, Text: link.Text})
	}
	light, dark := b.Colors.Accent, b.Colors.AccentDark
	if light != "" {
		brand.Style += ":root {" + accent(light) + "}\n"
		dark = cmp.Or(dark, "#8ab8ff") // ours, which this rule overrules
	}
	if dark != "" {
		brand.Style += "@media (prefers-color-scheme: dark) { :root {" + accent(dark) + "} }\n"
	}
	set, err := page.New(brand, func(err error) { log.Error("page not shown", zap.Error(err)) })
	if err != nil {
		return nil, fmt.Errorf("branding.templates: %w", err)
	}
	return set, nil
}

// accent returns the declarations of a color, with one for text on it. One that the
// pointer is over has its text underlined instead of another color.
func accent(color string) string {
	ink := "#ffffff"
	if config.Contrast(color, "#0c1a2e") > config.Contrast(color, ink) {
		ink = "#0c1a2e"
	}
	return "--accent: " + color + "; --accent-ink: " + ink + "; --accent-over: " + color + ";"
}
