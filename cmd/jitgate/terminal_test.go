package main

import (
	"slices"
	"strings"
	"testing"
)

func TestTableWidths(t *testing.T) {
	t.Parallel()
	rows := [][]any{
		{"ann", "acme.example", "admins,engineers,everybody,people who work late", "-"},
		{"東京の人", "globex.example", "-", "blocked"},
		{"e\u0301mile\x1b[2J\r", "acme.example", 3, "-"},
	}
	for _, test := range []struct {
		name    string
		columns int
		want    string
	}{
		{"anywhere but on a terminal", 0, `
USER        DOMAIN          GROUPS                                           BLOCKED
ann         acme.example    admins,engineers,everybody,people who work late  -
東京の人    globex.example  -                                                blocked
émile�[2J�  acme.example    3                                                -
`},
		{"50 columns", 50, `
USER        DOMAIN         GROUPS          BLOCKED
ann         acme.example   admins,engine…  -
東京の人    globex.examp…  -               blocked
émile�[2J�  acme.example   3               -
`},
		{"no room at all", 8, `
USER    DOMAIN  GROUPS  BLOCK…
ann     acme.…  admin…  -
東京…   globe…  -       block…
émile…  acme.…  3       -
`},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			var out strings.Builder
			table := newTable(&out, "USER", "DOMAIN", "GROUPS", "BLOCKED")
			table.columns = test.columns
			for _, row := range rows {
				table.row(row...)
			}
			if err := table.flush(); err != nil {
				t.Fatal(err)
			}
			if got := "\n" + out.String(); got != test.want {
				t.Errorf("got:%s\nwant:%s", got, test.want)
			}
		})
	}
}

// A list that comes in pages has its headers once, and columns that only grow.
func TestTablePages(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	table := newTable(&out, "USER", "GROUPS")
	for _, row := range [][]any{{"ann", 3}, {"robert", 12}, {"zoe", 1}} {
		table.row(row...)
		if err := table.flush(); err != nil {
			t.Fatal(err)
		}
	}
	const want = "USER  GROUPS\nann   3\nrobert  12\nzoe     1\n"
	if out.String() != want {
		t.Errorf("got:\n%s\nwant:\n%s", out.String(), want)
	}
}

func TestWrapText(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		text    string
		columns int
		want    []string
	}{
		{"idp=acme code=saml_invalid  reason=too old", 24, []string{"idp=acme", "code=saml_invalid", "reason=too old"}},
		{"idp=acme code=saml_invalid reason=too old", 26, []string{"idp=acme code=saml_invalid", "reason=too old"}},
		{"user=東京の人 x", 13, []string{"user=東京の人", "x"}},
		{"a request=0123456789 b", 8, []string{"a", "request=0123456789", "b"}},
		{"", 8, []string{""}},
	} {
		if got := wrapText(test.text, test.columns); !slices.Equal(got, test.want) {
			t.Errorf("wrapText(%q, %d) = %q, want %q", test.text, test.columns, got, test.want)
		}
	}
}
