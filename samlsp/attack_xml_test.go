package samlsp_test

import (
	"context"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/beevik/etree"

	"github.com/jitgate/jitgate/samlsp/samltest"
)

// B: what XML allows and nobody needs.
func TestAttacksOnXML(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	inStatus := func(s string) func(*testing.T, *samltest.Message) {
		return raw(func(m string) string { return strings.Replace(m, "<samlp:Status>", "<samlp:Status>"+s, 1) })
	}
	prefix := func(s string) func(*testing.T, *samltest.Message) {
		return raw(func(m string) string { return s + m })
	}
	suffix := func(s string) func(*testing.T, *samltest.Message) {
		return raw(func(m string) string { return m + s })
	}
	nameID := func(s string) func(*testing.T, *samltest.Message) {
		return raw(func(m string) string { return strings.Replace(m, ">ann<", ">"+s+"<", 1) })
	}
	attributes := func(n int, format string) func(*testing.T, *samltest.Message) {
		return raw(func(m string) string {
			var b strings.Builder
			for i := range n {
				fmt.Fprintf(&b, format, i)
			}
			return strings.Replace(m, "<samlp:Status>", "<samlp:Status"+b.String()+">", 1)
		})
	}
	nested := func(depth int) func(*testing.T, *samltest.Message) {
		return raw(func(m string) string {
			// StatusCode, on the third level, is the one element that may be in itself.
			open := strings.Repeat(`<samlp:StatusCode Value="x">`, depth-2)
			end := strings.Repeat(`</samlp:StatusCode>`, depth-2)
			return strings.Replace(m, "<samlp:Status>", "<samlp:Status>"+open+end, 1)
		})
	}
	// elements makes a message of that many elements, most of them groups.
	elements := func(n int) func(*samltest.Message) {
		return func(m *samltest.Message) {
			m.SetAttribute("groups")
			text, err := m.XML()
			if err != nil {
				t.Fatal(err)
			}
			m.SetAttribute("groups", slices.Repeat([]string{"g"}, n-len(reStart.FindAll(text, -1)))...)
		}
	}
	// utf16 writes a message, which is ASCII, in UTF-16.
	utf16 := func(order binary.AppendByteOrder, mark bool) func(*testing.T, *samltest.Message) {
		return raw(func(m string) string {
			var b []byte
			if mark {
				b = order.AppendUint16(b, 0xfeff)
			}
			for _, c := range []byte(`<?xml version="1.0" encoding="UTF-16"?>` + m) {
				b = order.AppendUint16(b, uint16(c))
			}
			return string(b)
		})
	}
	runAttacks(t, r, []attack{
		{"B01", "a comment in NameID, which canonicalisation takes out", nil, nameID("ann<!-- -->@evil"), "xml"},
		{"B02", "an instruction in NameID", nil, nameID("ann<?p not-?>"), "xml"},
		{"B04", "DOCTYPE", nil, prefix("<!DOCTYPE r>"), "xml"},
		{"B05", "external entity", nil, prefix(`<!DOCTYPE r [<!ENTITY x SYSTEM "file:///etc/passwd">]>`), "xml"},
		{"B05", "an entity that nobody declared", nil, nameID("&x;"), "xml"},
		{"B06", "billion laughs", nil, prefix(`<!DOCTYPE r [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]>`), "xml"},
		{"B07", "a second root", nil, suffix("<x/>"), "xml"},
		{"B08", "text after the root", nil, suffix("x"), "xml"},
		{"B08", "text before the root", nil, prefix("x"), "xml"},
		{"B08", "an XML declaration after white space", nil, prefix(` <?xml version="1.0"?>`), "xml"},
		{"B09", "UTF-7", nil, prefix(`<?xml version="1.0" encoding="UTF-7"?>`), "xml"},
		{"B09", "UTF-7 in its bytes", nil, raw(func(m string) string {
			return `<?xml version="1.0" encoding="UTF-7"?>` + strings.NewReplacer("<", "+ADw-", ">", "+AD4-").Replace(m)
		}), "xml"},
		{"B09", "NameID in UTF-7", nil, raw(func(m string) string {
			return `<?xml version="1.0" encoding="UTF-7"?>` + strings.Replace(m, ">ann<", ">+AGEAZABtAGkAbg-<", 1)
		}), "xml"},
		{"B09", "UTF-16 by name", nil, prefix(`<?xml version="1.0" encoding="UTF-16"?>`), "xml"},
		{"B09", "UTF-16 in its bytes, little endian, with a mark", nil, utf16(binary.LittleEndian, true), "xml"},
		{"B09", "UTF-16 in its bytes, big endian, with a mark", nil, utf16(binary.BigEndian, true), "xml"},
		{"B09", "UTF-16 in its bytes, little endian, without a mark", nil, utf16(binary.LittleEndian, false), "xml"},
		{"B09", "UTF-16 in its bytes, big endian, without a mark", nil, utf16(binary.BigEndian, false), "xml"},
		{"B09", "ISO-8859-1, of which all of the message is", nil, prefix(`<?xml version="1.0" encoding="ISO-8859-1"?>`), "xml"},
		{"B09", "two encodings", nil, prefix(`<?xml version="1.0" encoding="UTF-8" encoding="UTF-7"?>`), "xml"},
		{"B09", "XML 1.1", nil, prefix(`<?xml version="1.1"?>`), "xml"},
		{"B10", "a byte that is not UTF-8", nil, nameID("ann\xff"), "xml"},
		{"B10", "a byte that is not UTF-8 in an attribute", nil, inStatus("<samlp:x y=\"\xff\"/>"), "xml"},
		{"B10", "a slash in two bytes", nil, nameID("ann\xc0\xaf"), "xml"},
		{"B10", "a surrogate in three bytes", nil, nameID("ann\xed\xa0\x80"), "xml"},
		{"B11", "NUL by reference", nil, nameID("ann&#0;"), "xml"},
		{"B12", "an element in NameID", nil, nameID("ann<saml:NameID>x</saml:NameID>"), "structure"},
		{"B12", "text beside the elements of Subject", nil, raw(func(m string) string {
			return strings.Replace(m, "<saml:NameID", "admin<saml:NameID", 1)
		}), "structure"},
		{"B12", "text in an element that is empty", nil, unsigned(func(root *etree.Element) {
			root.FindElement(".//SubjectConfirmationData").SetText("admin")
		}), "structure"},
		{"B12", "text beside the NameID of an AttributeValue", nil, unsigned(func(root *etree.Element) {
			root.FindElement(".//AttributeValue").CreateElement("saml:NameID").SetText("admin")
		}), "structure"},
		{"B13", "25 levels", nil, nested(25), "limits"},
		{"B13", "1,000 levels", nil, nested(1000), "limits"},
		{"B14", "901 elements", elements(900), set(elements(901)), "limits"},
		{"B14", "5,000 elements", elements(900), set(elements(5000)), "limits"},
		{"B15", "2 MB", nil, suffix(strings.Repeat(" ", 2<<20)), "too_large"},
		{"B16", "25 attributes", nil, attributes(25, ` a%d="x"`), "limits"},
		{"B16", "10,000 attributes", nil, attributes(10000, ` a%d="x"`), "limits"},
		{"B17", "10,000 prefixes", nil, attributes(10000, ` xmlns:p%d="urn:x"`), "limits"},
		{"B21", "an end tag that fits none", nil, inStatus("</samlp:Response>"), "xml"},
		{"B22", "a prefix that is not declared", nil, inStatus("<nobody:x/>"), "namespace"},
		{"B23", "an element without a namespace", nil, inStatus("<x/>"), "structure"},
		{"B24", "a document that does not end", nil, raw(func(m string) string {
			return strings.TrimSuffix(m, "</samlp:Response>")
		}), "xml"},

		{"B03", "CDATA in NameID is text", nil, nameID("<![CDATA[ann]]>"), accept},
		{"B25", "an XML declaration", nil, prefix("<?xml version=\"1.0\" encoding='utf-8' standalone=\"yes\" ?>\n"), accept},
		{"B26", "white space after the root", nil, suffix("\r\n"), accept},
	})
}

// The whole value has to come out, where a parser that splits text at CDATA, or
// one that drops what is after it, would give another name.
func TestCDATAIsWhole(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	t.Run("B03 CDATA within text", func(t *testing.T) {
		m := r.good()
		m.NameID.Value = "ann@evil.example"
		raw(func(m string) string {
			return strings.Replace(m, ">ann@evil.example<", "><![CDATA[ann@]]>evil<![CDATA[.example]]><", 1)
		})(t, m)
		id, err := r.finish(m)
		if err != nil {
			t.Fatal(err)
		}
		if id.NameID.Value != "ann@evil.example" {
			t.Errorf("NameID = %q, want %q", id.NameID.Value, "ann@evil.example")
		}
	})
}

// reStart is the beginning of an element.
var reStart = regexp.MustCompile(`<[a-z]`)

// As many groups as the limits leave room for, in the element counts that the
// libraries are known to bear. 980 made crewjam panic.
func TestManyGroups(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	for name, base := range map[string]func(*samltest.Message){
		"the Assertion is signed": func(*samltest.Message) {}, "the Response is signed": signResponse, "both are signed": signBoth, "encrypted": gcmInSigned,
	} {
		for _, n := range []int{800, 850} {
			groups := make([]string, n)
			for i := range groups {
				groups[i] = fmt.Sprintf("CN=group %d,OU=Groups,DC=acme,DC=example", i)
			}
			t.Run(fmt.Sprintf("B20 %d groups, %s", n, name), func(t *testing.T) {
				m := r.good()
				base(m)
				m.SetAttribute("groups", groups...)
				id, err := r.finish(m)
				if err != nil {
					t.Fatal(err)
				}
				if got := value(id, "groups"); !slices.Equal(got, groups) {
					t.Errorf("%d groups, want %d", len(got), len(groups))
				}
			})
		}
	}
}

// Base64 is strict, except that its lines may be broken as RFC 2045 breaks them.
func TestBase64(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	m := r.good()
	// A length that leaves padding and bits over, so that both can be wrong.
	m.MutateBytes = func(b []byte) []byte {
		for len(b)%3 != 1 {
			b = append(b, ' ')
		}
		return b
	}
	text, err := m.Base64()
	if err != nil {
		t.Fatal(err)
	}
	swap := func(old, new string) string {
		if !strings.Contains(text, old) {
			t.Fatalf("no %q in the message", old)
		}
		return strings.Replace(text, old, new, 1)
	}
	tests := []struct {
		name, text, check string
	}{
		{"in one piece", text, accept},
		{"lines of 76 with CR LF: RFC 2045, Sun, and what a browser makes of LF", lines(text, 76, "\r\n"), accept},
		{"lines of 76 with LF", lines(text, 76, "\n"), accept},
		{"lines of 64 with LF, as PEM has them", lines(text, 64, "\n"), accept},
		{"a line end after the last line", lines(text, 76, "\r\n") + "\r\n", accept},

		{"white space in front", " " + text, "encoding"},
		{"white space after it", text + " ", "encoding"},
		{"a tab inside", text[:76] + "\t" + text[76:], "encoding"},
		{"a space for a plus: a form that was not escaped", lines(text, 76, " "), "encoding"},
		{"CR alone", lines(text, 76, "\r"), "encoding"},
		{"CR inside a line", text[:10] + "\r" + text[10:], "encoding"},
		{"a break inside a group of four", text[:75] + "\n" + text[75:], "encoding"},
		{"lines of two lengths", text[:76] + "\n" + text[76:140] + "\n" + text[140:], "encoding"},
		{"a longer line first", text[:76] + "\n" + lines(text[76:], 64, "\n"), "encoding"},
		{"a short line in the middle", text[:76] + "\n" + text[76:100] + "\n" + lines(text[100:], 76, "\n"), "encoding"},
		{"a longer line at the end", lines(text[:128*8], 64, "\n") + "\n" + text[128*8:], "encoding"},
		{"a last line of 72 after lines of 64", lines(text[:len(text)-72-(len(text)-72)%64], 64, "\n") + "\n" + text[len(text)-72-(len(text)-72)%64:], "encoding"},
		{"lines of 75", lines(text, 75, "\n"), "encoding"},
		{"lines longer than 76", lines(text, 80, "\r\n"), "encoding"},
		{"an empty line", text[:76] + "\n\n" + text[76:], "encoding"},
		{"two line ends after the last line", lines(text, 76, "\n") + "\n\n", "encoding"},
		{"no padding", strings.TrimRight(text, "="), "encoding"},
		{"too much padding", text + "=", "encoding"},
		{"padding in the middle", text[:76] + "==" + text[76:], "encoding"},
		{"bits left over", swap("IA==", "IB=="), "encoding"},
		{"the alphabet for URLs", text[:40] + "-_" + text[42:], "encoding"},
		{"nothing", "", "encoding"},
		{"a line end alone", "\n", "encoding"},
		{"encoded twice", base64.StdEncoding.EncodeToString([]byte(text)), "xml"},
	}
	for _, test := range tests {
		t.Run("B18 "+test.name, func(t *testing.T) {
			if _, err := r.post(text); err != nil {
				t.Fatalf("the honest twin: %v", err)
			}
			id, err := r.post(test.text)
			if test.check != accept {
				wantRefusal(t, id, err, test.check)
			} else if err != nil {
				t.Error(err)
			}
		})
	}
}

// Half a million nested elements in SignedInfo ended the process, with the
// versions of goxmldsig and etree that crewjam asks for.
func TestProcessSurvivesNesting(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	for _, test := range []struct {
		what, check string
		deep        int
	}{
		{"500,000 levels", "too_large", 500_000},
		{"as many levels as the size allows", "structure", 50_000},
	} {
		t.Run("B13 "+test.what, func(t *testing.T) {
			m := r.good()
			m.MutateBytes = func(b []byte) []byte {
				in := strings.Repeat("<x>", test.deep) + strings.Repeat("</x>", test.deep)
				return []byte(strings.Replace(string(b), "<ds:SignedInfo>", "<ds:SignedInfo>"+in, 1))
			}
			id, err := r.finish(m)
			wantRefusal(t, id, err, test.check)
			if _, err := r.finish(r.good()); err != nil {
				t.Errorf("the honest twin, after that: %v", err)
			}
		})
	}
}

// Those who post the most expensive messages do not keep others out.
func TestLoginAmongWorstCases(t *testing.T) {
	r := newRig(t, nil)
	t.Run("B19 a login among 30 of the worst messages at once", func(t *testing.T) {
		worst := r.good() // as big as is let through, with a signature that has to be looked at
		worst.Signature.Key, _ = idpKeys[1]()
		worst.SetAttribute("groups", slices.Repeat([]string{strings.Repeat("g", 300)}, 840)...)
		text := mustBase64(t, worst)
		id, err := r.sp.Finish(context.Background(), text, requestID)
		wantRefusal(t, id, err, "signature")
		for range 5 {
			var attackers sync.WaitGroup
			for range 30 {
				attackers.Go(func() { r.sp.Finish(context.Background(), text, requestID) })
			}
			if _, err := r.finish(r.good()); err != nil {
				t.Error(err)
			}
			attackers.Wait()
		}
	})
}

// Finish gives up waiting for its turn when its context ends.
func TestFinishHonoursContext(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	text, err := r.good().Base64()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	id, err := r.sp.Finish(ctx, text, requestID)
	if err == nil || id != nil {
		t.Errorf("Finish after the end of its context = %v, %v; want an error", id, err)
	}
}
