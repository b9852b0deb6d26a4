package samlsp

import (
	"slices"
	"testing"

	"github.com/beevik/etree"
)

// What was found of one signature holds for the same element alone.
func TestSameElements(t *testing.T) {
	t.Parallel()
	const text = `<p:A xmlns:p="urn:p" ID="1"><p:B x="1" y="2">text</p:B><Signature xmlns="urn:d"><V>abc</V></Signature><C/>tail</p:A>`
	read := func() *etree.Element {
		t.Helper()
		doc := etree.NewDocument()
		if err := doc.ReadFromString(text); err != nil {
			t.Fatal(err)
		}
		return doc.Root()
	}
	if !sameElements(read(), read()) {
		t.Fatal("the same text, read twice: not the same")
	}
	for name, change := range map[string]func(*etree.Element){
		"text":             func(el *etree.Element) { el.ChildElements()[0].SetText("texT") },
		"no text":          func(el *etree.Element) { el.ChildElements()[0].SetText("") },
		"text as CDATA":    func(el *etree.Element) { el.ChildElements()[0].SetCData("text") },
		"tail":             func(el *etree.Element) { el.Child[len(el.Child)-1].(*etree.CharData).Data = "tails" },
		"value":            func(el *etree.Element) { el.CreateAttr("ID", "2") },
		"another value":    func(el *etree.Element) { el.ChildElements()[0].CreateAttr("y", "3") },
		"more attributes":  func(el *etree.Element) { el.CreateAttr("z", "1") },
		"fewer attributes": func(el *etree.Element) { el.ChildElements()[0].RemoveAttr("x") },
		"attribute's name": func(el *etree.Element) { el.ChildElements()[0].Attr[0].Key = "z" },
		"its namespace":    func(el *etree.Element) { el.ChildElements()[0].Attr[0].Space = "p" },
		"order":            func(el *etree.Element) { slices.Reverse(el.ChildElements()[0].Attr) },
		"name":             func(el *etree.Element) { el.ChildElements()[2].Tag = "D" },
		"prefix":           func(el *etree.Element) { el.ChildElements()[0].Space = "" },
		"namespace":        func(el *etree.Element) { el.CreateAttr("xmlns:p", "urn:q") },
		"more elements":    func(el *etree.Element) { el.CreateElement("E") },
		"fewer elements":   func(el *etree.Element) { el.RemoveChildAt(0) },
		"deep below":       func(el *etree.Element) { el.FindElement("Signature/V").SetText("abd") },
		"comment":          func(el *etree.Element) { el.CreateComment("") },
		"text for element": func(el *etree.Element) { el.Child[2] = etree.NewText("C") },
	} {
		one, other := read(), read()
		change(other)
		if sameElements(one, other) || sameElements(other, one) {
			t.Errorf("%s: the same", name)
		}
	}
	// Of what the preflight lets nobody send, nothing is known.
	one, other := read(), read()
	one.CreateComment("same")
	other.CreateComment("same")
	if sameElements(one, other) {
		t.Error("with comments: the same")
	}
}
