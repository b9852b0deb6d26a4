package main

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"

	"github.com/jitgate/jitgate/deploy/testenv"
)

// TestBrowser signs in to the demo with a real browser, as a visitor does.
func TestBrowser(t *testing.T) {
	t.Parallel()
	browser := testenv.Chromium(t)
	port, err := testenv.FreePorts(3)
	if err != nil {
		t.Fatal(err)
	}
	base := fmt.Sprintf("http://localhost:%d", port)
	demo := start(t, "demo", "--port", fmt.Sprint(port))
	testenv.Eventually(t, func() error {
		if !strings.Contains(demo.stdout.String(), "demo is ready") {
			return fmt.Errorf("the demo is not ready: %s%s", demo.stdout, demo.stderr)
		}
		return nil
	})
	where := func() string {
		ctx, cancel := context.WithTimeout(browser, waitLimit)
		defer cancel()
		at, _ := chromedp.Run(ctx, chromedp.Location())
		page, _ := chromedp.Run(ctx, chromedp.Text(chromedp.CSS("body")))
		return at + ": " + page
	}
	do := func(steps ...chromedp.Action[chromedp.Void]) {
		t.Helper()
		for i, step := range steps {
			ctx, cancel := context.WithTimeout(browser, waitLimit)
			err := chromedp.Do(ctx, step)
			cancel()
			if err != nil {
				t.Fatalf("step %d: %v\nat %s", i, err, where())
			}
		}
	}
	text := func(selector string) string {
		t.Helper()
		text, err := chromedp.Run(browser, chromedp.Text(chromedp.CSS(selector)))
		if err != nil {
			t.Fatalf("%s: %v\nat %s", selector, err, where())
		}
		return strings.Join(strings.Fields(text), " ")
	}
	const (
		domain   = chromedp.CSS(`input[name=domain]`)
		name     = chromedp.CSS(`input[name=username]`)
		password = chromedp.CSS(`input[type=password]`)
	)
	signIn := func(user string) {
		t.Helper()
		do(chromedp.WaitVisible(password), chromedp.SendKeys(name, user), chromedp.SendKeys(password, user+"\r"),
			chromedp.WaitVisible(chromedp.CSS(`#asked`)))
	}

	// A page deep in the app, and who is asked for on the way. The field has the
	// focus: one types at once.
	deep := base + "/reports?week=47&q=a%20b"
	do(chromedp.Navigate(deep), chromedp.WaitVisible(domain), chromedp.KeyEvent("alice@nowhere.example\r"),
		chromedp.WaitVisible(chromedp.CSS(`[role=alert]`)))
	if got := text(`[role=alert]`); !strings.Contains(got, "not known here") {
		t.Errorf("an unknown domain says %q, want that it is not known here", got)
	}
	do(chromedp.Clear(domain), chromedp.SendKeys(domain, "alice@acme.example\r"))
	signIn("alice")
	if at, err := chromedp.Run(browser, chromedp.Location()); err != nil || at != deep {
		t.Errorf("landed on %s (%v), want %s", at, err, deep)
	}
	if got, want := text(`#asked`), "GET /reports?week=47&q=a%20b"; got != want {
		t.Errorf("the app saw %q, want %q", got, want)
	}
	got := text(`table`)
	for _, want := range []string{
		"X-Forwarded-User alice@acme.example", "X-Forwarded-Email alice@acme.example",
		"X-Forwarded-Groups engineers,project-apollo,project-gemini,staff", "X-Jitgate-Directory acme",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("the app got %s, want %q in it", got, want)
		}
	}

	// Signed out, and in again at the second domain.
	do(chromedp.Navigate(base+"/.jitgate/logout"), chromedp.Click(chromedp.CSS(`form[method=post] button`)),
		chromedp.WaitNotPresent(chromedp.CSS(`form[method=post] button`)),
		chromedp.Navigate(base+"/builds"), chromedp.WaitVisible(domain), chromedp.SendKeys(domain, "globex.example\r"))
	signIn("dana")
	got = text(`table`)
	for _, want := range []string{"X-Forwarded-User dana@globex.example", "X-Forwarded-Groups engineers,project-hammock,staff"} {
		if !strings.Contains(got, want) {
			t.Errorf("the app got %s, want %q in it", got, want)
		}
	}
	if demo.stop() != 0 {
		t.Error("the demo did not end with status 0")
	}
}

// tabSignsIn opens a page for which ann has to sign in, and does.
func tabSignsIn(tab *testenv.Tab, page string) {
	tab.Open(page)
	tab.See("input[type=password]")
	tab.Type("input[name=username]", "ann")
	tab.Type("input[type=password]", "ann\r")
}

// tabSignsOut signs out of the gateway, and everywhere.
func tabSignsOut(tab *testenv.Tab, base string) {
	tab.Open(base + "/.jitgate/logout")
	tab.Click("form[method=post] button")
	tab.At(base + "/.jitgate/logout?idp=everywhere")
}

// TestForwardAuthBrowser signs in and out with a real browser through each proxy that
// there is.
func TestForwardAuthBrowser(t *testing.T) {
	t.Parallel()
	browser := testenv.NewTab(t)
	for _, p := range forwardProxies {
		t.Run(p.name, func(t *testing.T) { // one by one: a browser of its own takes longer
			s := newForwardSite(t)
			s.start(p)
			tab, page := browser.Apart(t), s.gateway.base+"/page?a=1&b=%2F"
			signIn := func() {
				t.Helper()
				tabSignsIn(tab, page)
				tab.At(page)
				if got := tab.Text("pre"); !strings.Contains(got, `"X-Forwarded-User":["ann@acme.example"]`) {
					t.Errorf("the app got %s", got)
				}
			}
			signIn()
			tabSignsOut(tab, s.gateway.base)
			signIn()
		})
	}
}
