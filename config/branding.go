package config

import (
	"encoding/base64"
	"fmt"
	"maps"
	"math"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// maxLogo is the largest logo, in bytes: it is part of each page.
const maxLogo = 64 << 10

// codes are those of the errors that visitors are told of.
var codes = []string{
	"attribute_invalid", "attribute_missing", "bad_request", "busy", "directory_deleted", "domain_mismatch", "domain_missing",
	"forbidden", "idp_refused", "idp_unavailable", "internal_error", "login_expired", "login_required", "not_found",
	"saml_invalid", "saml_replayed", "store_unavailable", "too_large", "too_many_logins", "unknown_domain",
	"upstream_unavailable", "user_blocked", "user_conflict", "user_unknown", "username_missing",
}

// Branding is what the gateway's own pages look like, and what they say besides.
type Branding struct {
	// Name is what heads the pages. Default: the host's name.
	Name string `yaml:"name"`

	// Logo is a file of an image beside the name: SVG, PNG, JPEG or WebP, at most
	// 64KiB. It is shown 32 pixels high, on white and on nearly black. Default: an
	// archway.
	Logo string `yaml:"logo"`

	// Colors are those of buttons and links.
	Colors Colors `yaml:"colors"`

	// Links are those at the foot of each page. Default: none.
	Links []BrandLink `yaml:"links"`

	// Help is a sentence or two on the page of an error, by its code: whom to call,
	// say. Default: none.
	Help map[string]string `yaml:"help"`

	// Templates is a folder with files that take the place of the gateway's own, by
	// their names in proxy/page: style.css, layout.html and the others with .html.
	// Default: none.
	Templates string `yaml:"templates"`

	// LogoURL is the Logo as a data: URL, made by Load.
	LogoURL string `yaml:"-"`
}

// Colors are written as #rrggbb. Text in them has to be readable on the ground of the
// pages, at a contrast of 4.5 (WCAG 2.2, 1.4.3).
type Colors struct {
	// Accent is used on white. Default: #1f5fbf.
	Accent string `yaml:"accent"`

	// AccentDark is used on nearly black, for those who like dark pages. Default: #8ab8ff.
	AccentDark string `yaml:"accent_dark"`
}

// BrandLink is a link at the foot of the pages.
type BrandLink struct {
	// Text is what one reads. Required.
	Text string `yaml:"text"`

	// URL is where it leads: https, http, mailto or tel. Required.
	URL string `yaml:"url"`
}

// The ground of the pages, in light and dark.
const (
	lightGround = "#ffffff"
	darkGround  = "#1b2129"
)

func (r *report) checkBranding(b *Branding) {
	if len(b.Name) > 100 {
		r.add("branding.name", "has %d bytes; write at most 100", len(b.Name))
	}
	r.checkLogo(b)
	r.checkColor("branding.colors.accent", b.Colors.Accent, lightGround)
	r.checkColor("branding.colors.accent_dark", b.Colors.AccentDark, darkGround)
	for i, link := range b.Links {
		key := fmt.Sprintf("branding.links[%d]", i)
		if strings.TrimSpace(link.Text) == "" {
			r.add(key+".text", "is missing; write what one reads")
		}
		u, err := url.Parse(link.URL)
		opaque := err == nil && (u.Scheme == "mailto" || u.Scheme == "tel")
		if err != nil || !slices.Contains([]string{"https", "http", "mailto", "tel"}, u.Scheme) || u.Host == "" && !opaque || u.Opaque == "" && opaque {
			r.add(key+".url", "%q is not where a link can lead; write one like https://help.example.com or mailto:help@example.com", show(link.URL))
		}
	}
	for _, code := range slices.Sorted(maps.Keys(b.Help)) {
		if slices.Contains(codes, code) {
			continue
		}
		key := join("branding.help", code)
		if near := nearest(code, codes); near != "" {
			r.add(key, "is not an error code; did you mean %q?", near)
		} else {
			r.add(key, "is not an error code; README's table of them has all")
		}
	}
	if r.has("branding.templates") {
		r.resolve(&b.Templates)
		if info, err := os.Stat(b.Templates); err != nil {
			r.add("branding.templates", "%q: %s; write the folder that has the templates", b.Templates, reason(err))
		} else if !info.IsDir() {
			r.add("branding.templates", "%q is not a folder; write the one that has the templates", b.Templates)
		}
	}
}

func (r *report) checkLogo(b *Branding) {
	if !r.has("branding.logo") {
		return
	}
	data, ok := r.read("branding.logo", &b.Logo)
	if !ok {
		return
	}
	kind, ok := map[string]string{".svg": "svg+xml", ".png": "png", ".jpg": "jpeg", ".jpeg": "jpeg", ".webp": "webp"}[strings.ToLower(filepath.Ext(b.Logo))]
	switch {
	case !ok:
		r.add("branding.logo", "%q is not an image by its name; write a file that ends in .svg, .png, .jpg or .webp", b.Logo)
	case len(data) > maxLogo:
		r.add("branding.logo", "%q has %d bytes, and is part of each page; write an image of at most 64KiB", b.Logo, len(data))
	default:
		b.LogoURL = "data:image/" + kind + ";base64," + base64.StdEncoding.EncodeToString(data)
	}
}

func (r *report) checkColor(key, color, ground string) {
	if !r.has(key) {
		return
	}
	if _, ok := parseColor(color); !ok {
		r.add(key, "%q is not a color; write one like \"#1f5fbf\", in quotes", color)
		return
	}
	if c := Contrast(color, ground); c < 4.5 {
		r.add(key, "%q is hard to read on %s: the contrast is %.1f; write a color with 4.5 or more", color, ground, math.Floor(c*10)/10)
	}
}

// parseColor returns red, green and blue of a color like #1f5fbf, from 0 to 255.
func parseColor(color string) (rgb [3]float64, ok bool) {
	if len(color) != 7 || color[0] != '#' {
		return rgb, false
	}
	for i := range rgb {
		n, err := strconv.ParseUint(color[1+2*i:3+2*i], 16, 8)
		if err != nil {
			return rgb, false
		}
		rgb[i] = float64(n)
	}
	return rgb, true
}

// Contrast returns that of two colors like #1f5fbf, from 1 to 21 (WCAG 2.2, contrast
// ratio). What is no color counts as black.
func Contrast(a, b string) float64 {
	light, dark := luminance(a), luminance(b)
	if light < dark {
		light, dark = dark, light
	}
	return (light + 0.05) / (dark + 0.05)
}

// luminance is the relative luminance of a color (WCAG 2.2).
func luminance(color string) float64 {
	rgb, _ := parseColor(color)
	for i, c := range rgb {
		if c /= 255; c <= 0.04045 {
			rgb[i] = c / 12.92
		} else {
			rgb[i] = math.Pow((c+0.055)/1.055, 2.4)
		}
	}
	return 0.2126*rgb[0] + 0.7152*rgb[1] + 0.0722*rgb[2]
}
