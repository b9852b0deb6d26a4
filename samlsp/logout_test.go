package samlsp_test

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/beevik/etree"
	"github.com/redis/go-redis/v9"

	"github.com/jitgate/jitgate/deploy/testenv"
	"github.com/jitgate/jitgate/samlsp"
	"github.com/jitgate/jitgate/samlsp/samltest"
)

const slo = "https://sso.acme.example/.jitgate/saml/acme/slo"

var ann = samltest.NameID{Value: "ann", Format: samltest.NameIDPersistent}

func newLogoutRig(t testing.TB) *rig {
	t.Helper()
	return newRig(t, func(o *samlsp.Options) { o.SLO = slo })
}

// A sending is a logout message on its way, in both bindings.
type sending struct {
	query string     // of the Redirect binding, or
	form  url.Values // of the POST binding
}

func (s sending) read() (samlsp.Message, error) {
	if s.form != nil {
		return samlsp.ReadForm(s.form)
	}
	return samlsp.ReadQuery(s.query)
}

// byQuery and byForm send a message as it is.
func byQuery(t testing.TB, l *samltest.Logout) sending {
	t.Helper()
	query, err := l.Query("state")
	if err != nil {
		t.Fatal(err)
	}
	return sending{query: query}
}

func byForm(t testing.TB, l *samltest.Logout) sending {
	t.Helper()
	form, err := l.Form("state")
	if err != nil {
		t.Fatal(err)
	}
	return sending{form: form}
}

// end has the SP end what a message asks for, and returns whose login that was.
func (r *rig) end(s sending) (*samlsp.LogoutRequest, error) {
	m, err := s.read()
	if err != nil {
		return nil, err
	}
	var asked *samlsp.LogoutRequest
	request, err := r.sp.EndLogout(r.t.Context(), m, func(_ context.Context, request *samlsp.LogoutRequest) error {
		asked = request
		return nil
	})
	if (request == nil) != (err != nil) || err == nil && asked != request {
		r.t.Errorf("EndLogout = %v, %v, and asked to end %v", request, err, asked)
	}
	if err != nil && asked != nil && !replayed(err) {
		r.t.Errorf("asked to end %v before %v", asked, err)
	}
	return request, err
}

func replayed(err error) bool {
	r, ok := errors.AsType[*samlsp.Refusal](err)
	return ok && r.Code == samlsp.CodeReplayed
}

// refusedFor reports by what check err refuses, "" where it does not.
func refusedFor(err error) string {
	if r, ok := errors.AsType[*samlsp.Refusal](err); ok {
		return r.Check
	}
	if err != nil {
		return err.Error()
	}
	return ""
}

// The requests of an honest IdP, in both bindings.
func TestEndLogout(t *testing.T) {
	t.Parallel()
	r := newLogoutRig(t)
	for name, send := range map[string]func(testing.TB, *samltest.Logout) sending{"Redirect": byQuery, "POST": byForm} {
		l := r.idp.GoodLogout(slo, ann, "_1", "_2")
		got, err := r.end(send(t, l))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		want := samlsp.NameID{Value: "ann", Format: samltest.NameIDPersistent}
		if got.ID != l.ID || got.NameID != want || !slices.Equal(got.SessionIndexes, []string{"_1", "_2"}) {
			t.Errorf("%s: %+v, want %+v of sessions _1 and _2", name, got, want)
		}
	}
	none := newRig(t, nil)
	if _, err := none.end(byQuery(t, none.idp.GoodLogout("", ann))); refusedFor(err) != "wrong_destination" {
		t.Errorf("without single logout: %v, want a refusal", err)
	}
}

// A logoutAttack is a row of part F of the catalogue: a message that is honest but
// for one thing.
type logoutAttack struct {
	name   string
	change func(*samltest.Logout)
	send   func(testing.TB, *samltest.Logout) sending
	check  string // by which it is refused
}

// runLogoutAttacks sends each message, and before it its honest twin, which is
// the same without the change, sent in the binding of the name's binding.
func runLogoutAttacks(t *testing.T, attacks []logoutAttack, send func(sending) error, good func() *samltest.Logout) {
	t.Helper()
	for _, a := range attacks {
		t.Run(a.name, func(t *testing.T) {
			for _, honest := range []func(testing.TB, *samltest.Logout) sending{byQuery, byForm} {
				if err := send(honest(t, good())); err != nil {
					t.Fatalf("the honest twin: %v", err)
				}
			}
			l := good()
			if a.change != nil {
				a.change(l)
			}
			began := time.Now()
			if got := refusedFor(send(a.send(t, l))); got != a.check {
				t.Errorf("refused for %q, want %q", got, a.check)
			}
			if took := time.Since(began); took > 5*time.Second {
				t.Errorf("took %s", took)
			}
		})
	}
}

// octets sends a query that was changed after it was signed, or before.
func octets(change func(query string) string) func(testing.TB, *samltest.Logout) sending {
	return func(t testing.TB, l *samltest.Logout) sending {
		return sending{query: change(byQuery(t, l).query)}
	}
}

// signedOctets signs a query that the SP may read in another way.
func signedOctets(query func(message string) string) func(testing.TB, *samltest.Logout) sending {
	return func(t testing.TB, l *samltest.Logout) sending {
		t.Helper()
		text, err := l.XML(false)
		if err != nil {
			t.Fatal(err)
		}
		signed, err := l.Signature.Octets(query(url.QueryEscape(samltest.Deflate(text))))
		if err != nil {
			t.Fatal(err)
		}
		return sending{query: signed}
	}
}

// deflated sends what is no message at all, signed by the IdP.
func deflated(message string) func(testing.TB, *samltest.Logout) sending {
	return func(t testing.TB, l *samltest.Logout) sending {
		t.Helper()
		query, err := l.Signature.Query(l.Parameter(), message, "")
		if err != nil {
			t.Fatal(err)
		}
		return sending{query: query}
	}
}

// unsignedForm and unsignedQuery leave the signature away.
func unsignedForm(t testing.TB, l *samltest.Logout) sending {
	t.Helper()
	text, err := l.XML(false)
	if err != nil {
		t.Fatal(err)
	}
	return sending{form: url.Values{l.Parameter(): {base64.StdEncoding.EncodeToString(text)}}}
}

func unsignedQuery(t testing.TB, l *samltest.Logout) sending {
	t.Helper()
	text, err := l.XML(false)
	if err != nil {
		t.Fatal(err)
	}
	return sending{query: l.Parameter() + "=" + url.QueryEscape(samltest.Deflate(text))}
}

// enveloped sends by Redirect a message with a signature in it, and none over the
// query.
func enveloped(t testing.TB, l *samltest.Logout) sending {
	t.Helper()
	text, err := l.XML(true)
	if err != nil {
		t.Fatal(err)
	}
	return sending{query: l.Parameter() + "=" + url.QueryEscape(samltest.Deflate(text))}
}

// twice sends by Redirect a message that is signed in itself too; broken: wrongly.
func twice(broken bool) func(testing.TB, *samltest.Logout) sending {
	return func(t testing.TB, l *samltest.Logout) sending {
		t.Helper()
		text, err := l.XML(true)
		if err != nil {
			t.Fatal(err)
		}
		if broken {
			text = bytes.Replace(text, []byte(">ann<"), []byte(">bob<"), 1)
		}
		return deflated(samltest.Deflate(text))(t, l)
	}
}

const alg = "&SigAlg=http%3A%2F%2Fwww.w3.org%2F2001%2F04%2Fxmldsig-more%23rsa-sha256"

func TestLogoutAttacks(t *testing.T) {
	t.Parallel()
	r := newLogoutRig(t)
	otherKey, otherCertificate := idpKeys[1]()
	sign := func(method string) func(*samltest.Logout) {
		return func(l *samltest.Logout) { l.Signature.Method = method }
	}
	text := func(f func(root *etree.Element)) func(*samltest.Logout) {
		return func(l *samltest.Logout) { l.MutateSigned = func(doc *etree.Document) { f(doc.Root()) } }
	}
	before := func(f func(root *etree.Element)) func(*samltest.Logout) {
		return func(l *samltest.Logout) { l.MutateUnsigned = func(doc *etree.Document) { f(doc.Root()) } }
	}
	bomb := samltest.Deflate(bytes.Repeat([]byte{' '}, 200<<20))
	runLogoutAttacks(t, []logoutAttack{
		{"F01 LogoutRequest by POST without a signature", nil, unsignedForm, "unsigned"},
		{"F01 LogoutRequest by Redirect without a signature", nil, unsignedQuery, "unsigned"},
		{"F01 by Redirect with an enveloped signature in place of the detached one", nil, enveloped, "unsigned"},
		{"F02 detached signature of another key", func(l *samltest.Logout) { l.Signature.Key, l.Signature.Certificate = otherKey, otherCertificate }, byQuery, "signature"},
		{"F02 enveloped signature of another key", func(l *samltest.Logout) { l.Signature.Key, l.Signature.Certificate = otherKey, otherCertificate }, byForm, "signature"},
		{"F02 detached signature over another message", nil, octets(func(q string) string { return strings.Replace(q, "RelayState=state", "RelayState=other", 1) }), "signature"},
		{"F02 enveloped signature, and then another name", text(func(root *etree.Element) { root.SelectElement("NameID").SetText("bob") }), byForm, "signature"},
		{"F02 detached signature is empty", nil, octets(func(q string) string { q, _, _ = strings.Cut(q, "&Signature="); return q + "&Signature=" }), "unsigned"},
		{"F02 detached signature is right, one in the message is not", nil, twice(true), "signature"},
		{"F03 detached, RSA-SHA1", sign(samltest.RSASHA1), byQuery, "algorithm"},
		{"F03 enveloped, RSA-SHA1", sign(samltest.RSASHA1), byForm, "algorithm"},
		{"F03 detached, HMAC with the public key", sign(samltest.HMACSHA1), byQuery, "algorithm"},
		{"F03 SigAlg says SHA-512 of a signature with SHA-256", nil, octets(func(q string) string { return strings.Replace(q, "rsa-sha256", "rsa-sha512", 1) }), "signature"},
		{"F03 SigAlg of another kind of key", nil, octets(func(q string) string { return strings.Replace(q, "rsa-sha256", "ecdsa-sha256", 1) }), "signature"},
		{"F03 no SigAlg", nil, octets(func(q string) string { return strings.Replace(q, alg, "", 1) }), "algorithm"},
		{"F04 SAMLResponse beside the SAMLRequest", nil, octets(func(q string) string { return q + "&SAMLResponse=x" }), "wrong_parameters"},
		{"F04 both by POST", nil, func(t testing.TB, l *samltest.Logout) sending {
			s := byForm(t, l)
			s.form.Set("SAMLResponse", "x")
			return s
		}, "wrong_parameters"},
		{"F04 a request in the parameter of a response", nil, func(t testing.TB, l *samltest.Logout) sending {
			s := byForm(t, l)
			s.form = url.Values{"SAMLResponse": s.form["SAMLRequest"]}
			return s
		}, "wrong_parameters"},
		{"F05 SAMLRequest twice", nil, octets(func(q string) string { return q + "&SAMLRequest=x" }), "wrong_parameters"},
		{"F05 SigAlg twice", nil, octets(func(q string) string { return q + alg }), "wrong_parameters"},
		{"F05 RelayState twice", nil, octets(func(q string) string { return q + "&RelayState=x" }), "wrong_parameters"},
		{"F05 Signature twice", nil, octets(func(q string) string { return q + "&Signature=x" }), "wrong_parameters"},
		{"F05 SAMLRequest twice by POST", nil, func(t testing.TB, l *samltest.Logout) sending {
			s := byForm(t, l)
			s.form.Add("SAMLRequest", "x")
			return s
		}, "wrong_parameters"},
		{"F05 RelayState twice by POST", nil, func(t testing.TB, l *samltest.Logout) sending {
			s := byForm(t, l)
			s.form.Add("RelayState", "x")
			return s
		}, "wrong_parameters"},
		{"F05 SAMLRequest once more under a name in escapes", nil, octets(func(q string) string { return q + "&%53AMLRequest=x" }), "wrong_parameters"},
		{"F05 SAMLRequest under a name in escapes alone", nil, signedOctets(func(m string) string { return "%53AMLRequest=" + m + alg }), "wrong_parameters"},
		{"F05 a parameter in another one's value, where ; separates too", nil, signedOctets(func(m string) string {
			return "SAMLRequest=" + m + "&RelayState=x;SAMLResponse=y" + alg
		}), "wrong_parameters"},
		{"F06 octets encoded anew", nil, octets(func(q string) string { return strings.Replace(q, "RelayState=state", "RelayState=%73tate", 1) }), "signature"},
		{"F06 octets escaped in lower case", nil, octets(strings.ToLower), "wrong_parameters"},
		{"F06 the message's escapes in lower case", nil, octets(func(q string) string { return strings.NewReplacer("%2B", "%2b", "%2F", "%2f", "%3D", "%3d").Replace(q) }), "signature"},
		{"F06 signed in another order", nil, signedOctets(func(m string) string { return "RelayState=state&SAMLRequest=" + m + alg }), "signature"},
		{"F06 a RelayState that was not signed", nil, func(t testing.TB, l *samltest.Logout) sending {
			s := signedOctets(func(m string) string { return "SAMLRequest=" + m + alg })(t, l)
			s.query += "&RelayState=x"
			return s
		}, "signature"},
		{"F07 200 MB in 200 KB", nil, deflated(bomb), "too_large"},
		{"F07 the same from a stranger", func(l *samltest.Logout) { l.Signature.Key = otherKey }, deflated(bomb), "signature"},
		{"F08 nothing, deflated", nil, deflated(samltest.Deflate(nil)), "xml"},
		{"F08 a comment and nothing else", nil, deflated(samltest.Deflate([]byte("<!--x-->"))), "xml"},
		{"F08 not deflated", nil, deflated(base64.StdEncoding.EncodeToString([]byte("<x/>"))), "encoding"},
		{"F08 nothing", nil, deflated(""), "encoding"},
		{"F08 no base64", nil, deflated("<>"), "encoding"},
		{"F08 a comment by POST", nil, func(testing.TB, *samltest.Logout) sending {
			return sending{form: url.Values{"SAMLRequest": {base64.StdEncoding.EncodeToString([]byte("<!--x-->"))}}}
		}, "xml"},
		{"F14 another encoding than DEFLATE", nil, octets(func(q string) string { return q + "&SAMLEncoding=urn%3Ax" }), "wrong_parameters"},
		{"F14 an artifact beside it", nil, octets(func(q string) string { return q + "&SAMLart=x" }), "wrong_parameters"},
		{"F14 nothing at all", nil, octets(func(string) string { return "" }), "wrong_parameters"},
		{"F15 the request is an AuthnRequest", before(func(root *etree.Element) { root.Tag = "AuthnRequest" }), byForm, "structure"},
		{"F15 the request is a Response", before(func(root *etree.Element) { root.Tag = "Response" }), byForm, "structure"},
		{"F15 two NameIDs", before(func(root *etree.Element) { root.AddChild(root.SelectElement("NameID").Copy()) }), byForm, "structure"},
		{"F15 Extensions", before(func(root *etree.Element) { root.CreateElement("samlp:Extensions") }), byForm, "structure"},
		{"F15 a comment in the NameID", text(func(root *etree.Element) { root.SelectElement("NameID").CreateComment("x") }), byForm, "xml"},
		{"F15 a signature over another element", func(l *samltest.Logout) {
			l.Signature.MutateSignedInfo = func(info *etree.Element) { info.SelectElement("Reference").CreateAttr("URI", "#other") }
		}, byForm, "reference"},
		{"F15 a captured Assertion in it", before(func(root *etree.Element) { root.CreateElement("saml:Assertion") }), byForm, "structure"},
		{"F16 version 1.1", func(l *samltest.Logout) { l.Version = "1.1" }, byQuery, "wrong_version"},
		{"F16 no Destination", func(l *samltest.Logout) { l.Destination = "" }, byQuery, "wrong_destination"},
		{"F16 Destination is our ACS", func(l *samltest.Logout) { l.Destination = acs }, byQuery, "wrong_destination"},
		{"F16 another Issuer", func(l *samltest.Logout) { l.Issuer = "https://other.example" }, byForm, "wrong_issuer"},
		{"F16 issued long ago", func(l *samltest.Logout) { l.IssueInstant = time.Now().Add(-9 * time.Minute) }, byQuery, "wrong_issue_instant"},
		{"F16 issued in the future", func(l *samltest.Logout) { l.IssueInstant = time.Now().Add(4 * time.Minute) }, byQuery, "wrong_issue_instant"},
		{"F16 past NotOnOrAfter", func(l *samltest.Logout) { l.NotOnOrAfter = time.Now().Add(-4 * time.Minute) }, byQuery, "expired"},
		{"F16 an empty NameID", func(l *samltest.Logout) { l.NameID.Value = " " }, byQuery, "wrong_name_id"},
		{"F16 no ID", func(l *samltest.Logout) { l.ID = "" }, byQuery, "wrong_message_id"},
	}, func(s sending) error {
		_, err := r.end(s)
		return err
	}, func() *samltest.Logout { return r.idp.GoodLogout(slo, ann, "_1") })
}

// What is unusual and right.
func TestLogoutAccepted(t *testing.T) {
	t.Parallel()
	r := newLogoutRig(t)
	for _, a := range []struct {
		why    string
		change func(*samltest.Logout)
		send   func(testing.TB, *samltest.Logout) sending
	}{
		{"no NotOnOrAfter", func(l *samltest.Logout) { l.NotOnOrAfter = time.Time{} }, byQuery},
		{"no SessionIndex", func(l *samltest.Logout) { l.SessionIndexes = nil }, byQuery},
		{"RSA-SHA512", func(l *samltest.Logout) { l.Signature.Method = samltest.RSASHA512 }, byQuery},
		{"a signature of each kind", nil, twice(false)},
		{"no RelayState", nil, signedOctets(func(m string) string { return "SAMLRequest=" + m + alg })},
		{"an empty RelayState, which is signed", nil, signedOctets(func(m string) string { return "SAMLRequest=" + m + "&RelayState=" + alg })},
		{"sent in another order than it was signed in", nil, func(t testing.TB, l *samltest.Logout) sending {
			parts := strings.Split(byQuery(t, l).query, "&")
			slices.Reverse(parts)
			return sending{query: strings.Join(parts, "&")}
		}},
		{"a parameter of somebody else", nil, octets(func(q string) string { return "utm=%zz&" + q + "&utm=1" })},
		{"escapes in lower case, as AD FS signs them", nil, signedOctets(func(m string) string {
			return "SAMLRequest=" + strings.NewReplacer("%2B", "%2b", "%2F", "%2f", "%3D", "%3d").Replace(m) + alg
		})},
	} {
		l := r.idp.GoodLogout(slo, ann, "_1")
		if a.change != nil {
			a.change(l)
		}
		if _, err := r.end(a.send(t, l)); err != nil {
			t.Errorf("%s: %v", a.why, err)
		}
	}
}

// A LogoutRequest is good for one time, on all replicas, and again when what it
// asks for could not be done.
func TestLogoutReplay(t *testing.T) {
	t.Parallel()
	t.Run("F09 the same request once more", func(t *testing.T) {
		r := newLogoutRig(t)
		sent := byQuery(t, r.idp.GoodLogout(slo, ann))
		m, err := sent.read()
		if err != nil {
			t.Fatal(err)
		}
		full := errors.New("the store is full")
		if _, err := r.sp.EndLogout(t.Context(), m, func(context.Context, *samlsp.LogoutRequest) error { return full }); err != full {
			t.Errorf("EndLogout = %v, want what ending returned", err)
		}
		if _, err := r.end(sent); err != nil {
			t.Errorf("again, after that: %v", err)
		}
		if _, err := r.end(sent); refusedFor(err) != "replayed_logout" {
			t.Errorf("once more: %v, want a replay", err)
		}
		replica, err := samlsp.New(r.o)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := replica.Refresh(t.Context()); err != nil {
			t.Fatal(err)
		}
		r.sp = replica
		if _, err := r.end(sent); refusedFor(err) != "replayed_logout" {
			t.Errorf("at another replica: %v, want a replay", err)
		}
		if _, err := r.end(byQuery(t, r.idp.GoodLogout(slo, ann))); err != nil {
			t.Errorf("a new one: %v", err)
		}
	})
	t.Run("F17 a store that does not answer", func(t *testing.T) {
		m := testenv.Embedded(t)
		r := newRig(t, func(o *samlsp.Options) {
			rdb := redis.NewClient(&redis.Options{Addr: m.Addr(), MaxRetries: -1})
			t.Cleanup(func() { rdb.Close() })
			o.SLO, o.Replay = slo, samlsp.NewReplay(rdb, "jitgate:")
		})
		sent := byQuery(t, r.idp.GoodLogout(slo, ann))
		m.SetError("LOADING")
		if _, err := r.end(sent); err == nil || refusedFor(err) != err.Error() {
			t.Errorf("store down: %v, want an error that is no refusal", err)
		}
		m.SetError("")
		if _, err := r.end(sent); err != nil {
			t.Errorf("store back: %v", err)
		}
	})
}

// The IdP's answers to our own requests.
func TestFinishLogout(t *testing.T) {
	t.Parallel()
	r := newLogoutRig(t)
	finish := func(requestID string) func(sending) error {
		return func(s sending) error {
			m, err := s.read()
			if err == nil {
				_, err = r.sp.FinishLogout(t.Context(), m, requestID)
			}
			return err
		}
	}
	good := func() *samltest.Logout { return r.idp.GoodLogoutAnswer(slo, requestID) }
	runLogoutAttacks(t, []logoutAttack{
		{"F11 LogoutResponse to a request that is not ours", func(l *samltest.Logout) { l.InResponseTo = "id-other" }, byQuery, "wrong_request"},
		{"F11 LogoutResponse to no request", func(l *samltest.Logout) { l.InResponseTo = "" }, byForm, "wrong_request"},
		{"F18 LogoutResponse without a signature", nil, unsignedForm, "unsigned"},
		{"F18 LogoutResponse by Redirect without a signature", nil, unsignedQuery, "unsigned"},
		{"F18 LogoutResponse without an Issuer", func(l *samltest.Logout) { l.Issuer = "" }, byQuery, "structure"},
		{"F18 LogoutResponse for somebody else", func(l *samltest.Logout) { l.Destination = "https://other.example/slo" }, byForm, "wrong_destination"},
		{"F18 LogoutResponse of last week", func(l *samltest.Logout) { l.IssueInstant = time.Now().AddDate(0, 0, -7) }, byForm, "wrong_issue_instant"},
		{"F18 LogoutResponse without a Status", func(l *samltest.Logout) {
			l.MutateUnsigned = func(doc *etree.Document) { doc.Root().RemoveChild(doc.Root().SelectElement("Status")) }
		}, byQuery, "structure"},
	}, finish(requestID), good)
	if err := finish("")(byQuery(t, r.idp.GoodLogoutAnswer(slo, ""))); refusedFor(err) != "unsolicited" {
		t.Errorf("nothing was asked: %v, want a refusal", err)
	}
	for _, test := range []struct {
		status samltest.Status
		want   bool
	}{
		{samltest.Status{Code: samltest.StatusSuccess}, true},
		{samltest.Status{Code: samltest.StatusSuccess, Nested: "urn:oasis:names:tc:SAML:2.0:status:PartialLogout"}, false},
		{samltest.Status{Code: samltest.StatusResponder}, false},
	} {
		l := good()
		l.Status = test.status
		m, err := byQuery(t, l).read()
		if err != nil {
			t.Fatal(err)
		}
		if got, err := r.sp.FinishLogout(t.Context(), m, requestID); got != test.want || err != nil {
			t.Errorf("status %v: everywhere = %v, %v, want %v", test.status, got, err, test.want)
		}
	}
}

// Our own messages are as the specification has them: the IdP of the tests, which
// does not share our code, verifies them in proxy's tests; here is what they say.
func TestBeginLogout(t *testing.T) {
	t.Parallel()
	r := newLogoutRig(t)
	name := samlsp.NameID{Value: "<ann>", Format: samltest.NameIDPersistent, NameQualifier: "q", SPNameQualifier: "s"}
	b, ok, err := r.sp.BeginLogout(name, "_1&", "token")
	if err != nil || !ok {
		t.Fatalf("BeginLogout = %v, %v", ok, err)
	}
	root := inflated(t, b.Redirect, "SAMLRequest")
	id := root.SelectElement("NameID")
	if root.Tag != "LogoutRequest" || root.SelectAttrValue("ID", "") != b.RequestID || id.Text() != "<ann>" ||
		id.SelectAttrValue("NameQualifier", "") != "q" || root.SelectElement("SessionIndex").Text() != "_1&" {
		t.Errorf("the request says something else: %v %q", root.Tag, id.Text())
	}
	answer, ok, err := r.sp.AnswerLogout("_7", strings.Repeat("x", 300))
	if err != nil || !ok {
		t.Fatalf("AnswerLogout = %v, %v", ok, err)
	}
	root = inflated(t, answer.Redirect, "SAMLResponse")
	code := root.FindElement("Status/StatusCode").SelectAttrValue("Value", "")
	if root.SelectAttrValue("InResponseTo", "") != "_7" || code != samltest.StatusSuccess {
		t.Errorf("the answer is to %q and says %q", root.SelectAttrValue("InResponseTo", ""), code)
	}
	if _, _, err := r.sp.BeginLogout(name, "", strings.Repeat("x", 81)); err == nil {
		t.Error("a RelayState of 81 bytes was sent")
	}
	if _, ok, err := r.sp.AnswerLogout("_7", strings.Repeat("x", 5000)); ok || err != nil {
		t.Errorf("a RelayState of 5,000 bytes: %v, %v, want no answer", ok, err)
	}
	m := r.idp.Metadata()
	m.MutateUnsigned = func(doc *etree.Document) {
		doc.FindElement("//SingleLogoutService").CreateAttr("ResponseLocation", "https://idp.acme.example/answers")
	}
	r.writeMetadata(m)
	if _, err := r.sp.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	if answer, ok, err = r.sp.AnswerLogout("_7", ""); err != nil || !ok || !strings.HasPrefix(answer.Redirect, "https://idp.acme.example/answers?") {
		t.Errorf("where answers go elsewhere: %q, %v, %v", answer.Redirect, ok, err)
	}
	if b, _, _ = r.sp.BeginLogout(name, "", ""); strings.Contains(b.Redirect, "answers") {
		t.Errorf("a request goes to %q, where answers go", b.Redirect)
	}
	none := newRig(t, nil)
	if _, ok, err := none.sp.BeginLogout(name, "", ""); ok || err != nil {
		t.Errorf("single logout is off: %v, %v, want none", ok, err)
	}
}

// inflated returns the message in a URL of the Redirect binding.
func inflated(t *testing.T, location, parameter string) *etree.Element {
	t.Helper()
	u, err := url.Parse(location)
	if err != nil {
		t.Fatal(err)
	}
	doc := etree.NewDocument()
	if err := doc.ReadFromBytes(inflate(t, u.Query().Get(parameter))); err != nil {
		t.Fatal(err)
	}
	return doc.Root()
}

// Whose login a request is about.
func TestMatches(t *testing.T) {
	t.Parallel()
	const email = samltest.NameIDEmail
	for _, test := range []struct {
		why     string
		asked   samlsp.NameID
		indexes []string
		want    bool
	}{
		{"the same", samlsp.NameID{Value: "ann", Format: email, NameQualifier: "q"}, []string{"_1"}, true},
		{"one of several sessions", samlsp.NameID{Value: "ann", Format: email, NameQualifier: "q"}, []string{"_0", "_1"}, true},
		{"all sessions", samlsp.NameID{Value: "ann", Format: email, NameQualifier: "q"}, nil, true},
		{"without what goes without saying", samlsp.NameID{Value: "ann"}, nil, true},
		{"of no particular format", samlsp.NameID{Value: "ann", Format: samltest.NameIDUnspecified}, nil, true},
		{"with all qualifiers", samlsp.NameID{Value: "ann", Format: email, NameQualifier: "q", SPNameQualifier: "s"}, nil, true},
		{"another session", samlsp.NameID{Value: "ann", Format: email}, []string{"_2"}, false},
		{"another format", samlsp.NameID{Value: "ann", Format: samltest.NameIDPersistent}, nil, false},
		{"another name", samlsp.NameID{Value: "Ann", Format: email}, nil, false},
		{"another qualifier", samlsp.NameID{Value: "ann", NameQualifier: "other"}, nil, false},
		{"another SP's", samlsp.NameID{Value: "ann", SPNameQualifier: "other"}, nil, false},
	} {
		request := &samlsp.LogoutRequest{NameID: test.asked, SessionIndexes: test.indexes}
		if got := request.Matches(samlsp.NameID{Value: "ann", Format: email, NameQualifier: "q", SPNameQualifier: "s"}, "_1"); got != test.want {
			t.Errorf("%s: %v, want %v", test.why, got, test.want)
		}
	}
}

// A query without a message is none, whatever the caller would do with it.
func TestNoMessage(t *testing.T) {
	t.Parallel()
	for _, query := range []string{"", "a=b", "RelayState=x", "samlrequest=x"} {
		if _, err := samlsp.ReadQuery(query); refusedFor(err) != "wrong_parameters" {
			t.Errorf("ReadQuery(%q): %v, want a refusal", query, err)
		}
	}
	if _, err := samlsp.ReadForm(url.Values{"RelayState": {"x"}}); refusedFor(err) != "wrong_parameters" {
		t.Errorf("ReadForm: %v, want a refusal", err)
	}
}

// A certificate that is out of its time verifies nothing, and a second one is
// tried.
func TestLogoutCertificates(t *testing.T) {
	t.Parallel()
	late, _ := newExpiredRig(t)
	late.o.SLO = slo
	var err error
	if late.sp, err = samlsp.New(late.o); err == nil {
		_, err = late.sp.Refresh(t.Context())
	}
	if err != nil {
		t.Fatal(err)
	}
	if _, err := late.end(byQuery(t, late.idp.GoodLogout(slo, ann))); refusedFor(err) != "certificate_expired" {
		t.Errorf("%v, want certificate_expired", err)
	}
	r := newLogoutRig(t)
	if err := r.idp.BeginRollover(); err != nil {
		t.Fatal(err)
	}
	r.idp.Switch()
	r.writeMetadata(r.idp.Metadata())
	if _, err := r.sp.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.idp.Switch()
	for _, certificate := range []*x509.Certificate{r.idp.Certificates()[0], r.idp.Certificates()[1]} {
		if _, err := r.end(byQuery(t, r.idp.GoodLogout(slo, ann))); err != nil {
			t.Errorf("signed by %s: %v", certificate.SerialNumber, err)
		}
		r.idp.Switch()
	}
}
