package proxy

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"github.com/jitgate/jitgate/deploy/testenv"
	"github.com/jitgate/jitgate/samlsp/samltest"
)

// A login in a real browser, typed into the discovery page: its content security
// policy must let the form lead to the identity provider, by whatever redirects,
// and the POST binding's page submit itself.
func TestChromium(t *testing.T) {
	for name, change := range map[string]func(*samltest.Options){"redirect binding": nil, "POST binding": postOnly} {
		t.Run(name, func(t *testing.T) {
			ctx := testenv.Chromium(t)
			s := newSite(t, testenv.Client(t, testenv.Embedded(t).Addr()), setup{http: true, idpSetup: change, idps: `
  - {name: other, directory: other, metadata: {file: second.xml}}`})
			do := func(steps ...chromedp.Action[chromedp.Void]) {
				t.Helper()
				short, cancel := context.WithTimeout(ctx, 20*time.Second)
				defer cancel()
				if err := chromedp.Do(short, steps...); err != nil {
					t.Fatalf("%v; last: %v", err, s.logged("request"))
				}
			}
			do(
				chromedp.Navigate(s.url("wiki", "/deep?x=1")),
				chromedp.WaitVisible("#domain"),
				chromedp.SendKeys("#domain", "ann@acme.example\r"),
				chromedp.WaitVisible("input[name=password]"),
				chromedp.SendKeys("input[name=username]", "ann"),
				chromedp.SendKeys("input[name=password]", "secret\r"),
			)
			// The log tells when a page has come: chromedp may wait in vain on the one
			// that was there before.
			eventually(t, "signed in", func() bool { return s.logged("request")["app"] == "wiki" && s.logged("request")["user"] == "ann" })
			// A page that is still being loaded may get in the way of the next one.
			open := func(address string) {
				t.Helper()
				eventually(t, address, func() bool { return chromedp.Do(ctx, chromedp.Navigate(address)) == nil })
			}
			open(s.url("wiki", "/again"))
			do(chromedp.WaitVisible("pre"))
			body, err := chromedp.Run(ctx, chromedp.Text("pre"))
			if err != nil || !strings.Contains(body, `"X-Forwarded-User":["ann"]`) {
				t.Errorf("%s, %v", body, err)
			}
			open(s.url("wiki", "/.jitgate/logout"))
			do(chromedp.Click("form button"))
			eventually(t, "signed out, here and there", func() bool {
				location, err := chromedp.Run(ctx, chromedp.Location())
				return err == nil && location == s.url("wiki", "/.jitgate/logout?idp=everywhere")
			})
			open(s.url("wiki", "/again"))
			do(chromedp.WaitVisible("#domain"), chromedp.Click("a.button"))
			do(chromedp.WaitVisible("input[name=password]")) // the identity provider has signed out too
		})
	}
}
