package samlsp_test

import (
	"context"
	"encoding/base64"
	"errors"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/beevik/etree"

	"github.com/jitgate/jitgate/samlsp"
	"github.com/jitgate/jitgate/samlsp/samltest"
)

// FuzzFinish holds what all of this is for: whatever is done to a response, it is
// refused, or says to the letter what the honest one said; and one that was never
// good does not become it.
//
// A script changes the response step by step, each step being an operation and
// what it works on: elements by their number, words of a dictionary, bytes.
func FuzzFinish(f *testing.F) {
	r := newRig(f, func(o *samlsp.Options) { o.AllowEncryption = []string{"aes256-cbc", "unsigned-response"} })
	bases := fuzzBases(r)
	for i := range bases {
		f.Add(byte(i), []byte{})
		f.Add(byte(i), []byte{opClean, 9, 0, 3, opEvil, 9, 0})
		f.Add(byte(i), []byte{opCopy, 20, 8, 1, opEvil, 21, 2})
		f.Add(byte(i), []byte{opText, 30, 1, opAttribute, 3, 4, 5, opNamespace, 6, 2})
		f.Add(byte(i), []byte{opInsert, 12, 4, opBytes, 7, 2, 'x', opDelete, 10, opWrap, 3, 1})
	}
	f.Fuzz(func(t *testing.T, base byte, script []byte) {
		b := bases[int(base)%len(bases)]
		b.refresh(t)
		text := mutate(b.text, script)
		began := time.Now()
		id, err := r.sp.Finish(context.Background(), base64.StdEncoding.EncodeToString(text), requestID)
		if took := time.Since(began); took > 5*time.Second {
			t.Errorf("took %s", took)
		}
		if err == nil {
			if err := r.rdb.FlushAll(context.Background()).Err(); err != nil {
				t.Fatal(err)
			}
			if b.said == nil || !reflect.DeepEqual(id, b.said) {
				t.Errorf("Finish = %+v, want %+v or a refusal, of\n%s", id, b.said, text)
			}
			return
		}
		var refusal *samlsp.Refusal
		if !errors.As(err, &refusal) || refusal.Check == "panic" || id != nil {
			t.Errorf("Finish = %v, %v; want a refusal, of\n%s", id, err, text)
		}
	})
}

// A fuzzBase is a response that a script starts from.
type fuzzBase struct {
	r      *rig
	change func(*samltest.Message)
	good   bool // it is accepted as it is

	made time.Time
	text []byte
	said *samlsp.Identity // nil: it never is accepted
}

// refresh makes the response anew before it is too old to be accepted.
func (b *fuzzBase) refresh(t *testing.T) {
	if time.Since(b.made) < time.Minute {
		return
	}
	m := b.r.good()
	b.change(m)
	var err error
	if b.text, err = m.XML(); err != nil {
		t.Fatal(err)
	}
	b.made = time.Now()
	if !b.good {
		return
	}
	if b.said, err = b.r.sp.Finish(context.Background(), base64.StdEncoding.EncodeToString(b.text), requestID); err != nil {
		t.Fatal(err)
	}
	if err := b.r.rdb.FlushAll(context.Background()).Err(); err != nil {
		t.Fatal(err)
	}
}

func fuzzBases(r *rig) []*fuzzBase {
	otherKey, otherCertificate := idpKeys[1]()
	encrypted := func(m *samltest.Message) { m.Encryption.Method = samltest.AES256GCM }
	bases := []*fuzzBase{
		{change: func(*samltest.Message) {}, good: true},
		{change: signResponse, good: true},
		{change: signBoth, good: true},
		{change: entraStyle, good: true},
		{change: func(m *samltest.Message) { m.Signature.PrefixList = "xs" }, good: true},
		{change: gcmInSigned, good: true},
		{change: encrypted, good: true},
		{change: cbcInUnsigned, good: true},
		{change: func(m *samltest.Message) { m.SignAssertion = false }},
		{change: func(m *samltest.Message) { m.SignAssertion = false; encrypted(m) }},
		{change: func(m *samltest.Message) { m.Signature.Key, m.Signature.Certificate = otherKey, otherCertificate }},
		{change: func(m *samltest.Message) { m.Audiences = [][]string{{"https://other.example"}} }},
		{change: func(m *samltest.Message) { m.Confirmations[0].Recipient = "https://other.example/acs" }},
		{change: func(m *samltest.Message) { m.Confirmations[0].InResponseTo = "id-other" }},
		{change: func(m *samltest.Message) { m.NotOnOrAfter = time.Now().Add(-time.Hour) }},
	}
	for _, b := range bases {
		b.r = r
	}
	return bases
}

// The operations of a script.
const (
	opClean     = iota // copy element a without its signature to b
	opEvil             // make element a say what an attacker likes
	opCopy             // copy element a into b
	opDelete           // element a
	opText             // give element a the word b
	opAttribute        // give element a the attribute b with the word c
	opUnset            // take attribute b from element a
	opNamespace        // declare namespace b at element a
	opPrefix           // give element a the prefix b
	opWrap             // put element a into one of the name b
	opSwap             // elements a and b
	opRaw              // put a piece of markup, b, into element a
	opInsert           // put the word b at byte a
	opBytes            // put byte b at byte a
	opCut              // b bytes from byte a on
	opRepeat           // the b bytes from byte a on
	operations
)

// words are values, names and markup that mean something to somebody.
var words = []string{
	"", "admin", " ", "2.0", "_0123456789abcdef", "#", "#_0123456789abcdef", "urn:evil", "true", "https://evil.example",
	samltest.NSAssertion, samltest.NSProtocol, samltest.NSSignature, nsXSI, "http://www.w3.org/XML/1998/namespace",
	samltest.RSASHA1, samltest.InclusiveC14N, samltest.ExclusiveC14N, samltest.StatusSuccess, samltest.StatusResponder,
	requestID, entityID, acs, "9999-12-31T23:59:59Z", "xs samlp", "\n", "\r\n", "\u212a", "]]>", "&#x61;", "&#xD800;", "&amp;",
}

var attributeNames = []string{
	"ID", "Id", "id", "AssertionID", "x:ID", "xml:id", "Version", "IssueInstant", "Destination", "InResponseTo", "Recipient", "NotBefore",
	"NotOnOrAfter", "SessionNotOnOrAfter", "Name", "FriendlyName", "Format", "Value", "Algorithm", "URI", "PrefixList", "xsi:nil", "xsi:type", "Method",
}

var prefixNames = []string{"", "saml", "samlp", "ds", "xs", "xsi", "x", "xml", "xmlns", "xenc"}

var tagNames = []string{
	"samlp:Extensions", "saml:Advice", "ds:Object", "samlp:StatusDetail", "saml:Assertion", "samlp:Response", "saml:AttributeValue", "saml:Subject",
	"saml:EncryptedAssertion", "ds:Signature", "x:y",
}

var markup = []string{
	"<!-- x -->", "<?x y?>", "<![CDATA[admin]]>", "<![CDATA[]]>", "<!DOCTYPE x>", "&x;", "<x/>", "<saml:NameID>admin</saml:NameID>", "text", "\ufeff",
}

// mutate changes a message as the script says. A step that cannot be done is left out.
func mutate(text, script []byte) []byte {
	next := func() int {
		if len(script) == 0 {
			return 0
		}
		b := script[0]
		script = script[1:]
		return int(b)
	}
	for step := 0; step < 12 && len(script) > 0; step++ {
		op, a, b := next()%operations, next(), next()
		if op >= opInsert {
			text = mutateBytes(text, op, a<<8|b, next())
			continue
		}
		doc := etree.NewDocument()
		if doc.ReadFromBytes(text) != nil || doc.Root() == nil {
			continue
		}
		mutateTree(doc, op, a, b, next)
		doc.WriteSettings = etree.WriteSettings{CanonicalText: true, CanonicalAttrVal: true}
		if out, err := doc.WriteToBytes(); err == nil {
			text = out
		}
	}
	return text
}

func mutateBytes(text []byte, op, at, b int) []byte {
	at = min(at%8192, len(text))
	end := min(at+b, len(text))
	var out []byte
	switch op {
	case opInsert:
		out = append(append(out, text[:at]...), words[b%len(words)]...)
		return append(out, text[at:]...)
	case opBytes:
		out = append(append(out, text[:at]...), byte(b))
		return append(out, text[min(at+1, len(text)):]...)
	case opCut:
		return append(append(out, text[:at]...), text[end:]...)
	}
	out = append(append(out, text[:end]...), text[at:end]...)
	return append(out, text[end:]...)
}

func mutateTree(doc *etree.Document, op, a, b int, next func() int) {
	all := doc.FindElements("//*")
	el, other := all[a%len(all)], all[b%len(all)]
	into := func(parent, child *etree.Element) {
		parent.InsertChildAt(next()%(len(parent.Child)+1), child)
	}
	switch op {
	case opClean:
		into(other, clean(el))
	case opEvil:
		evil(el)
		if b%2 == 1 {
			renamed(el)
		}
	case opCopy:
		into(other, el.Copy())
	case opDelete:
		if el.Parent() != nil {
			el.Parent().RemoveChild(el)
		}
	case opText:
		el.SetText(words[b%len(words)])
	case opAttribute:
		el.CreateAttr(attributeNames[b%len(attributeNames)], words[next()%len(words)])
	case opUnset:
		el.RemoveAttr(attributeNames[b%len(attributeNames)])
	case opNamespace:
		name := "xmlns"
		if p := prefixNames[next()%len(prefixNames)]; p != "" {
			name += ":" + p
		}
		el.CreateAttr(name, words[b%len(words)])
	case opPrefix:
		el.Space = prefixNames[b%len(prefixNames)]
	case opWrap:
		around := etree.NewElement(tagNames[b%len(tagNames)])
		around.AddChild(el.Copy())
		if parent := el.Parent(); parent != nil && el != doc.Root() {
			parent.InsertChildAt(el.Index(), around)
			parent.RemoveChild(el)
		} else {
			doc.SetRoot(around)
		}
	case opSwap:
		x, y := el.Copy(), other.Copy()
		*el, *other = *y, *x
	case opRaw:
		piece := etree.NewDocument()
		if piece.ReadFromString("<r>"+markup[b%len(markup)]+"</r>") == nil {
			for _, token := range slices.Clone(piece.Root().Child) {
				el.AddChild(token)
			}
		}
	}
}
