package proxy

import (
	"crypto/x509"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/jitgate/jitgate/deploy/testenv"
	"github.com/jitgate/jitgate/samlsp"
	"github.com/jitgate/jitgate/samlsp/samltest"
)

// metric returns the value of a series, as /metrics of the admin listener has it,
// and whether it is there.
func (s *site) metric(series string) (float64, bool) {
	s.t.Helper()
	w := httptest.NewRecorder()
	s.Admin().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	if w.Code != http.StatusOK {
		s.t.Fatalf("/metrics: %d %s", w.Code, w.Body)
	}
	for line := range strings.Lines(w.Body.String()) {
		if value, ok := strings.CutPrefix(strings.TrimSpace(line), series+" "); ok {
			n, err := strconv.ParseFloat(value, 64)
			if err != nil {
				s.t.Fatal(err)
			}
			return n, true
		}
	}
	return 0, false
}

func (s *site) wantMetric(series string, want float64) {
	s.t.Helper()
	if got, ok := s.metric(series); !ok || got != want {
		s.t.Errorf("%s = %v, there: %t; want %v", series, got, ok, want)
	}
}

func failures(code, check string) string {
	return fmt.Sprintf(`jitgate_login_failures_total{check=%q,code=%q,idp="acme"}`, check, code)
}

// publish has the identity provider's metadata hold these certificates, and the
// gateway read it.
func (s *site) publish(certificates ...*x509.Certificate) samlsp.Change {
	s.t.Helper()
	m := s.idp.Metadata()
	m.Certificates = certificates
	text, err := m.XML()
	if err != nil {
		s.t.Fatal(err)
	}
	if err := os.WriteFile(s.cfg.IdentityProviders[0].Metadata.File, text, 0o600); err != nil {
		s.t.Fatal(err)
	}
	change, err := s.idps["acme"].Refresh(s.t.Context())
	if err != nil {
		s.t.Fatal(err)
	}
	return change
}

// signIn has ann sign in, and wants this answer with that code, "" for none.
func (s *site) signIn(t *testing.T, status int, code string) {
	t.Helper()
	b := s.browser()
	page, err := b.Login(s.url("wiki", "/"), "acme.example", "ann", "secret")
	if code != "" {
		expect(t, s, "signing in", b, page, err, status, code)
	} else if err != nil || page.Status != status {
		t.Errorf("signing in: %v, %+v; want %d", err, page, status)
	}
}

// Keys of an identity provider that come, end and go, as its users see it.
func TestKeysOfTheIdP(t *testing.T) {
	t.Parallel()
	testenv.Stores(t, func(t *testing.T, rdb redis.UniversalClient) {
		t.Run("C45 rollover with two certificates", func(t *testing.T) {
			s := newSite(t, rdb, setup{})
			if err := s.idp.BeginRollover(); err != nil {
				t.Fatal(err)
			}
			if c := s.publish(s.idp.Certificates()...); len(c.Added) != 1 || len(c.Removed) != 0 {
				t.Errorf("Refresh = %+v, want one certificate added", c)
			}
			s.signIn(t, http.StatusOK, "")
			s.idp.Switch()
			s.signIn(t, http.StatusOK, "")
			s.publish(s.idp.Certificates()[1])
			s.signIn(t, http.StatusForbidden, "saml_invalid") // not any certificate will do
		})
		t.Run("C46 expired certificate", func(t *testing.T) {
			ended := time.Now().Add(-time.Hour).Truncate(time.Second)
			s := newSite(t, rdb, setup{idpSetup: func(o *samltest.Options) {
				var err error
				if o.Key, o.Certificate, err = samltest.SelfSigned("idp", 2048, ended.AddDate(-1, 0, 0), ended); err != nil {
					t.Fatal(err)
				}
			}})
			s.signIn(t, http.StatusForbidden, "saml_invalid")
			s.wantMetric(failures("saml_invalid", "certificate_expired"), 1)
			s.wantMetric(`jitgate_certificate_expiry_timestamp_seconds{idp="acme",use="idp_signing",which="last"}`, float64(ended.Unix()))
			if got := s.logged("login")["check"]; got != "certificate_expired" {
				t.Errorf("logged check = %v, want certificate_expired", got)
			}
			if err := s.idp.BeginRollover(); err != nil {
				t.Fatal(err)
			}
			s.idp.Switch()
			s.publish(s.idp.Certificates()...)
			s.signIn(t, http.StatusOK, "")
			s.wantMetric(failures("saml_invalid", "certificate_expired"), 1)
			s.wantMetric(`jitgate_certificate_expiry_timestamp_seconds{idp="acme",use="idp_signing",which="first"}`, float64(ended.Unix()))
			if last, _ := s.metric(`jitgate_certificate_expiry_timestamp_seconds{idp="acme",use="idp_signing",which="last"}`); last < float64(ended.AddDate(5, 0, 0).Unix()) {
				t.Errorf("the last certificate ends at %v, want years later", last)
			}
		})
		t.Run("C47 removed certificate", func(t *testing.T) {
			s := newSite(t, rdb, setup{})
			s.signIn(t, http.StatusOK, "")
			if err := s.idp.BeginRollover(); err != nil {
				t.Fatal(err)
			}
			if c := s.publish(s.idp.Certificates()[1]); len(c.Added) != 1 || len(c.Removed) != 1 {
				t.Errorf("Refresh = %+v, want one certificate in place of another", c)
			}
			s.signIn(t, http.StatusForbidden, "saml_invalid")
			s.wantMetric(failures("saml_invalid", "signature"), 1)
			s.idp.Switch()
			s.signIn(t, http.StatusOK, "")
		})
	})
}

// TestMetrics looks at each of the metrics, and at who is told.
func TestMetrics(t *testing.T) {
	t.Parallel()
	s := newSite(t, redis.NewClient(&redis.Options{Addr: testenv.Embedded(t).Addr()}), setup{})
	if _, ok := s.metric(failures("saml_replayed", "replayed_request")); ok {
		t.Error("a failure is counted before there is any")
	}
	s.wantMetric(`jitgate_metadata_usable{idp="acme"}`, 1)
	s.wantMetric(`jitgate_metadata_refresh_failures_total{idp="acme"}`, 0)
	loaded, ok := s.metric(`jitgate_metadata_last_success_timestamp_seconds{idp="acme"}`)
	if age := time.Since(time.UnixMilli(int64(loaded * 1000))); !ok || age < 0 || age > time.Minute {
		t.Errorf("the metadata is %s old, there: %t", age, ok)
	}
	if _, ok := s.metric(`jitgate_metadata_valid_until_timestamp_seconds{idp="acme"}`); ok {
		t.Error("metadata without an end has one")
	}
	s.wantMetric(`jitgate_certificate_expiry_timestamp_seconds{idp="",use="sp",which="first"}`, float64(keys().gateway.NotAfter.Unix()))
	if _, ok := s.metric(`jitgate_certificate_expiry_timestamp_seconds{idp="",use="tls",which="first"}`); ok {
		t.Error("a certificate of a listener that has none")
	}

	// What fails next is counted, and the metadata from before stays.
	if err := os.WriteFile(s.cfg.IdentityProviders[0].Metadata.File, []byte("<x/>"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := s.idps["acme"].Refresh(t.Context()); err == nil {
		t.Fatal("no error")
	}
	s.wantMetric(`jitgate_metadata_refresh_failures_total{idp="acme"}`, 1)
	s.wantMetric(`jitgate_metadata_usable{idp="acme"}`, 1)
	s.wantMetric(`jitgate_metadata_last_success_timestamp_seconds{idp="acme"}`, loaded)

	// Counts outlive a new configuration; its TLS certificate is told of.
	b, form := atResponse(t, s)
	page, err := form.Set("SAMLResponse", "garbage!").Submit()
	expect(t, s, "garbage", b, page, err, http.StatusForbidden, "saml_invalid")
	s.wantMetric(failures("saml_invalid", "encoding"), 1)
	o := Options{Config: s.cfg, Redis: s.rdb, IdPs: s.idps, Users: s.users, Log: s.log, TLS: func() []Certificate { return []Certificate{{Certificate: keys().idp.Certificate, Use: UseTLS}} }}
	if err := s.Replace(o); err != nil {
		t.Fatal(err)
	}
	s.wantMetric(failures("saml_invalid", "encoding"), 1)
	s.wantMetric(`jitgate_certificate_expiry_timestamp_seconds{idp="",use="tls",which="last"}`, float64(keys().idp.NotAfter.Unix()))

	// Visitors are told nothing.
	for _, path := range []string{"/metrics", "/.jitgate/metrics"} {
		if res, body := s.get(s.browser(), s.url("sso", path)); res.StatusCode != http.StatusNotFound || strings.Contains(body, "jitgate_") {
			t.Errorf("%s on the public listener: %d %s", path, res.StatusCode, body)
		}
	}
}

// TestReplaysAreCounted has a response come in two browsers.
func TestReplaysAreCounted(t *testing.T) {
	t.Parallel()
	s := newSite(t, redis.NewClient(&redis.Options{Addr: testenv.Embedded(t).Addr()}), setup{})
	b, form := atResponse(t, s)
	cookies := b.Cookies(s.url("sso", "/.jitgate/saml/acme/acs"))
	if page, err := form.Submit(); err != nil || page.Status != http.StatusOK {
		t.Fatalf("signing in: %v, %+v", err, page)
	}
	s.wantNoMetric(failures("saml_replayed", "replayed_assertion"))
	req, err := http.NewRequest(http.MethodPost, s.url("sso", "/.jitgate/saml/acme/acs"), strings.NewReader(form.Values.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	for _, c := range cookies {
		req.AddCookie(c)
	}
	if res, body := s.do(s.browser(), req); res.StatusCode != http.StatusForbidden || !strings.Contains(body, "saml_replayed") {
		t.Errorf("the second time: %d %s", res.StatusCode, body)
	}
	s.wantMetric(failures("saml_replayed", "replayed_assertion"), 1)
}

func (s *site) wantNoMetric(series string) {
	s.t.Helper()
	if got, ok := s.metric(series); ok {
		s.t.Errorf("%s = %v, want none", series, got)
	}
}

// Requests are counted by what became of them, and nothing that a client sends makes
// series of its own.
func TestRequestMetrics(t *testing.T) {
	t.Parallel()
	testenv.Stores(t, func(t *testing.T, rdb redis.UniversalClient) {
		s := newSite(t, rdb, setup{top: "trusted_proxies: [192.0.2.0/24]", apps: "  - {name: fwd, host: wiki.example.com, path: /fwd, forward_auth: true, allow: {any_user: true}}\n"})
		ann := s.signedIn("ann", s.url("wiki", "/"))
		if _, err := s.browser().Login(s.url("wiki", "/"), "acme.example", "bob", "secret"); err != nil {
			t.Fatal(err)
		}
		s.get(ann, s.url("wiki", "/x"))
		s.get(s.browser(), s.url("wiki", "/public/x"))
		s.get(s.browser(), s.url("wiki", "/x"))
		s.get(s.browser(), s.url("wiki", "/x"), "Accept: text/html")
		s.asksAbout("192.0.2.7", "/.jitgate/auth", cookieHeader(ann, s), "X-Forwarded-Host: wiki.example.com", "X-Forwarded-Uri: /fwd/x")
		s.upstream.answer(func(w http.ResponseWriter, _ *http.Request) { panic(http.ErrAbortHandler) })
		s.get(ann, s.url("wiki", "/x"))
		s.get(s.browser(), s.url("wiki", "/.jitgate/nothing"))
		series := func(app, outcome string) string {
			return fmt.Sprintf(`jitgate_http_requests_total{app=%q,outcome=%q}`, app, outcome)
		}
		// Each of the two logins began with a redirect, and ann's ended at the app.
		for series, want := range map[string]float64{
			series("wiki", "forwarded"):                                    3,
			series("wiki", "sign_in"):                                      2,
			series("wiki", "login_required"):                               2,
			series("fwd", "allowed"):                                       1,
			series("wiki", "forbidden"):                                    1,
			series("wiki", "upstream_unavailable"):                         1,
			series("", "not_found"):                                        1,
			`jitgate_http_request_duration_seconds_count{app="wiki"}`:      3,
			`jitgate_logins_total{idp="acme"}`:                             2,
			`jitgate_provisioned_users_total{change="created",idp="acme"}`: 2,
			`jitgate_redis_errors_total`:                                   0,
		} {
			s.wantMetric(series, want)
		}
		if n, ok := s.metric("jitgate_redis_duration_seconds_count"); !ok || n < 5 {
			t.Errorf("Redis was asked %v times", n)
		}
		if offset, ok := s.metric(`jitgate_idp_clock_offset_seconds{idp="acme"}`); !ok || offset > 60 || offset < -60 { // the gateway has the clock of the test, which stands still
			t.Errorf("the identity provider's clock is %v s ahead", offset)
		}
		s.idp.SetAttribute("ann", "displayName", "Somebody Else")
		if _, err := s.browser().Login(s.url("wiki", "/public/"), "acme.example", "ann", "secret"); err != nil {
			t.Fatal(err)
		}
		if _, err := s.browser().Login(s.url("sso", "/tools/"), "acme.example", "ann", "secret"); err != nil {
			t.Fatal(err)
		}
		s.wantMetric(`jitgate_provisioned_users_total{change="updated",idp="acme"}`, 1)

		before := s.seriesOf("jitgate_")
		for i := range 20 {
			s.get(s.browser(), s.url("wiki", fmt.Sprintf("/a%d?b=%d", i, i)), fmt.Sprintf("User-Agent: %d", i))
			s.raw(fmt.Sprintf("M%d /x HTTP/1.1\nHost: h%d.example\nConnection: close\n\n", i, i))
			s.get(s.browser(), s.url("sso", fmt.Sprintf("/.jitgate/login?idp=i%d&domain=d%d", i, i)), "Accept: text/html")
			s.get(s.browser(), s.url("sso", fmt.Sprintf("/.jitgate/saml/i%d/acs", i)))
		}
		if after := s.seriesOf("jitgate_"); after > before+4 { // the codes of what was asked for the first time
			t.Errorf("%d series, where there were %d", after, before)
		}
	})
}

// seriesOf returns how many series there are whose names begin so.
func (s *site) seriesOf(prefix string) int {
	s.t.Helper()
	w := httptest.NewRecorder()
	s.Admin().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	n := 0
	for line := range strings.Lines(w.Body.String()) {
		if strings.HasPrefix(line, prefix) {
			n++
		}
	}
	return n
}

// A Redis that does not answer is counted, and a question without an answer is none.
func TestRedisMetrics(t *testing.T) {
	t.Parallel()
	server := testenv.RedisServer(t)
	s := newSite(t, testenv.Client(t, server.Addr), setup{})
	ann := s.signedIn("ann", s.url("wiki", "/"))
	if _, err := s.rdb.Get(t.Context(), "nothing").Result(); err != redis.Nil {
		t.Fatal(err)
	}
	s.wantMetric("jitgate_redis_errors_total", 0)
	server.Stop()
	if res, _ := s.get(ann, s.url("wiki", "/")); res.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("%d without Redis, want 503", res.StatusCode)
	}
	if n, _ := s.metric("jitgate_redis_errors_total"); n < 1 {
		t.Errorf("%v errors of a Redis that is gone", n)
	}
	s.wantMetric(`jitgate_http_requests_total{app="wiki",outcome="store_unavailable"}`, 1)
}
