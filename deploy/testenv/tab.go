package testenv

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"
)

// tabLimit is how long a step in a [Tab] may take.
const tabLimit = 20 * time.Second

// A Tab is one of a real browser, for tests that are people: they look at what can be
// seen, type and click. A step that cannot be done fails the test, with what is there
// instead.
type Tab struct {
	t   testing.TB
	ctx context.Context
}

// NewTab starts a browser as [Chromium] does, and returns its tab.
func NewTab(t testing.TB, o ...BrowserOption) *Tab {
	t.Helper()
	return &Tab{t, Chromium(t, o...)}
}

// Beside opens one more tab of the same browser.
func (b *Tab) Beside() *Tab {
	b.t.Helper()
	return b.another(b.t)
}

// Apart opens a tab of the same browser that shares no cookies with it, for as long as a
// test takes.
func (b *Tab) Apart(t testing.TB) *Tab {
	t.Helper()
	return b.another(t, chromedp.WithNewBrowserContext())
}

func (b *Tab) another(t testing.TB, o ...chromedp.ContextOption) *Tab {
	t.Helper()
	ctx, cancel := chromedp.NewContext(b.ctx, o...)
	t.Cleanup(cancel)
	if err := chromedp.Do(ctx); err != nil {
		t.Fatalf("opening a tab: %v", err)
	}
	return &Tab{t, ctx}
}

// do runs a step.
func (b *Tab) do(what string, step chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, tabLimit)
	defer cancel()
	if err := chromedp.Do(ctx, step); err != nil {
		b.t.Fatalf("%s: %v\nat %s", what, err, b.where())
	}
}

// where says what there is, for a test that failed.
func (b *Tab) where() string {
	ctx, cancel := context.WithTimeout(b.ctx, tabLimit)
	defer cancel()
	there, _ := chromedp.Run(ctx, chromedp.Evaluate[string]("location.href + ': ' + document.body?.innerText"))
	return there
}

// Open goes to an address.
func (b *Tab) Open(address string) {
	b.t.Helper()
	// A page that is still being loaded may get in the way of the next one.
	Eventually(b.t, func() error {
		ctx, cancel := context.WithTimeout(b.ctx, tabLimit)
		defer cancel()
		return chromedp.Do(ctx, chromedp.Navigate(address))
	})
}

// See waits until there is something to see that the CSS selector names.
func (b *Tab) See(selector string) {
	b.t.Helper()
	b.await(fmt.Sprintf("document.querySelector(%q)?.checkVisibility() === true", selector))
}

// Has waits until there is something that the CSS selector names, to see or not.
func (b *Tab) Has(selector string) {
	b.t.Helper()
	b.await(fmt.Sprintf("document.querySelector(%q) !== null && document.readyState === 'complete'", selector))
}

// Focused waits until what the CSS selector names has the focus, in a page that is whole.
func (b *Tab) Focused(selector string) {
	b.t.Helper()
	b.await(fmt.Sprintf("document.activeElement?.matches(%q) === true && document.readyState === 'complete'", selector))
}

// await waits until an expression is true. chromedp's own queries know nothing of a
// page that the back button brought as it was left.
func (b *Tab) await(expression string) {
	b.t.Helper()
	Eventually(b.t, func() error {
		ctx, cancel := context.WithTimeout(b.ctx, tabLimit)
		defer cancel()
		ok, err := chromedp.Run(ctx, chromedp.Evaluate[bool](expression))
		if err == nil && !ok {
			err = fmt.Errorf("not %s, at %s", expression, b.where())
		}
		return err
	})
}

// Type types into a field.
func (b *Tab) Type(selector, text string) {
	b.t.Helper()
	b.do("typing into "+selector, chromedp.SendKeys(chromedp.CSS(selector), text))
}

// Press presses keys, wherever the focus is.
func (b *Tab) Press(keys string) {
	b.t.Helper()
	b.do(fmt.Sprintf("pressing %q", keys), chromedp.KeyEvent(keys))
}

// Click clicks on something.
func (b *Tab) Click(selector string) {
	b.t.Helper()
	b.do("clicking on "+selector, chromedp.Click(chromedp.CSS(selector)))
}

// Back presses the browser's back button.
func (b *Tab) Back() {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, tabLimit)
	defer cancel()
	// The page may come as it was left, without being loaded, for which chromedp waits; and
	// the answer may be lost with the page that is left.
	_, _ = chromedp.Run(ctx, chromedp.Evaluate[bool]("(history.back(), true)"))
}

// Text returns what can be read of something, with single spaces.
func (b *Tab) Text(selector string) string {
	b.t.Helper()
	text := Eval[string](b, fmt.Sprintf("document.querySelector(%q)?.innerText ?? ''", selector))
	return strings.Join(strings.Fields(text), " ")
}

// At waits until the tab is at an address.
func (b *Tab) At(address string) {
	b.t.Helper()
	b.await(fmt.Sprintf("location.href === %q && document.readyState === 'complete'", address))
}

// Eval returns the value of an expression in the page, or of what it promises.
func Eval[T any](b *Tab, expression string) T {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, tabLimit)
	defer cancel()
	value, err := chromedp.Run(ctx, chromedp.Evaluate[T](expression, chromedp.EvalAwaitPromise))
	if err != nil {
		b.t.Fatalf("evaluating %.200s: %v\nat %s", expression, err, b.where())
	}
	return value
}

// Look has the page shown so many pixels wide, in dark or in light.
func (b *Tab) Look(width int64, dark bool) {
	b.t.Helper()
	b.do("changing the size", chromedp.EmulateViewport(width, 900))
	scheme := "light"
	if dark {
		scheme = "dark"
	}
	media := emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}}}
	if _, err := chromedp.Call(b.ctx, emulation.SetEmulatedMedia, media); err != nil {
		b.t.Fatalf("changing the colors: %v", err)
	}
}

// Clock has scripts of pages to come see a clock that is wrong by so much.
func (b *Tab) Clock(wrong time.Duration) {
	b.t.Helper()
	script := page.AddScriptToEvaluateOnNewDocumentParams{Source: fmt.Sprintf("{ const now = Date.now; Date.now = () => now() + %d }", wrong.Milliseconds())}
	if _, err := chromedp.Call(b.ctx, page.AddScriptToEvaluateOnNewDocument, script); err != nil {
		b.t.Fatalf("changing the clock: %v", err)
	}
}

// WithoutScripts has pages run none from now on.
func (b *Tab) WithoutScripts() {
	b.t.Helper()
	if _, err := chromedp.Call(b.ctx, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: true}); err != nil {
		b.t.Fatalf("turning scripts off: %v", err)
	}
}

// axe returns the source of axe-core.
func axe(t testing.TB) string {
	t.Helper()
	source, err := os.ReadFile(Cached("node_modules", "axe-core", "axe.min.js"))
	if err != nil {
		Need(t, "axe-core", "deploy/testenv/install.sh")
	}
	return string(source)
}

// Accessible fails the test where something is wrong with the page for those who do not
// see it as most do.
func (b *Tab) Accessible(what string) {
	b.t.Helper()
	for _, problem := range b.problems() {
		b.t.Errorf("%s: %s", what, problem)
	}
}

// problems are what axe-core finds, and whether the page is wider than the window.
func (b *Tab) problems() []string {
	b.t.Helper()
	source := axe(b.t)
	if !Eval[bool](b, "'axe' in window") {
		Eval[bool](b, source+";'axe' in window")
	}
	found := Eval[[]string](b, `axe.run(document, {resultTypes: ["violations"]}).then(r => r.violations.map(v => v.id + ": " + v.help + ": " + v.nodes.map(n => n.html + " " + n.failureSummary).join("; ")))`)
	if wide := Eval[int](b, "document.documentElement.scrollWidth - innerWidth"); wide > 0 {
		found = append(found, fmt.Sprintf("width: %d pixels wider than the window", wide))
	}
	return found
}

// Picture writes what is to be seen to a file of the folder that JITGATE_PICTURES
// names, if it does.
func (b *Tab) Picture(name string) {
	b.t.Helper()
	folder := os.Getenv("JITGATE_PICTURES")
	if folder == "" {
		return
	}
	ctx, cancel := context.WithTimeout(b.ctx, tabLimit)
	defer cancel()
	png, err := chromedp.Run(ctx, chromedp.FullScreenshot(100))
	if err == nil {
		err = os.WriteFile(filepath.Join(folder, name+".png"), png, 0o600)
	}
	if err != nil {
		b.t.Fatalf("picture %s: %v", name, err)
	}
}
