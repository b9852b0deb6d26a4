package console

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"time"
)

// maxSeries is how many series of a chart have a color of their own; the smaller ones
// are others.
const maxSeries = 5

// A Chart is bars over time, each made of what its series had.
type Chart struct {
	Title  string
	Unit   string      // of what is counted
	Times  []time.Time // of each bar
	Format string      // of a time, for people
	Series []Series
}

// A Series is what one of those counted had at each time.
type Series struct {
	Name   string
	Values []int64
	Class  int // of its color, set by [Chart.Shown]
}

// Sum returns all that the series had.
func (s Series) Sum() int64 {
	var sum int64
	for _, v := range s.Values {
		sum += v
	}
	return sum
}

// Shown returns the series that are shown: the largest first, the small ones as one.
func (c *Chart) Shown() []Series {
	shown := slices.Clone(c.Series)
	slices.SortStableFunc(shown, func(a, b Series) int { return cmp.Or(cmp.Compare(b.Sum(), a.Sum()), cmp.Compare(a.Name, b.Name)) })
	if len(shown) > maxSeries+1 {
		rest := Series{Name: fmt.Sprintf("%d others", len(shown)-maxSeries), Values: make([]int64, len(c.Times))}
		for _, s := range shown[maxSeries:] {
			for i, v := range s.Values {
				rest.Values[i] += v
			}
		}
		shown = append(shown[:maxSeries], rest)
	}
	for i := range shown {
		shown[i].Class = i
	}
	return shown
}

// Sum returns all that is in the chart.
func (c *Chart) Sum() int64 {
	var sum int64
	for _, s := range c.Series {
		sum += s.Sum()
	}
	return sum
}

// The picture is 720 by 200 units, with room for the labels at the left and below.
const (
	left, right, top, bottom = 44, 716, 8, 172
)

// A Bar is a part of a bar.
type Bar struct {
	X, Y, Width, Height string
	Class               int
	Label               string
}

// Bars returns what is to be drawn.
func (c *Chart) Bars() []Bar {
	shown, most := c.Shown(), c.ceiling()
	if len(c.Times) == 0 {
		return nil
	}
	step := float64(right-left) / float64(len(c.Times))
	var bars []Bar
	for i, at := range c.Times {
		y := float64(bottom)
		for _, s := range shown {
			if s.Values[i] == 0 {
				continue
			}
			height := float64(bottom-top) * float64(s.Values[i]) / float64(most)
			y -= height
			bars = append(bars, Bar{
				X: units(left + float64(i)*step + step*0.1), Y: units(y), Width: units(step * 0.8), Height: units(height), Class: s.Class,
				Label: fmt.Sprintf("%s: %s %d", at.Format(c.Format), s.Name, s.Values[i]),
			})
		}
	}
	return bars
}

// A Mark is a label at an axis.
type Mark struct {
	X, Y string
	Text string
}

// Levels returns the marks of the axis at the left.
func (c *Chart) Levels() []Mark {
	most := c.ceiling()
	var marks []Mark
	for i := range int64(3) {
		value := most * i / 2
		if i == 1 && most%2 != 0 {
			continue
		}
		marks = append(marks, Mark{X: units(left - 6), Y: units(bottom - float64(bottom-top)*float64(value)/float64(most)), Text: strconv.FormatInt(value, 10)})
	}
	return marks
}

// Ticks returns the marks of the axis below: no more than there is room for.
func (c *Chart) Ticks() []Mark {
	every := max((len(c.Times)+7)/8, 1)
	step := float64(right-left) / float64(max(len(c.Times), 1))
	var marks []Mark
	for i := 0; i < len(c.Times); i += every {
		marks = append(marks, Mark{X: units(left + (float64(i)+0.5)*step), Y: units(bottom + 18), Text: c.Times[i].Format(c.Format)})
	}
	return marks
}

// ceiling returns the least round number that no bar exceeds.
func (c *Chart) ceiling() int64 {
	most := int64(1)
	for i := range c.Times {
		var sum int64
		for _, s := range c.Series {
			sum += s.Values[i]
		}
		most = max(most, sum)
	}
	for scale := int64(1); ; scale *= 10 {
		for _, round := range []int64{1, 2, 4, 6, 8, 10} {
			if round*scale >= most {
				return round * scale
			}
		}
	}
}

// units returns a length in the picture.
func units(f float64) string { return strconv.FormatFloat(f, 'f', 1, 64) }
