package testenv

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"
)

const (
	maxRedirects   = 20 // as browsers have it
	maxAutoSubmits = 5
)

// A Browser visits pages as a person's browser does, without the weight of a real
// one: it keeps cookies by the rules of SameSite, Secure and __Host-, sends Origin
// and Sec-Fetch headers, follows redirects, and submits by itself the forms that
// carry SAML messages. It runs no scripts.
//
// Every host name leads to 127.0.0.1, so that a test has as many hosts as it
// likes and never leaves the machine. It is not for use by several goroutines.
type Browser struct {
	// Hold stops before a form with a SAMLResponse is submitted: Open and the
	// others then return the page with that form, for a test to change it, keep
	// it, or submit it with [Form.Submit].
	Hold bool
	// Trail is every request so far, as "GET http://host/path 302", without query.
	Trail []string

	transport *http.Transport
	jar       jar
}

// NewBrowser returns a browser without cookies. Certificates that roots vouch for
// are trusted; nil trusts none.
func NewBrowser(t testing.TB, roots *x509.CertPool) *Browser {
	if roots == nil {
		roots = x509.NewCertPool()
	}
	b := &Browser{transport: &http.Transport{
		DialContext:     dialLoopback,
		TLSClientConfig: &tls.Config{RootCAs: roots},
	}}
	t.Cleanup(b.transport.CloseIdleConnections)
	return b
}

// Open goes to an address as if it had been typed in.
func (b *Browser) Open(address string) (*Page, error) {
	u, err := url.Parse(address)
	if err != nil {
		return nil, err
	}
	return b.navigate(visit{method: http.MethodGet, url: u})
}

// Post sends a form as a page of another site would, like that of an identity
// provider or of an attacker.
func (b *Browser) Post(address string, values url.Values) (*Page, error) {
	u, err := url.Parse(address)
	if err != nil {
		return nil, err
	}
	elsewhere := &url.URL{Scheme: "https", Host: "elsewhere.example"}
	return b.navigate(visit{method: http.MethodPost, url: u, body: values, from: elsewhere})
}

// Login opens an address and answers what it is asked on the way: the domain on a
// discovery page, login name and password at an identity provider. It returns the
// page where nothing more is asked, whatever that is.
func (b *Browser) Login(address, domain, user, password string) (*Page, error) {
	page, err := b.Open(address)
	askedDomain, askedPassword := false, false
	for err == nil {
		if f, ok := page.FormWith("domain"); ok && domain != "" {
			if askedDomain {
				return page, fmt.Errorf("domain %q was not accepted: %s", domain, page.Text())
			}
			askedDomain = true
			page, err = f.Set("domain", domain).Submit()
			continue
		}
		f, ok := page.passwordForm()
		if !ok {
			return page, nil
		}
		if askedPassword {
			return page, fmt.Errorf("password of %q was not accepted: %s", user, page.Text())
		}
		askedPassword = true
		page, err = f.signIn(user, password).Submit()
	}
	return page, err
}

// Do sends one request as a script on a page of the same origin would: with the
// cookies, without following redirects. The caller closes the body.
func (b *Browser) Do(req *http.Request) (*http.Response, error) {
	if req.Header.Get("Sec-Fetch-Mode") == "" {
		req.Header.Set("Sec-Fetch-Mode", "cors")
		req.Header.Set("Sec-Fetch-Site", "same-origin")
	}
	return b.send(req, navigation{method: req.Method, sameSite: true})
}

// Cookies returns the cookies that a visit to the address would send, with the
// attributes that they were set with.
func (b *Browser) Cookies(address string) []*http.Cookie {
	u, err := url.Parse(address)
	if err != nil {
		return nil
	}
	return b.jar.forRequest(u, navigation{method: http.MethodGet, sameSite: true})
}

// SetCookie stores a cookie as if the address had set it.
func (b *Browser) SetCookie(address string, c *http.Cookie) error {
	u, err := url.Parse(address)
	if err != nil {
		return err
	}
	b.jar.set(u, []*http.Cookie{c})
	return nil
}

// Forget drops the cookies of a host, or where name is not empty that one alone.
func (b *Browser) Forget(host, name string) { b.jar.remove(host, name) }

// A visit is a navigation: one request and the redirects that follow from it.
type visit struct {
	method string
	url    *url.URL
	body   url.Values
	from   *url.URL // the page it starts from; nil: typed in
}

// navigate follows a visit to a page, and from there as far as forms submit
// themselves.
func (b *Browser) navigate(v visit) (*Page, error) {
	for range maxAutoSubmits {
		page, err := b.load(v)
		if err != nil {
			return nil, err
		}
		f, ok := page.messageForm()
		if !ok || b.Hold && f.Values.Has("SAMLResponse") {
			return page, nil
		}
		v = f.visit(field{})
	}
	return nil, fmt.Errorf("more than %d forms in a row submit themselves at %s", maxAutoSubmits, v.url)
}

// load follows redirects to a page.
func (b *Browser) load(v visit) (*Page, error) {
	relation := "none"
	for range maxRedirects {
		relation = worse(relation, v)
		resp, err := b.request(v, relation)
		if err != nil {
			return nil, err
		}
		body, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil {
			return nil, fmt.Errorf("reading %s: %w", v.url, err)
		}
		location := resp.Header.Get("Location")
		if location == "" || resp.StatusCode < 300 || resp.StatusCode > 399 {
			return newPage(b, v.url, resp, body)
		}
		next, err := v.url.Parse(location)
		if err != nil {
			return nil, fmt.Errorf("redirect of %s: %w", v.url, err)
		}
		if next.Scheme != "http" && next.Scheme != "https" {
			return nil, fmt.Errorf("redirect of %s leads to %q", v.url, location)
		}
		v.url = next
		if resp.StatusCode != http.StatusTemporaryRedirect && resp.StatusCode != http.StatusPermanentRedirect {
			v.method, v.body = http.MethodGet, nil
		}
	}
	return nil, fmt.Errorf("more than %d redirects, the last to %s", maxRedirects, v.url)
}

// worse is the value of Sec-Fetch-Site after one more URL of a redirect chain:
// it tells the most distant one.
func worse(relation string, v visit) string {
	switch {
	case v.from == nil:
		return "none"
	case relation == "cross-site" || !sameSite(v.from, v.url):
		return "cross-site"
	case relation == "same-site" || v.from.Host != v.url.Host:
		return "same-site"
	}
	return "same-origin"
}

// request sends one request of a navigation.
func (b *Browser) request(v visit, relation string) (*http.Response, error) {
	req := &http.Request{Method: v.method, URL: v.url, Header: http.Header{
		"User-Agent":                {"Mozilla/5.0 (X11; Linux x86_64) testenv"},
		"Accept":                    {"text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"},
		"Accept-Language":           {"en"},
		"Upgrade-Insecure-Requests": {"1"},
	}}
	if trustworthy(v.url) {
		req.Header.Set("Sec-Fetch-Site", relation)
		req.Header.Set("Sec-Fetch-Mode", "navigate")
		req.Header.Set("Sec-Fetch-Dest", "document")
		req.Header.Set("Sec-Fetch-User", "?1")
	}
	if v.method == http.MethodPost {
		body := v.body.Encode()
		req.Body, req.ContentLength = io.NopCloser(strings.NewReader(body)), int64(len(body))
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		if v.from != nil {
			req.Header.Set("Origin", v.from.Scheme+"://"+v.from.Host)
		}
	}
	return b.send(req, navigation{method: v.method, sameSite: v.from == nil || sameSite(v.from, v.url)})
}

func (b *Browser) send(req *http.Request, n navigation) (*http.Response, error) {
	u := *req.URL
	u.Fragment, u.RawFragment = "", ""
	req.URL = &u
	for _, c := range b.jar.forRequest(&u, n) {
		req.AddCookie(c)
	}
	ctx, cancel := context.WithTimeout(req.Context(), time.Minute)
	resp, err := b.transport.RoundTrip(req.WithContext(ctx))
	u.RawQuery = ""
	if err != nil {
		cancel()
		b.Trail = append(b.Trail, fmt.Sprintf("%s %s failed", req.Method, &u))
		return nil, fmt.Errorf("%s %s: %w", req.Method, &u, err)
	}
	b.Trail = append(b.Trail, fmt.Sprintf("%s %s %d", req.Method, &u, resp.StatusCode))
	resp.Body = cancelBody{resp.Body, cancel}
	b.jar.set(&u, resp.Cookies())
	return resp, nil
}

// cancelBody gives up a request's deadline when its body is closed.
type cancelBody struct {
	io.ReadCloser
	cancel context.CancelFunc
}

func (c cancelBody) Close() error {
	defer c.cancel()
	return c.ReadCloser.Close()
}

// dialLoopback connects to the port on 127.0.0.1, whatever the name is.
func dialLoopback(ctx context.Context, network, address string) (net.Conn, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	if ip := net.ParseIP(host); ip == nil {
		host = "127.0.0.1"
	} else if !ip.IsLoopback() {
		return nil, errors.New("not on this machine")
	}
	return (&net.Dialer{}).DialContext(ctx, network, net.JoinHostPort(host, port))
}
