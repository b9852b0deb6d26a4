package console

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// A chart shows the largest series and all others as one, below a round number.
func TestChart(t *testing.T) {
	t.Parallel()
	day := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	for _, test := range []struct {
		why    string
		series [][]int64 // named a, b and so on
		shown  string
		levels string
		bars   []string
	}{
		{"nothing", nil, "", "0 1", nil},
		{"one", [][]int64{{0, 1}}, "a=1", "0 1", []string{"Mar 2: a 1"}},
		{"the largest first", [][]int64{{1, 2}, {4, 0}}, "b=4 a=3", "0 3 6", []string{"Mar 1: b 4", "Mar 1: a 1", "Mar 2: a 2"}},
		{"of one size by name", [][]int64{{0, 7}, {7, 0}}, "a=7 b=7", "0 4 8", []string{"Mar 1: b 7", "Mar 2: a 7"}},
		{"six have room", [][]int64{{1, 0}, {1, 0}, {1, 0}, {1, 0}, {1, 0}, {1, 0}}, "a=1 b=1 c=1 d=1 e=1 f=1", "0 3 6", nil},
		{"seven have not", [][]int64{{1, 0}, {9, 0}, {8, 0}, {7, 0}, {0, 2}, {5, 0}, {6, 0}}, "b=9 c=8 d=7 g=6 f=5 2 others=3", "0 20 40", nil},
		{"many", [][]int64{{1000, 1}}, "a=1001", "0 500 1000", []string{"Mar 1: a 1000", "Mar 2: a 1"}},
		{"and one more", [][]int64{{1001, 0}}, "a=1001", "0 1000 2000", nil},
	} {
		c := Chart{Times: []time.Time{day, day.AddDate(0, 0, 1)}, Format: "Jan 2"}
		for i, values := range test.series {
			c.Series = append(c.Series, Series{Name: string(rune('a' + i)), Values: values})
		}
		var shown, levels, bars []string
		for i, s := range c.Shown() {
			shown = append(shown, fmt.Sprintf("%s=%d", s.Name, s.Sum()))
			if s.Class != i {
				t.Errorf("%s: %s has color %d, want %d", test.why, s.Name, s.Class, i)
			}
		}
		for _, m := range c.Levels() {
			levels = append(levels, m.Text)
		}
		for _, b := range c.Bars() {
			bars = append(bars, b.Label)
		}
		if got := strings.Join(shown, " "); got != test.shown {
			t.Errorf("%s: shown are %q, want %q", test.why, got, test.shown)
		}
		if got := strings.Join(levels, " "); got != test.levels {
			t.Errorf("%s: levels are %q, want %q", test.why, got, test.levels)
		}
		if test.bars != nil && !slices.Equal(bars, test.bars) {
			t.Errorf("%s: bars are %q, want %q", test.why, bars, test.bars)
		}
	}
}
