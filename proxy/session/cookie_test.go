package session

import (
	"bytes"
	"net/http"
	"strings"
	"testing"
	"time"
)

func key(b byte) []byte { return bytes.Repeat([]byte{b}, 64) }

func ring(t testing.TB, purpose string, keys ...[]byte) Keyring {
	t.Helper()
	k, err := NewKeyring(keys, purpose, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func seal(t testing.TB, k Keyring, name, value string) string {
	t.Helper()
	sealed, err := k.Seal(name, []byte(value))
	if err != nil {
		t.Fatal(err)
	}
	return sealed
}

func TestKeyring(t *testing.T) {
	t.Parallel()
	t.Run("H09 keys that were replaced, or were never ours", testKeyring)
}

func testKeyring(t *testing.T) {
	oldOnly := seal(t, ring(t, "session", key(1)), "c", "v")
	rotated := seal(t, ring(t, "session", key(2), key(1)), "c", "v")
	prepared := seal(t, ring(t, "session", key(1), key(2)), "c", "v")
	for _, test := range []struct {
		why    string
		ring   Keyring
		name   string
		sealed string
		want   bool
	}{
		{"the same key", ring(t, "session", key(1)), "c", oldOnly, true},
		{"sealed before the new key was put first", ring(t, "session", key(2), key(1)), "c", oldOnly, true},
		{"sealed with the new key, read by a replica where it is second", ring(t, "session", key(1), key(2)), "c", rotated, true},
		{"the old key is dropped", ring(t, "session", key(2)), "c", oldOnly, false},
		{"the newest key seals", ring(t, "session", key(2)), "c", rotated, true},
		{"a key that is second does not seal yet", ring(t, "session", key(2)), "c", prepared, false},
		{"unknown key", ring(t, "session", key(3)), "c", oldOnly, false},
		{"another purpose", ring(t, "login", key(1)), "c", oldOnly, false},
		{"under another name", ring(t, "session", key(1)), "d", oldOnly, false},
		{"nothing", ring(t, "session", key(1)), "c", "", false},
		{"cut short", ring(t, "session", key(1)), "c", oldOnly[:len(oldOnly)-4], false},
		{"longer than a cookie", ring(t, "session", key(1)), "c", strings.Repeat("A", 5000), false},
	} {
		got, ok := test.ring.Open(test.name, test.sealed)
		if ok != test.want || ok && string(got) != "v" {
			t.Errorf("%s: Open = %q, %v, want %v", test.why, got, ok, test.want)
		}
	}
	if _, err := NewKeyring(nil, "session", time.Hour); err == nil {
		t.Error("a keyring without keys")
	}
	if _, err := ring(t, "session", key(1)).Seal("c", make([]byte, 4000)); err == nil {
		t.Error("sealed more than a cookie can hold")
	}
}

// Every single changed character is noticed.
func TestKeyringTampered(t *testing.T) {
	t.Parallel()
	k := ring(t, "session", key(1))
	sealed := seal(t, k, "c", "some value")
	for i := range len(sealed) {
		b := []byte(sealed)
		if b[i] = 'A'; sealed[i] == 'A' {
			b[i] = 'B'
		}
		// The last letters before padding have bits that decode to nothing.
		if got, ok := k.Open("c", string(b)); ok && string(got) != "some value" {
			t.Errorf("position %d changed: opened as %q", i, got)
		}
	}
}

func TestSealLeavesItsArgument(t *testing.T) {
	t.Parallel()
	value := []byte("kept as it was")
	if _, err := ring(t, "session", key(1)).Seal("c", value); err != nil || string(value) != "kept as it was" {
		t.Errorf("after Seal, value = %q, %v", value, err)
	}
}

func TestCookie(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		why   string
		lines []string
		want  string
		ok    bool
	}{
		{"alone", []string{"s=1"}, "1", true},
		{"among others", []string{"a=2; s=1; b=3"}, "1", true},
		{"in the second line, as HTTP/2 sends it", []string{"a=2", "s=1"}, "1", true},
		{"none", []string{"a=2; ss=1; s1=1"}, "", false},
		{"no header", nil, "", false},
		{"twice: one of them is somebody else's", []string{"s=1; s=2"}, "", false},
		{"twice over two lines", []string{"s=1", "s=2"}, "", false},
		{"twice, one with a value that net/http would pass over", []string{"s=\x01; s=2"}, "", false},
		{"twice, one without a value", []string{"s; s=2"}, "", false},
		{"twice, one quoted", []string{`s="1"; s=2`}, "", false},
		{"other case is another name", []string{"S=1; s=2"}, "2", true},
	} {
		got, ok := Cookie(http.Header{"Cookie": test.lines}, "s")
		if ok != test.ok || ok && got != test.want {
			t.Errorf("%s: Cookie = %q, %v, want %q, %v", test.why, got, ok, test.want, test.ok)
		}
	}
}

// Nothing but what was sealed opens, by no name and ring but its own, whatever
// there is beside it in the header; and nothing panics.
func FuzzOpen(f *testing.F) {
	k, other := ring(f, "session", key(1), key(2)), ring(f, "login", key(1), key(2))
	sealed := seal(f, k, "c", "the value")
	for _, s := range []string{sealed, sealed[4:], sealed + "=", sealed + "\n", strings.ToLower(sealed), seal(f, other, "c", "the value"), seal(f, k, "d", "the value"), "fHx8", ""} {
		f.Add("c", s)
	}
	f.Add("d", sealed)
	f.Fuzz(func(t *testing.T, name, s string) {
		if got, ok := k.Open(name, s); ok && (string(got) != "the value" || name != "c" && name != "d") {
			t.Errorf("%q opened as %q under %q", s, got, name)
		}
		if got, ok := other.Open(name, s); ok && (string(got) != "the value" || name != "c") {
			t.Errorf("%q opened as %q under %q, in a ring for something else", s, got, name)
		}
		h := http.Header{"Cookie": {"a=1; c=" + s}}
		value, ok := Cookie(h, "c")
		if ok && !strings.Contains(s, ";") && strings.Trim(s, " \t") != value {
			t.Errorf("cookie %q is read as %q", s, value)
		}
		h.Add("Cookie", "c="+sealed)
		if value, ok := Cookie(h, "c"); ok {
			t.Errorf("%q: the cookie came twice and is read as %q", s, value)
		}
	})
}

func BenchmarkOpen(b *testing.B) {
	k := ring(b, "session", key(1))
	sealed := seal(b, k, "c", strings.Repeat("i", 32))
	b.ReportAllocs()
	for b.Loop() {
		if _, ok := k.Open("c", sealed); !ok {
			b.Fatal("not opened")
		}
	}
}
