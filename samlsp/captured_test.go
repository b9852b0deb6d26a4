package samlsp_test

import (
	"bytes"
	"compress/flate"
	"encoding/base64"
	"encoding/json"
	"net/url"
	"strings"
	"testing"

	"github.com/jitgate/jitgate/samlsp"
)

// What people capture, and that what comes of it is what was posted.
func TestCaptured(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	m := r.good()
	xml, err := m.XML()
	if err != nil {
		t.Fatal(err)
	}
	m.MutateBytes = func(b []byte) []byte { // padding, and a + and a / in it
		for len(b)%3 != 1 {
			b = append(b, ' ')
		}
		return append(b, "<!--\x3e\x3e\x3f\x3f\x3e-->"...)
	}
	plus := mustBase64(t, m)
	if !strings.HasSuffix(plus, "=") || !strings.Contains(plus, "+") || !strings.Contains(plus, "/") {
		t.Fatalf("a message without the characters in question: %s", plus)
	}
	text := base64.StdEncoding.EncodeToString(xml)
	broken := lines(text, 76, "\r\n")
	form := url.Values{"SAMLResponse": {plus}, "RelayState": {"x=y"}}.Encode()
	quoted, err := json.Marshal(broken)
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct{ name, in, want string }{
		{"XML", string(xml), text},
		{"XML after a BOM", "\ufeff" + string(xml), text},
		{"XML in white space", "\r\n \t" + string(xml) + "\n", text},
		{"base64", text, text},
		{"base64 in white space", "\n " + text + " \r\n", text},
		{"base64 in lines, which is strict", broken, broken},
		{"base64 in crooked lines", text[:10] + "\n" + text[10:50] + "\n\t" + text[50:], text},
		{"base64 without its padding", strings.TrimRight(plus, "="), plus},
		{"base64 with escapes", url.QueryEscape(plus), plus},
		{"a form", form, plus},
		{"a form in the other order", "RelayState=x&SAMLResponse=" + url.QueryEscape(plus), plus},
		{"a form in lines", lines(form, 60, "\n"), plus},
		{"a form that nobody escaped", "SAMLResponse=" + plus + "&RelayState=x", plus},
		{"a form with lines in its value", "SAMLResponse=" + url.QueryEscape(broken), broken},
		{"a command line", "curl 'https://sso.acme.example/acs' --data-raw 'SAMLResponse=" + url.QueryEscape(plus) + "&RelayState=x' --compressed", plus},
		{"a command line where it comes last", `curl --data "RelayState=x" --data "SAMLResponse=` + url.QueryEscape(plus) + `" -v`, plus},
		{"a JSON string of XML", `"` + strings.ReplaceAll(string(xml), `"`, `\"`) + `"`, text},
		{"a JSON string with a BOM in it", `"\ufeff` + strings.ReplaceAll(string(xml), `"`, `\"`) + `"`, text},
		{"a JSON string of base64", string(quoted), broken},
		{"a JSON string of a form", `"` + form + `"` + "\n", plus},
		{"XML that nobody can read, for Explain to say why", "<!DOCTYPE x><<", base64.StdEncoding.EncodeToString([]byte("<!DOCTYPE x><<"))},
		{"a form whose value is not strict, which is the sender's fault", "SAMLResponse=" + url.QueryEscape(text[:9]+"\t"+text[9:]), text[:9] + "\t" + text[9:]},
	}
	for _, test := range tests {
		got, err := samlsp.Captured([]byte(test.in))
		if err != nil || got != test.want {
			t.Errorf("%s: %q, %v; want %q", test.name, got, err, test.want)
		}
	}
	// The signature of what was captured is whole.
	captured, err := samlsp.Captured([]byte("\ufeff" + string(xml) + "\n"))
	if err != nil {
		t.Fatal(err)
	}
	if x, err := r.sp.Explain(captured, samlsp.ExplainOptions{}); err != nil || !x.Trusted {
		t.Errorf("Explain: %v, %v; want it trusted", x.Refusal, err)
	}
}

// What is something else is called by its name.
func TestCapturedRefuses(t *testing.T) {
	t.Parallel()
	deflated := func(s string) string {
		var b bytes.Buffer
		w, err := flate.NewWriter(&b, flate.BestCompression)
		if err != nil {
			t.Fatal(err)
		}
		w.Write([]byte(s))
		w.Close()
		return base64.StdEncoding.EncodeToString(b.Bytes())
	}
	const request = `<samlp:AuthnRequest xmlns:samlp="urn:oasis:names:tc:SAML:2.0:protocol" ID="x"/>`
	encoded := base64.StdEncoding.EncodeToString([]byte(request))
	for _, test := range []struct{ name, in, want string }{
		{"nothing", "", "empty"},
		{"white space", "\ufeff \r\n", "empty"},
		{"an empty JSON string", `""`, "empty"},
		{"an empty form", "SAMLResponse=&RelayState=x", "empty"},
		{"UTF-16", "\xff\xfe<\x00r\x00", "UTF-8"},
		{"half of UTF-16", "<\x00r\x00", "UTF-8"},
		{"an open quotation mark", `"abc`, "no JSON string"},
		{"a request", request, `"AuthnRequest"`},
		{"a request in base64", encoded, `"AuthnRequest"`},
		{"a request in a form", "SAMLResponse=" + url.QueryEscape(encoded), `"AuthnRequest"`},
		{"a logout", `<x:LogoutRequest xmlns:x="y"/>`, `"LogoutRequest"`},
		{"a request that goes to the IdP", "https://idp.example/sso?SAMLRequest=abc", "SAMLRequest"},
		{"an artifact", "SAMLart=AAQ", "SAMLart"},
		{"the Redirect binding", deflated(request), `the Redirect binding, of "AuthnRequest"`},
		{"the Redirect binding, in a URL", "https://sso.example/acs?SAMLResponse=" + url.QueryEscape(deflated("<Response/>")), "the Redirect binding"},
		{"a page", "<!DOCTYPE html>\n<meta charset=utf-8><form>", "an HTML page"},
		{"a page in capitals", "<HTML><BODY>", "an HTML page"},
		{"an assertion", `<saml:Assertion xmlns:saml="x"/>`, "Assertion alone"},
		{"metadata", `<md:EntityDescriptor xmlns:md="x"/>`, "metadata"},
		{"SOAP", `<e:Envelope xmlns:e="x"/>`, "SOAP"},
		{"text", "Sign-in did not complete.", "neither XML nor base64"},
		{"base64 of text", base64.StdEncoding.EncodeToString([]byte("just some text")), "not XML"},
		{"base64 twice", base64.StdEncoding.EncodeToString([]byte(encoded)), "not XML"},
		{"an escape that was cut off", "SAMLResponse=PHg%2", "cut off"},
		{"an escape that was cut off, alone", "PHg%2", "cut off"},
		{"a form of no base64", "SAMLResponse=%3C", "not base64"},
	} {
		got, err := samlsp.Captured([]byte(test.in))
		if err == nil || got != "" || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %q, %v; want an error with %q", test.name, got, err, test.want)
		}
	}
}

// Whatever it is given, it gives a response or an error.
func FuzzCaptured(f *testing.F) {
	for _, seed := range []string{"<Response/>", "PFJlc3BvbnNlLz4=", "SAMLResponse=PFJlc3BvbnNlLz4%3D&RelayState=x", `"PFJlc3BvbnNlLz4="`, "%3C", "<html>"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if got, err := samlsp.Captured(data); (got == "") == (err == nil) {
			t.Errorf("Captured = %q, %v; want one of the two", got, err)
		}
	})
}
