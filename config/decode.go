package config

import (
	"bytes"
	"errors"
	"maps"
	"net/netip"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
)

// The parsed document is walked here instead of being handed to the YAML
// library's decoder, which stops at the first thing it does not like and
// forgets where the others were.

// plainKey matches the keys that need no quotes in a problem.
var plainKey = regexp.MustCompile(`^[A-Za-z0-9_./:-]+$`)

// decode reads data into c and remembers where each key is. It reports whether
// there was a document with keys in it.
func (r *report) decode(data []byte, c *Config) bool {
	root := r.document(data)
	if root == nil {
		return false
	}
	if _, ok := root.(ast.MapNode); !ok {
		r.addAt(placeOf(root), "", "is "+kindOf(root)+"; write keys and values, like base_url: https://sso.example.com")
		return false
	}
	r.value("", root, reflect.ValueOf(c).Elem())
	return true
}

// document returns the one document in data, or nil after recording why not.
func (r *report) document(data []byte) ast.Node {
	data = bytes.TrimPrefix(data, []byte("\ufeff"))
	if len(data) > maxSize {
		r.addAt(place{1, 1}, "", "is larger than 1 MiB; a configuration is not")
		return nil
	}
	if !utf8.Valid(data) {
		r.addAt(invalidUTF8(data), "", "is not valid UTF-8; save the file as UTF-8")
		return nil
	}
	file, err := parser.ParseBytes(data, 0, parser.AllowDuplicateMapKey())
	if err != nil {
		at, text := place{1, 1}, err.Error()
		if e, ok := errors.AsType[yaml.Error](err); ok && e.GetToken() != nil {
			at, text = place{e.GetToken().Position.Line, e.GetToken().Position.Column}, e.GetMessage()
		}
		r.addAt(at, "", "is not YAML: "+text)
		return nil
	}
	var roots []ast.Node
	for _, doc := range file.Docs {
		if doc.Body != nil && doc.Body.Type() != ast.DirectiveType {
			roots = append(roots, doc.Body)
		}
	}
	switch len(roots) {
	case 0:
		r.addAt(place{1, 1}, "", "is empty; write at least base_url, listen, redis, session, saml, directories and identity_providers")
		return nil
	case 1:
		return roots[0]
	default:
		r.addAt(placeOf(roots[1]), "", "is a second document; write one document in a file")
		return nil
	}
}

// invalidUTF8 returns where the first byte is that is not UTF-8.
func invalidUTF8(data []byte) place {
	at := place{1, 1}
	for len(data) > 0 {
		c, size := utf8.DecodeRune(data)
		switch {
		case c == utf8.RuneError && size == 1:
			return at
		case c == '\n':
			at = place{at.line + 1, 1}
		default:
			at.col++
		}
		data = data[size:]
	}
	return at
}

// value decodes n, the value of key, into v.
func (r *report) value(key string, n ast.Node, v reflect.Value) {
	switch n.(type) {
	case *ast.AnchorNode, *ast.AliasNode, *ast.TagNode:
		r.fail(key, "anchors, aliases and tags are not understood; write the value itself")
		return
	}
	switch v.Interface().(type) {
	case Secret, netip.Prefix, time.Duration, Size:
		r.scalar(key, n, v)
		return
	}
	switch v.Kind() {
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		r.value(key, n, v.Elem())
	case reflect.Struct:
		r.structure(key, n, v)
	case reflect.Map:
		r.table(key, n, v)
	case reflect.Slice:
		r.list(key, n, v)
	default:
		r.scalar(key, n, v)
	}
}

// list decodes n into the slice v. Nothing after the colon is an empty list.
func (r *report) list(key string, n ast.Node, v reflect.Value) {
	if n.Type() == ast.NullType {
		return
	}
	seq, ok := n.(*ast.SequenceNode)
	if !ok {
		r.fail(key, "is %s; write a list, like [one, two]", kindOf(n))
		return
	}
	v.Set(reflect.MakeSlice(v.Type(), len(seq.Values), len(seq.Values)))
	for i, item := range seq.Values {
		path := key + "[" + strconv.Itoa(i) + "]"
		r.places[path] = placeOf(item)
		r.value(path, item, v.Index(i))
	}
}

// structure decodes n into the struct v, whose fields name their key in a yaml
// tag, and in a oneof tag the words that they can be. A map tagged ",inline" takes
// the keys that no field has.
func (r *report) structure(key string, n ast.Node, v reflect.Value) {
	fields := make(map[string]int)
	var rest reflect.Value
	for i := range v.NumField() {
		switch tag := v.Type().Field(i).Tag.Get("yaml"); tag {
		case "", "-":
		case ",inline":
			rest = v.Field(i)
			rest.Set(reflect.MakeMap(rest.Type()))
		default:
			fields[tag] = i
		}
	}
	r.entries(key, n, func(name, path string, value ast.Node) {
		i, ok := fields[name]
		switch {
		case ok:
			r.value(path, value, v.Field(i))
			r.oneOf(path, v.Field(i), strings.Fields(v.Type().Field(i).Tag.Get("oneof")))
		case rest.IsValid():
			r.entry(name, path, value, rest)
		default:
			r.fail(path, "%s", unknownKey(name, fields))
		}
	})
}

// unknownKey is the text for a key that is none of fields.
func unknownKey(name string, fields map[string]int) string {
	keys := slices.Collect(maps.Keys(fields))
	if near := nearest(name, keys); near != "" {
		return "is not a key here; did you mean " + near + "?"
	}
	slices.Sort(keys)
	return "is not a key here; the keys are " + strings.Join(keys, ", ")
}

// table decodes n into the map[string]string v.
func (r *report) table(key string, n ast.Node, v reflect.Value) {
	v.Set(reflect.MakeMap(v.Type()))
	r.entries(key, n, func(name, path string, value ast.Node) {
		r.entry(name, path, value, v)
	})
}

// entry decodes value into m[name].
func (r *report) entry(name, path string, value ast.Node, m reflect.Value) {
	v := reflect.New(m.Type().Elem()).Elem()
	r.value(path, value, v)
	m.SetMapIndex(reflect.ValueOf(name), v)
}

// entries calls f with the name, the path and the value of each entry of the
// mapping n. Nothing after the colon is an empty mapping.
func (r *report) entries(key string, n ast.Node, f func(name, path string, value ast.Node)) {
	if n.Type() == ast.NullType {
		return
	}
	m, ok := n.(ast.MapNode)
	if !ok {
		r.fail(key, "is %s; write a mapping, like {key: value}", kindOf(n))
		return
	}
	for it := m.MapRange(); it.Next(); {
		at := placeOf(it.Key())
		name, ok := textOf(it.Key())
		if !ok {
			r.addAt(at, key, "has a key that is not a plain word; anchors, merge keys (<<) and ? are not understood")
			continue
		}
		path := join(key, name)
		if first, ok := r.places[path]; ok {
			r.addAt(at, path, "is there already, in line "+strconv.Itoa(first.line)+"; remove one")
			continue
		}
		r.places[path] = at
		f(name, path, it.Value())
	}
}

// join returns the path of the key called name in the mapping at path.
func join(path, name string) string {
	if !plainKey.MatchString(name) {
		name = strconv.Quote(name)
	}
	if path == "" {
		return name
	}
	return path + "." + name
}

// scalar decodes the single value n into v. What is meant for a [Secret] is
// never quoted. From here on the place of key is that of the value: a problem
// with a word points at the word, one with a section at its key.
func (r *report) scalar(key string, n ast.Node, v reflect.Value) {
	s, ok := textOf(n)
	if !ok {
		r.fail(key, "is %s; write a single value", kindOf(n))
		return
	}
	r.places[key] = placeOf(n)
	switch v.Interface().(type) {
	case Secret:
		r.secret(key, s, v)
		return
	case netip.Prefix:
		r.prefix(key, s, v)
		return
	case time.Duration:
		d, err := duration(s)
		if err != nil {
			r.fail(key, "%q is not a duration; write a number and a unit, like 90s, 15m, 1h30m or 90d", s)
			return
		}
		v.SetInt(int64(d))
		return
	case Size:
		size, ok := parseSize(s)
		if !ok {
			r.fail(key, "%q is not a size; write a number of bytes, or one with a unit, like 32KiB, 10MiB or 1GiB", s)
			return
		}
		v.SetInt(int64(size))
		return
	}
	switch v.Kind() {
	case reflect.Bool:
		b, ok := n.(*ast.BoolNode)
		if !ok {
			r.fail(key, "%q is neither true nor false; write one of the two, without quotes", s)
			return
		}
		v.SetBool(b.Value)
	case reflect.Int:
		i, err := strconv.Atoi(s)
		if err != nil {
			r.fail(key, "%q is not a whole number; write one like 0", s)
			return
		}
		v.SetInt(int64(i))
	case reflect.Float64:
		f, err := strconv.ParseFloat(s, 64)
		if err != nil {
			r.fail(key, "%q is not a number; write one like 0.5", s)
			return
		}
		v.SetFloat(f)
	default:
		v.SetString(s)
	}
}

// duration is [time.ParseDuration], which besides knows whole days of 24 hours,
// like 90d.
func duration(s string) (time.Duration, error) {
	days, ok := strings.CutSuffix(s, "d")
	if n, err := strconv.ParseUint(days, 10, 16); ok && err == nil {
		return time.Duration(n) * 24 * time.Hour, nil
	}
	return time.ParseDuration(s)
}

// prefix decodes s, a CIDR or a single address, into v.
func (r *report) prefix(key, s string, v reflect.Value) {
	p, err := netip.ParsePrefix(s)
	if addr, addrErr := netip.ParseAddr(s); err != nil && addrErr == nil && addr.Zone() == "" {
		p, err = netip.PrefixFrom(addr, addr.BitLen()), nil
	}
	if err != nil || p.Addr().Is4In6() {
		r.fail(key, "%q is not a network; write a CIDR like 10.0.0.0/8, or an address", s)
		return
	}
	if p != p.Masked() {
		r.fail(key, "%q has bits set past the length of its prefix; write %q", s, p.Masked())
		return
	}
	v.Set(reflect.ValueOf(p))
}

// textOf returns the text of a single value as it is in the file, so that 007
// and 1.10 stay what they are. It reports whether n is one: nothing after the
// colon is none.
func textOf(n ast.Node) (string, bool) {
	switch n := n.(type) {
	case *ast.StringNode:
		return n.Value, true
	case *ast.LiteralNode:
		return n.Value.Value, true
	case *ast.BoolNode, *ast.IntegerNode, *ast.FloatNode, *ast.InfinityNode, *ast.NanNode:
		return n.GetToken().Value, true
	}
	return "", false
}

// placeOf returns where n begins: a block mapping at its first key.
func placeOf(n ast.Node) place {
	if m, ok := n.(*ast.MappingNode); ok && !m.IsFlowStyle && len(m.Values) > 0 {
		n = m.Values[0].Key
	}
	if m, ok := n.(*ast.MappingValueNode); ok {
		n = m.Key
	}
	p := n.GetToken().Position
	return place{p.Line, p.Column}
}

// kindOf says what n is, without showing it.
func kindOf(n ast.Node) string {
	switch n.(type) {
	case ast.MapNode:
		return "a mapping"
	case *ast.SequenceNode:
		return "a list"
	case *ast.NullNode:
		return "empty"
	case *ast.AnchorNode, *ast.AliasNode, *ast.TagNode:
		return "an anchor, alias or tag"
	}
	return "a single value"
}
