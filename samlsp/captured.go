package samlsp

import (
	"bytes"
	"compress/flate"
	"encoding/base64"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/url"
	"strings"
	"unicode/utf8"
)

// Captured returns the SAMLResponse, base64 as [SP.Explain] wants it, of what
// people capture of a sign-in: the XML, its base64 on one line or on several, that
// with % escapes, the body of the form, or any of these as a JSON string.
//
// XML is encoded byte for byte, since the least change breaks a signature. The
// value of a form is left as it is, right or wrong; in base64 that was written
// down by itself, white space is taken for an accident of that.
func Captured(data []byte) (samlResponse string, err error) {
	text := string(bytes.TrimPrefix(data, []byte("\ufeff")))
	if !utf8.ValidString(text) || strings.Contains(text, "\x00") {
		return "", errors.New("it is not text in UTF-8; save it as that")
	}
	text = strings.TrimSpace(text)
	if strings.HasPrefix(text, `"`) {
		if err := json.Unmarshal([]byte(text), &text); err != nil {
			return "", errors.New("it begins with a quotation mark, and is no JSON string")
		}
		text = strings.TrimSpace(strings.TrimPrefix(text, "\ufeff"))
	}
	if text == "" {
		return "", errors.New("it is empty; want a SAMLResponse")
	}
	if strings.HasPrefix(text, "<") {
		if err := isResponse([]byte(text)); err != nil {
			return "", err
		}
		return base64.StdEncoding.EncodeToString([]byte(text)), nil
	}
	if value, ok := parameter(text, "SAMLResponse"); ok {
		return fromForm(value)
	}
	for _, other := range []string{"SAMLRequest", "SAMLart"} {
		if _, ok := parameter(text, other); ok {
			return "", fmt.Errorf("it has a %s; want the SAMLResponse that the browser posts to the gateway", other)
		}
	}
	return fromBase64(text)
}

// parameter returns the value of a parameter in the body of a form, in a URL, or
// in the command line of a tool that posts it, with the escapes in it.
func parameter(text, name string) (string, bool) {
	before, after, ok := strings.Cut(text, name+"=")
	if !ok || before != "" && !strings.ContainsAny(before[len(before)-1:], "?&'\" \n") {
		return "", false
	}
	if end := strings.IndexAny(after, "&'\""); end >= 0 {
		after = after[:end]
	}
	return after, true
}

// fromForm returns the value of a form's SAMLResponse without its escapes. What
// white space it has, an editor or a terminal has put there.
func fromForm(value string) (string, error) {
	value, err := url.PathUnescape(strings.Join(strings.Fields(value), "")) // a + is a + here
	if err != nil {
		return "", errors.New("its SAMLResponse has a % that begins no escape; it may have been cut off")
	}
	if value == "" {
		return "", errors.New("its SAMLResponse is empty")
	}
	message, err := lenient(value)
	if err != nil {
		return "", errors.New("its SAMLResponse is not base64")
	}
	if err := isMessage(message); err != nil {
		return "", err
	}
	return value, nil
}

// fromBase64 returns text, as strict base64 where it is not.
func fromBase64(text string) (string, error) {
	if strings.Contains(text, "%") {
		unescaped, err := url.PathUnescape(text)
		if err != nil {
			return "", errors.New("it has a % that begins no escape; it may have been cut off")
		}
		text = strings.TrimSpace(unescaped)
	}
	message, err := lenient(text)
	if err != nil {
		return "", errors.New("it is neither XML nor base64 nor the body of a form with a SAMLResponse")
	}
	if err := isMessage(message); err != nil {
		return "", err
	}
	if _, err := decode(text); err != nil {
		text = base64.StdEncoding.EncodeToString(message)
	}
	return text, nil
}

// lenient decodes base64 with white space anywhere, and without its padding.
func lenient(text string) ([]byte, error) {
	return base64.RawStdEncoding.DecodeString(strings.TrimRight(stripSpace(text), "="))
}

// isMessage returns an error unless the message, which was in base64, looks like
// a Response.
func isMessage(message []byte) error {
	if looksLikeXML(message) {
		return isResponse(message)
	}
	if inflated := inflate(message); looksLikeXML(inflated) {
		return fmt.Errorf("it is a message of the Redirect binding, of %q; want the SAMLResponse that the browser posts to the gateway", clip(rootOf(inflated)))
	}
	return errors.New("it is base64 of something that is not XML")
}

func looksLikeXML(text []byte) bool {
	return bytes.HasPrefix(bytes.TrimSpace(bytes.TrimPrefix(text, []byte("\ufeff"))), []byte("<"))
}

// inflate decompresses the beginning of a message of the Redirect binding.
func inflate(message []byte) []byte {
	text, err := io.ReadAll(io.LimitReader(flate.NewReader(bytes.NewReader(message)), 64<<10))
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
		return nil
	}
	return text
}

// isResponse returns an error that says what it is if the document is something
// else than a Response. Where it does not even say that, it is left to Explain.
func isResponse(document []byte) error {
	switch root := rootOf(document); root {
	case "Response", "":
		return nil
	case "html":
		return errors.New("it is an HTML page; want the value of its field SAMLResponse, if it has one")
	case "Assertion", "EncryptedAssertion":
		return fmt.Errorf("it is an %s alone; want the Response around it, as the browser posts it", root)
	case "EntityDescriptor", "EntitiesDescriptor":
		return errors.New("it is metadata; want a SAMLResponse")
	case "Envelope":
		return errors.New("it is a SOAP message; want the SAMLResponse that the browser posts to the gateway")
	default:
		return fmt.Errorf("it is a message or document of %q; want a SAML Response", clip(root))
	}
}

// rootOf returns the name of the root element, html for any page of HTML, and ""
// where there is none.
func rootOf(document []byte) string {
	d := xml.NewDecoder(bytes.NewReader(document))
	for {
		token, err := d.RawToken()
		if err != nil {
			return ""
		}
		switch t := token.(type) {
		case xml.StartElement:
			if strings.EqualFold(t.Name.Local, "html") {
				return "html"
			}
			return t.Name.Local
		case xml.Directive:
			if strings.HasPrefix(strings.ToLower(string(t)), "doctype html") {
				return "html"
			}
		}
	}
}
