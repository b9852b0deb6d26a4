package config

import (
	"fmt"
	"net/netip"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// plainText matches what YAML takes for text without quotes, whatever it stands for.
var plainText = regexp.MustCompile(`^[A-Za-z/][A-Za-z0-9 ./_@-]*$`)

// notByDefault are the keys whose false or 0s is not what goes without saying.
var notByDefault = map[string]bool{"jit": true, "single_logout": true, "drain": true}

// Text returns the configuration as YAML, with the defaults filled in and without what
// goes without saying. Secrets are not shown.
func (c *Config) Text() string {
	var b strings.Builder
	writeStruct(&b, reflect.ValueOf(c).Elem(), "")
	return b.String()
}

// isEmpty reports whether there is nothing to show of v. Of a number there is.
func isEmpty(v reflect.Value) bool {
	if _, ok := v.Interface().(time.Duration); ok {
		return v.IsZero()
	}
	switch v.Kind() {
	case reflect.String, reflect.Slice, reflect.Map:
		return v.Len() == 0
	case reflect.Bool:
		return !v.Bool()
	case reflect.Pointer:
		return v.IsNil()
	case reflect.Struct:
		if s, ok := v.Interface().(Secret); ok {
			return s.value == nil
		}
		if _, ok := v.Interface().(netip.Prefix); ok {
			return false
		}
		for i := range v.NumField() {
			if f := v.Type().Field(i); f.Tag.Get("yaml") != "" && f.Tag.Get("yaml") != "-" && !isEmpty(v.Field(i)) {
				return false
			}
		}
		return true
	}
	return false
}

// writeStruct writes the fields of v that are not empty.
func writeStruct(b *strings.Builder, v reflect.Value, indent string) {
	for i := range v.NumField() {
		switch tag := v.Type().Field(i).Tag.Get("yaml"); {
		case tag == "", tag == "-", isEmpty(v.Field(i)) && !notByDefault[tag]:
		case tag == ",inline":
			writeMap(b, v.Field(i), indent)
		default:
			b.WriteString(indent + tag + ":")
			writeValue(b, v.Field(i), indent)
		}
	}
}

func writeMap(b *strings.Builder, v reflect.Value, indent string) {
	keys := make([]string, 0, v.Len())
	for _, key := range v.MapKeys() {
		keys = append(keys, key.String())
	}
	slices.Sort(keys)
	for _, key := range keys {
		b.WriteString(indent + quoteText(key) + ":")
		writeValue(b, v.MapIndex(reflect.ValueOf(key)), indent)
	}
}

// writeValue writes v behind a colon: on the same line, or indented below.
func writeValue(b *strings.Builder, v reflect.Value, indent string) {
	if v.Kind() == reflect.Pointer {
		v = v.Elem()
	}
	if text, ok := singleText(v); ok {
		b.WriteString(" " + text + "\n")
		return
	}
	switch v.Kind() {
	case reflect.Slice:
		writeList(b, v, indent+"  ")
	case reflect.Map:
		b.WriteString("\n")
		writeMap(b, v, indent+"  ")
	default:
		b.WriteString("\n")
		writeStruct(b, v, indent+"  ")
	}
}

// writeList writes a list: of single values on one line.
func writeList(b *strings.Builder, v reflect.Value, indent string) {
	var texts []string
	for i := range v.Len() {
		if text, ok := singleText(v.Index(i)); ok {
			texts = append(texts, text)
		}
	}
	if len(texts) == v.Len() {
		b.WriteString(" [" + strings.Join(texts, ", ") + "]\n")
		return
	}
	b.WriteString("\n")
	for i := range v.Len() {
		var item strings.Builder
		writeStruct(&item, v.Index(i), indent+"  ")
		b.WriteString(indent + "- " + strings.TrimPrefix(item.String(), indent+"  "))
	}
}

// singleText returns a single value as it is written in the file.
func singleText(v reflect.Value) (string, bool) {
	switch x := v.Interface().(type) {
	case Secret:
		return quoteText(x.String()), true
	case netip.Prefix:
		return quoteText(x.String()), true
	case Size:
		return x.String(), true
	case time.Duration:
		return durationText(x), true
	}
	switch v.Kind() {
	case reflect.String:
		return quoteText(v.String()), true
	case reflect.Bool, reflect.Int, reflect.Float64:
		return fmt.Sprint(v.Interface()), true
	}
	return "", false
}

// durationText returns a duration without units of which there are none.
func durationText(d time.Duration) string {
	text := d.String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}

// quoteText returns a text as YAML has it.
func quoteText(s string) string {
	switch strings.ToLower(s) {
	case "true", "false", "yes", "no", "on", "off", "null", "y", "n":
		return strconv.Quote(s)
	}
	if plainText.MatchString(s) && !strings.HasSuffix(s, " ") {
		return s
	}
	return strconv.Quote(s)
}
