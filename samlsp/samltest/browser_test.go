package samltest

import (
	"context"
	"encoding/base64"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"

	"github.com/jitgate/jitgate/deploy/testenv"
)

// A chromium is a real browser in a test.
type chromium struct {
	t   *testing.T
	ctx context.Context
}

func (c chromium) do(steps ...chromedp.Action[chromedp.Void]) {
	c.t.Helper()
	if err := chromedp.Do(c.ctx, steps...); err != nil {
		c.t.Fatal(err)
	}
}

// text waits for an element and returns its text.
func (c chromium) text(selector string) string {
	c.t.Helper()
	text, err := chromedp.Run(c.ctx, chromedp.Text(selector))
	if err != nil {
		c.t.Fatalf("%s: %v", selector, err)
	}
	return text
}

// evaluate returns the value of a JavaScript expression, a string.
func (c chromium) evaluate(expression string) string {
	c.t.Helper()
	value, err := chromedp.Run(c.ctx, chromedp.Evaluate[string](expression))
	if err != nil {
		c.t.Fatalf("%s: %v", expression, err)
	}
	return value
}

// fits fails the test where the page has to be scrolled sideways.
func (c chromium) fits(name string) {
	c.t.Helper()
	over := c.evaluate(`String(document.documentElement.scrollWidth - document.documentElement.clientWidth)`)
	if over != "0" {
		c.t.Errorf("the %s page is %s px wider than the window", name, over)
	}
}

// TestChromium signs in with a real browser, at the width of a small phone. It
// shows what no other test can: that the Content-Security-Policy lets the style
// and the one script in, and that the forms are taken from the IdP's own pages.
func TestChromium(t *testing.T) {
	t.Parallel()
	c := chromium{t, testenv.Chromium(t)}
	posted := make(chan url.Values, 1)
	acs := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost {
			r.ParseForm()
			posted <- r.PostForm
		}
		w.Header().Set("Content-Type", "text/html")
		w.Write([]byte("<p id=there>at the service provider</p>"))
	}))
	t.Cleanup(acs.Close)
	idp, p := serve(t, Options{})
	p.AcsURL.Host = strings.TrimPrefix(acs.URL, "http://")
	addSP(t, idp, p)
	address, id := p.redirect(t)

	c.do(chromedp.EmulateViewport(320, 640), chromedp.Navigate(address), chromedp.WaitVisible("[name=username]"))
	c.fits("login")
	if got, want := c.evaluate("document.title"), "Acme – identity provider"; got != want {
		t.Errorf("title = %q, want %q", got, want)
	}
	if got := c.evaluate(`getComputedStyle(document.querySelector("button")).cursor`); got != "pointer" {
		t.Errorf("cursor over a button = %q, want that of the style sheet", got)
	}
	c.do(chromedp.SendKeys("[name=username]", "ann"), chromedp.SendKeys("[name=password]", "wrong\n"))
	if got, want := c.text("[role=alert]"), "Wrong user name or password."; got != want {
		t.Errorf("alert = %q, want %q", got, want)
	}
	c.fits("login again")
	c.do(chromedp.SendKeys("[name=password]", "a secret\n"), chromedp.WaitVisible("#there"))
	raw, err := base64.StdEncoding.DecodeString((<-posted).Get("SAMLResponse"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.ParseXMLResponse(raw, []string{id}, p.AcsURL); err != nil {
		t.Errorf("answer not accepted: %v\n%s", private(err), raw)
	}
	c.home(idp)
}

// home changes an attribute on the home page and signs out.
func (c chromium) home(idp *IdP) {
	c.t.Helper()
	c.do(chromedp.Navigate(idp.options.URL))
	if got, want := c.text(".bar p"), "This browser is signed in here as ann."; got != want {
		c.t.Errorf("home page says %q, want %q", got, want)
	}
	c.fits("home")
	c.do(
		chromedp.SetValue("[name=attribute-groups]", "sales\nbuyers\nowners"),
		chromedp.Click(`[aria-label="Save ann"]`),
		chromedp.WaitVisible(`[name=attribute-groups][rows="3"]`),
	)
	if u, _ := idp.User("ann"); strings.Join(u.Attributes["groups"], "|") != "sales|buyers|owners" {
		c.t.Errorf("groups = %q, want sales, buyers and owners", u.Attributes["groups"])
	}
	c.do(chromedp.Click(`[action="/logout"] button`), chromedp.WaitVisible(`a[href="/login"]`))
	c.do(chromedp.Navigate(idp.options.URL + "/start?sp=nobody"))
	c.fits("failure")
	c.do(chromedp.EmulateViewport(1280, 900), chromedp.Navigate(idp.options.URL))
	c.fits("wide home")
}
