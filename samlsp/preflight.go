package samlsp

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// The preflight reads a message token by token, before any tree is built of it
// and before any cryptography, and refuses whatever is not in the schema of
// grammar.go. It exists because everything behind it looks at the message in its
// own way: etree by prefixes, encoding/xml by namespaces that it matches loosely,
// goxmldsig by copies; signature wrapping lives in the gaps between such views. A
// message that passes has one reading only:
//
//   - every element is where the schema has it, in its namespace, as often as
//     the schema says; text is in leaves;
//   - a prefix has one meaning in the whole document;
//   - an ID is there once, and a signature is over the element it is in, by the
//     algorithms allowed;
//   - there is no DOCTYPE, comment, processing instruction or entity.

const (
	maxDepth = 24
	// maxElements keeps us below the 970 elements from which goxmldsig 1.6.1
	// refuses to detach an element, a refusal that crewjam meets with a nil
	// pointer. It leaves room for about 850 groups.
	maxElements   = 900
	maxAttributes = 24
)

var (
	// reXMLDecl is what may stand between <?xml and ?>.
	reXMLDecl = regexp.MustCompile(`^version=(?:"1\.0"|'1\.0')(?:\s+encoding=(?:"(?i:utf-8)"|'(?i:utf-8)'))?(?:\s+standalone=(?:"(?:yes|no)"|'(?:yes|no)'))?\s*$`)

	// reName is a prefix or a local name. SAML has no others.
	reName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9._-]*$`)

	// reID is an xs:ID, in ASCII.
	reID = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9._-]{0,255}$`)

	// reNamespace is an absolute URI in ASCII. Relative ones have no canonical
	// form, and canonicalizers answer them with an error or with nothing.
	reNamespace = regexp.MustCompile(`^(?:https?://|urn:)[!-~]+$`)

	// reOurs are the attributes that mean something in SAML, XML Signature and
	// XML Encryption. They have no namespace there; encoding/xml would take one
	// that has for ours.
	reOurs = regexp.MustCompile(`^(?:ID|Id|id|AssertionID|Version|IssueInstant|Destination|InResponseTo|` +
		`Format|NameQualifier|SPNameQualifier|Method|Recipient|NotBefore|NotOnOrAfter|` +
		`AuthnInstant|SessionIndex|SessionNotOnOrAfter|Name|NameFormat|FriendlyName|Value|` +
		`Algorithm|URI|PrefixList)$`)
)

// An outline is what the preflight tells of a message that passed it.
type outline struct {
	inResponseTo string // of the root
	answers      bool   // the root has InResponseTo
	hasAssertion bool
	encrypted    bool // the assertion is an EncryptedAssertion
	start, end   int  // the bytes of the Assertion or EncryptedAssertion
	rootSigned   bool
	assertSigned bool
}

// preflight scans a Response.
func preflight(message []byte) (outline, error) { return preflightAs("samlp:Response", message) }

// preflightAs scans a message with that root element.
func preflightAs(root string, message []byte) (outline, error) {
	s := &scanner{grammar: shared(), root: root}
	err := s.scan(message)
	return s.outline, err
}

// preflightSignature scans a ds:Signature that stands in an element with that ID.
func preflightSignature(signature []byte, parentID string) error {
	s := &scanner{grammar: shared(), root: "ds:Signature", rootID: parentID}
	return s.scan(signature)
}

// A scanner is one preflight under way.
type scanner struct {
	grammar  *grammar
	root     string // what the root element has to be
	rootID   string // the ID of what the root stands in, if anything
	stack    []frame
	elements int
	prefixes map[string]string // of the whole document: one meaning each
	scope    map[string]int    // in how many open elements each is declared
	ids      map[string]bool
	done     bool // the root has ended
	outline  outline
}

// A frame is an element that is open.
type frame struct {
	tag      string // as written: end tags must match it
	name     string // as the schema has it
	id       string // its ID, or ""
	defaults string // the default namespace in it
	declares []string
	element  *element
	counts   []int // how often each slot was filled
	start    int
	text     bool // has more than white space
	children int
}

func (s *scanner) scan(message []byte) error {
	s.prefixes = map[string]string{"xml": nsXML}
	s.scope = map[string]int{"xml": 1}
	s.ids = map[string]bool{}
	if !utf8.Valid(message) {
		return refuse(checkXML, "", "UTF-8")
	}
	d := xml.NewDecoder(bytes.NewReader(message))
	for {
		start := int(d.InputOffset())
		token, err := d.RawToken()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return refuse(checkXML, plain(err), "")
		}
		end := int(d.InputOffset())
		if halfCharacter(message[start:end]) {
			return refuse(checkXML, "half a character", "")
		}
		if err := s.token(token, message[start:end], start, end); err != nil {
			return err
		}
	}
	if !s.done {
		return refuse(checkXML, "document without an end", "")
	}
	return nil
}

// halfCharacter reports whether there is a reference to a surrogate in what is
// written, half of a character of UTF-16. No document may have one; encoding/xml
// reads it as U+FFFD.
func halfCharacter(written []byte) bool {
	for {
		_, after, found := bytes.Cut(written, []byte("&#"))
		if !found {
			return false
		}
		number, rest, _ := bytes.Cut(after, []byte(";"))
		digits, base := strings.TrimPrefix(string(number), "x"), 10
		if len(digits) < len(number) {
			base = 16
		}
		if n, err := strconv.ParseUint(digits, base, 32); err == nil && 0xd800 <= n && n <= 0xdfff {
			return true
		}
		written = rest
	}
}

// token takes one token of the document, which is written like that, at these
// offsets.
func (s *scanner) token(token xml.Token, written []byte, start, end int) error {
	switch t := token.(type) {
	case xml.StartElement:
		return s.open(t, start)
	case xml.EndElement:
		return s.close(t, end)
	case xml.CharData:
		return s.text(t, written)
	case xml.ProcInst:
		if t.Target == "xml" && start == 0 && reXMLDecl.Match(t.Inst) {
			return nil
		}
		return refuse(checkXML, "processing instruction "+t.Target, "")
	case xml.Comment:
		return refuse(checkXML, "comment", "")
	}
	return refuse(checkXML, "DOCTYPE", "")
}

func (s *scanner) text(t xml.CharData, written []byte) error {
	if len(s.stack) == 0 {
		t = written // there, white space may not come by reference or as CDATA
	}
	if len(bytes.Trim(t, " \t\r\n")) == 0 {
		return nil
	}
	if len(s.stack) == 0 {
		return refuse(checkXML, "text outside the root element", "")
	}
	top := &s.stack[len(s.stack)-1]
	top.text = true
	if !top.element.text {
		return refuse(checkStructure, "text in "+top.name, "")
	}
	return nil
}

func (s *scanner) open(t xml.StartElement, start int) error {
	s.elements++
	switch {
	case s.done:
		return refuse(checkXML, "second root element", "")
	case len(s.stack) >= maxDepth:
		return refuse(checkLimits, "", fmt.Sprintf("at most %d levels", maxDepth))
	case s.elements > maxElements:
		return refuse(checkLimits, "", fmt.Sprintf("at most %d elements", maxElements))
	case len(t.Attr) > maxAttributes:
		return refuse(checkLimits, fmt.Sprintf("%d attributes", len(t.Attr)), fmt.Sprintf("at most %d of an element", maxAttributes))
	}
	f := frame{tag: tag(t.Name), start: start}
	if len(s.stack) > 0 {
		f.defaults = s.stack[len(s.stack)-1].defaults
	}
	if err := s.declare(&f, t.Attr); err != nil {
		return err
	}
	if err := s.place(&f, t.Name); err != nil {
		return err
	}
	if err := s.attributes(&f, t.Attr); err != nil {
		return err
	}
	s.note(&f, t.Attr)
	s.stack = append(s.stack, f)
	return nil
}

// declare takes in the namespaces that the element declares.
func (s *scanner) declare(f *frame, attrs []xml.Attr) error {
	for _, a := range attrs {
		switch {
		case a.Name.Space == "" && a.Name.Local == "xmlns":
			if !reNamespace.MatchString(a.Value) || reserved(a.Value) {
				return refuse(checkNamespace, a.Value, "an absolute URI")
			}
			f.defaults = a.Value
		case a.Name.Space == "xmlns":
			prefix := a.Name.Local
			if prefix == "xmlns" || !reName.MatchString(prefix) || !reNamespace.MatchString(a.Value) {
				return refuse(checkNamespace, prefix+"="+a.Value, "a prefix of an absolute URI")
			}
			if known, ok := s.prefixes[prefix]; ok && known != a.Value {
				return refuse(checkNamespace, prefix+"="+a.Value, prefix+"="+known)
			}
			if reserved(a.Value) && prefix != "xml" {
				return refuse(checkNamespace, prefix+"="+a.Value, "")
			}
			s.prefixes[prefix] = a.Value
			s.scope[prefix]++
			f.declares = append(f.declares, prefix)
		}
	}
	return nil
}

// reserved reports whether a namespace is one that a document cannot give to a
// prefix of its own, nor to elements without one (XML namespaces, section 3).
func reserved(namespace string) bool {
	return namespace == nsXML || namespace == "http://www.w3.org/2000/xmlns/"
}

// place finds the element's line in the schema and counts it in its parent.
func (s *scanner) place(f *frame, n xml.Name) error {
	namespace := f.defaults
	if n.Space != "" {
		if s.scope[n.Space] == 0 {
			return refuse(checkNamespace, f.tag, "a declared prefix")
		}
		namespace = s.prefixes[n.Space]
	}
	if !reName.MatchString(n.Local) {
		return refuse(checkStructure, f.tag, "")
	}
	prefix, ok := s.grammar.prefixes[namespace]
	if !ok {
		return refuse(checkStructure, f.tag+" of "+namespace, "")
	}
	f.name = prefix + ":" + n.Local
	parent := ""
	if len(s.stack) == 0 {
		if f.name != s.root {
			return refuse(checkStructure, f.name, s.root)
		}
	} else {
		top := &s.stack[len(s.stack)-1]
		parent = top.name
		i := top.element.slot(f.name)
		if i < 0 {
			return refuse(checkStructure, f.name+" in "+parent, "")
		}
		top.children++
		top.counts[i]++
		if top.counts[i] > top.element.slots[i].high {
			return refuse(checkStructure, "one more "+f.name+" in "+parent, fmt.Sprint(top.element.slots[i].high))
		}
	}
	f.element, ok = s.grammar.element(parent, f.name)
	if !ok {
		return refuse(checkStructure, f.name+" in "+parent, "")
	}
	f.counts = make([]int, len(f.element.slots))
	return nil
}

// attributes checks the element's attributes, and that a signature's Algorithm
// and URI are what they have to be.
func (s *scanner) attributes(f *frame, attrs []xml.Attr) error {
	seen := make(map[string]bool, len(attrs))
	for _, a := range attrs {
		name := tag(a.Name)
		if a.Name.Space != "" && a.Name.Space != "xmlns" {
			if s.scope[a.Name.Space] == 0 {
				return refuse(checkNamespace, name, "a declared prefix")
			}
			name = "{" + s.prefixes[a.Name.Space] + "}" + a.Name.Local
			if reOurs.MatchString(a.Name.Local) {
				return refuse(checkStructure, tag(a.Name), a.Name.Local)
			}
		}
		if seen[name] || !reName.MatchString(a.Name.Local) {
			return refuse(checkXML, "attribute "+tag(a.Name), "a name, and once")
		}
		seen[name] = true
		switch name {
		case "ID", "Id", "id", "AssertionID":
			if !reID.MatchString(a.Value) || s.ids[a.Value] {
				return refuse(checkID, a.Value, "an ID of its own")
			}
			s.ids[a.Value] = true
		}
		if name == "ID" {
			f.id = a.Value // the only one that a signature in SAML can name
		}
	}
	return s.signature(f, attrs)
}

// signature checks the attributes by which a signature says what it does.
func (s *scanner) signature(f *frame, attrs []xml.Attr) error {
	if f.name == "ds:Reference" {
		// Signature, SignedInfo, Reference: what is signed is one level above.
		id := s.rootID
		if up := len(s.stack) - 3; up >= 0 {
			id = s.stack[up].id
		}
		if got := attribute(attrs, "URI"); id == "" || got != "#"+id {
			return refuse(checkReference, got, "#"+id)
		}
	}
	if len(s.stack) == 0 {
		return nil
	}
	top := &s.stack[len(s.stack)-1]
	allowed := s.grammar.algorithm(top.name, f.name)
	if f.name == "ds:Transform" {
		allowed = allowed[top.children-1 : top.children] // the schema has let two of them in
	}
	if got := attribute(attrs, "Algorithm"); allowed != nil && !slices.Contains(allowed, got) {
		return refuse(checkAlgorithm, f.name+" "+got, "")
	}
	return nil
}

// note writes down for the outline what the caller will ask.
func (s *scanner) note(f *frame, attrs []xml.Attr) {
	if len(s.stack) == 0 {
		s.outline.inResponseTo = attribute(attrs, "InResponseTo")
		s.outline.answers = slices.ContainsFunc(attrs, func(a xml.Attr) bool { return tag(a.Name) == "InResponseTo" })
		return
	}
	switch s.stack[len(s.stack)-1].name + "/" + f.name {
	case s.root + "/ds:Signature":
		s.outline.rootSigned = true
	case "saml:Assertion/ds:Signature":
		s.outline.assertSigned = true
	}
}

func (s *scanner) close(t xml.EndElement, end int) error {
	if len(s.stack) == 0 || s.stack[len(s.stack)-1].tag != tag(t.Name) {
		return refuse(checkXML, "end tag "+tag(t.Name), "")
	}
	f := s.stack[len(s.stack)-1]
	s.stack = s.stack[:len(s.stack)-1]
	for _, prefix := range f.declares {
		s.scope[prefix]--
	}
	if f.text && f.children > 0 {
		return refuse(checkStructure, "text beside elements in "+f.name, "")
	}
	for i, slot := range f.element.slots {
		if f.counts[i] < slot.low {
			return refuse(checkStructure, f.name+" without "+strings.Join(slot.names, " or "), "")
		}
	}
	switch f.name {
	case "saml:Assertion", "saml:EncryptedAssertion":
		s.outline.hasAssertion = true
		s.outline.encrypted = f.name == "saml:EncryptedAssertion"
		s.outline.start, s.outline.end = f.start, end
	}
	s.done = len(s.stack) == 0
	return nil
}

// attribute returns the value of an attribute that has no prefix, or "".
func attribute(attrs []xml.Attr, name string) string {
	for _, a := range attrs {
		if a.Name.Space == "" && a.Name.Local == name {
			return a.Value
		}
	}
	return ""
}

// tag returns a name as it is written in the document.
func tag(n xml.Name) string {
	if n.Space == "" {
		return n.Local
	}
	return n.Space + ":" + n.Local
}
