package samlsp

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"slices"
)

// Limits of metadata, far above what IdPs send.
const (
	maxMetadataDepth      = 64
	maxMetadataElements   = 10_000
	maxMetadataAttributes = 64 // of one element
)

var errNotMetadata = errors.New("not an XML document of SAML metadata")

// scanMetadata returns why data is not to be read at all, before anything is
// built of it: what XML has beyond elements and text, nesting and numbers out of
// all proportion, and an attribute twice, of which readers take either one.
func scanMetadata(data []byte) error {
	decoder := xml.NewDecoder(bytes.NewReader(data))
	var s metadataScan
	for {
		token, err := decoder.RawToken()
		if err == io.EOF {
			break
		}
		if err != nil {
			return errNotMetadata
		}
		if err := s.see(token); err != nil {
			return err
		}
	}
	if s.roots != 1 || s.depth != 0 {
		return errNotMetadata
	}
	return nil
}

// A metadataScan is what was seen of a document so far.
type metadataScan struct{ depth, elements, roots int }

func (s *metadataScan) see(token xml.Token) error {
	switch t := token.(type) {
	case xml.Directive:
		return errors.New("it has a DOCTYPE")
	case xml.EndElement:
		s.depth--
	case xml.CharData:
		if s.depth == 0 && len(bytes.TrimSpace(bytes.TrimPrefix(t, []byte("\ufeff")))) > 0 {
			return errNotMetadata
		}
	case xml.StartElement:
		if s.depth == 0 {
			s.roots++
		}
		s.depth++
		s.elements++
		if s.depth > maxMetadataDepth || s.elements > maxMetadataElements || len(t.Attr) > maxMetadataAttributes {
			return fmt.Errorf("more than %d elements, or %d deep, or %d attributes of one", maxMetadataElements, maxMetadataDepth, maxMetadataAttributes)
		}
		for i, a := range t.Attr {
			if slices.ContainsFunc(t.Attr[:i], func(b xml.Attr) bool { return mistakable(a.Name, b.Name) }) {
				return fmt.Errorf("attribute %q is there twice", clip(a.Name.Local))
			}
		}
	}
	return nil
}

// mistakable reports whether encoding/xml takes two attributes for the same one:
// it does not look at the prefix.
func mistakable(a, b xml.Name) bool {
	return a == b || a.Local == b.Local && a.Space != "xmlns" && b.Space != "xmlns"
}
