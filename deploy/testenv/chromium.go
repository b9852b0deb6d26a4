package testenv

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
)

// A BrowserOption is something that is different in a browser.
type BrowserOption int

// WithoutCookies is a browser that keeps no cookies, as its person wants it.
const WithoutCookies BrowserOption = 1

// Chromium starts a real browser and returns a context for chromedp.Do. It has
// no window, a profile of its own, and ends with the test, or after two minutes.
// As for [Browser], every host name leads to 127.0.0.1.
func Chromium(t testing.TB, o ...BrowserOption) context.Context {
	t.Helper()
	var path string
	for _, name := range []string{"chromium", "google-chrome", "chromium-browser"} {
		if found, err := exec.LookPath(name); err == nil {
			path = found
			break
		}
	}
	if path == "" {
		Need(t, "Chromium", "apt-get install chromium")
	}
	profile, err := os.MkdirTemp("", "jitgate-chromium-")
	if err != nil {
		t.Fatal(err)
	}
	if slices.Contains(o, WithoutCookies) {
		settings := filepath.Join(profile, "Default", "Preferences")
		if err := os.MkdirAll(filepath.Dir(settings), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(settings, []byte(`{"profile": {"default_content_setting_values": {"cookies": 2}}}`), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	options := []chromedp.ExecAllocatorOption{
		chromedp.ExecPath(path),
		chromedp.UserDataDir(profile),
		chromedp.NoSandbox, // a test may well run as root
		chromedp.NoFirstRun,
		chromedp.Headless,
		chromedp.DisableGPU,
		chromedp.WindowSize(1280, 900),
		// No talk with anything but the servers of the test.
		chromedp.Flag("disable-background-networking", true),
		chromedp.Flag("disable-component-update", true),
		chromedp.Flag("disable-sync", true),
		chromedp.Flag("disable-quic", true),
		chromedp.Flag("host-resolver-rules", "MAP * 127.0.0.1"),
		// Containers often have a small one.
		chromedp.Flag("disable-dev-shm-usage", true),
		chromedp.WSURLReadTimeout(time.Minute),
	}
	ctx, cancelTime := context.WithTimeout(context.Background(), 2*time.Minute)
	ctx, cancelAllocator := chromedp.NewExecAllocator(ctx, options...)
	ctx, cancelTab := chromedp.NewContext(ctx)
	t.Cleanup(func() {
		chromedp.Cancel(ctx) // asks it to close, and waits until it has
		cancelTab()
		cancelAllocator()
		cancelTime()
		os.RemoveAll(profile)
	})
	if err := chromedp.Do(ctx); err != nil {
		t.Fatalf("starting %s: %v", path, err)
	}
	return ctx
}
