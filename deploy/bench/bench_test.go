package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

func TestSpread(t *testing.T) {
	t.Parallel()
	tests := []struct {
		values []float64
		want   spread
	}{
		{[]float64{3}, spread{3, 3, 3}},
		{[]float64{4, 2}, spread{2.5, 3, 3.5}},
		{[]float64{5, 1, 4, 2, 3}, spread{2, 3, 4}},
		{[]float64{100, 1, 1, 1, 1}, spread{1, 1, 1}}, // one bad round moves nothing
	}
	for _, tt := range tests {
		if got := spreadOf(tt.values); got != tt.want {
			t.Errorf("spread of %v = %v, want %v", tt.values, got, tt.want)
		}
	}
}

// TestRatio holds that rounds are compared one by one: the machine was twice as
// slow in the second, for both.
func TestRatio(t *testing.T) {
	t.Parallel()
	of := func(cpu ...time.Duration) (r result) {
		for _, c := range cpu {
			r.samples = append(r.samples, sample{load{Requests: 10}, used{cpu: c}})
		}
		return r
	}
	base, other := of(10*time.Second, 20*time.Second, 10*time.Second), of(15*time.Second, 30*time.Second, 15*time.Second)
	if got, want := figure(cpuPerRequest).ratio(other, base), (spread{1.5, 1.5, 1.5}); got != want {
		t.Errorf("ratio = %v, want %v", got, want)
	}
}

func TestParseWrk(t *testing.T) {
	t.Parallel()
	const good = `Running 3s test @ http://127.0.0.1:8080/
  1 threads and 32 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency     1.61ms    1.21ms  18.46ms   82.41%
    Req/Sec    20.51k     1.46k   23.69k    73.33%
  Latency Distribution
     50%    1.33ms
     75%    2.11ms
     90%    3.10ms
     99%    5.75ms
  61231 requests in 3.00s, 71.12MB read
%sRequests/sec:  20396.49
Transfer/sec:     23.69MB
`
	want := load{Requests: 61231, Seconds: 3, P99: 5750 * time.Microsecond, Bytes: 71.12 * (1 << 20)}
	for extra, failed := range map[string]int{
		"": 0,
		"  Socket errors: connect 1, read 20, write 300, timeout 4000\n":                          4321,
		"  Non-2xx or 3xx responses: 17\n":                                                        17,
		"  Socket errors: connect 0, read 2, write 0, timeout 0\n  Non-2xx or 3xx responses: 5\n": 7,
	} {
		want.Failed = failed
		got, err := parseWrk(strings.Replace(good, "%s", extra, 1))
		if err != nil || got != want {
			t.Errorf("with %q: %+v, %v, want %+v", extra, got, err, want)
		}
	}
	slow := strings.NewReplacer("%s", "", "5.75ms", "1.92s ").Replace(good) // it pads the shorter unit
	if got, err := parseWrk(slow); err != nil || got.P99 != 1920*time.Millisecond {
		t.Errorf("slow answers: %+v, %v, want a p99 of 1.92s", got, err)
	}
	if _, err := parseWrk("unable to connect to 127.0.0.1:1 Connection refused\n"); err == nil {
		t.Error("no error where wrk did not run")
	}
}

func TestWrkSize(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]float64{"512.00B": 512, "1.50KB": 1536, "2.00MB": 2 << 20, "3.00GB": 3 << 30, "1.00TB": 1 << 40} {
		if got, err := wrkSize(text); err != nil || got != want {
			t.Errorf("%s is %v, %v, want %v", text, got, err, want)
		}
	}
	for _, text := range []string{"", "MB", "5", "5XB", "5.0MBB"} {
		if got, err := wrkSize(text); err == nil {
			t.Errorf("%q is %v, want an error", text, got)
		}
	}
}

func TestParseStat(t *testing.T) {
	t.Parallel()
	const rest = " S 7 42 42 0 -1 4194560 1 2 3 4 150 25 30 5 20 0 1 0 100 1 1 1"
	want := stat{pid: 42, parent: 7, cpu: 2100 * time.Millisecond}
	for _, name := range []string{"jitgate", "a b", "a) R 9 (b", "()"} {
		if got, err := parseStat("42 (" + name + ")" + rest); err != nil || got != want {
			t.Errorf("with the name %q: %+v, %v, want %+v", name, got, err, want)
		}
	}
	for _, line := range []string{"", "42 jitgate S 7", "42 (jitgate) S 7 42", "x (jitgate)" + rest} {
		if got, err := parseStat(line); err == nil {
			t.Errorf("%q is %+v, want an error", line, got)
		}
	}
}

func TestParseResident(t *testing.T) {
	t.Parallel()
	got, err := parseResident("Name:\tjitgate\nVmHWM:\t   99999 kB\nVmRSS:\t   12345 kB\nThreads:\t9\n")
	if err != nil || got != 12345<<10 {
		t.Errorf("%d, %v, want %d", got, err, 12345<<10)
	}
	if got, err := parseResident("Name:\tzombie\n"); err != nil || got != 0 {
		t.Errorf("%d, %v, want 0", got, err)
	}
}

// TestRefused holds that a candidate with a failed request gets no figures, and
// neither does anybody where it is the one that all are compared with.
func TestRefused(t *testing.T) {
	t.Parallel()
	good := result{name: "good", samples: []sample{{load{Requests: 1, Seconds: 1, P99: 1}, used{cpu: 1}}}}
	bad := good
	bad.name, bad.failed = "bad", 3
	for _, tt := range []struct {
		results []result
		refused int
	}{{[]result{good, good}, 0}, {[]result{good, bad}, 1}, {[]result{bad, good}, 2}} {
		var out strings.Builder
		r := report{out: &out}
		r.requests("title", tt.results)
		if got := strings.Count(out.String(), "| refused: "); got != tt.refused {
			t.Errorf("%d rows refused, want %d:\n%s", got, tt.refused, out.String())
		}
		if got := r.err(); (got != nil) != (tt.refused > 0) {
			t.Errorf("error %v with %d rows refused", got, tt.refused)
		}
	}
}

// TestPace asks a real server, which counts.
func TestPace(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Host != "bench.example" || r.Header.Get("Cookie") != "a=b" {
			w.WriteHeader(http.StatusBadRequest)
		}
		fmt.Fprint(w, "hello")
	}))
	defer server.Close()
	p := pace{rate: 320, time: time.Second / 2}
	p.request = request{addr: server.Listener.Addr().String(), host: "bench.example", path: "/", cookie: "a=b", status: 200, body: 5}
	if got := p.run(); got.Requests != 160 || got.Failed != 0 || got.P99 <= 0 || got.Seconds < 0.4 {
		t.Errorf("%+v, want 160 requests in half a second, none failed", got)
	}
	for name, change := range map[string]func(*request){
		"status": func(r *request) { r.cookie = "" },
		"body":   func(r *request) { r.body = 6 },
	} {
		wrong := p
		change(&wrong.request)
		if got := wrong.run(); got.Failed != got.Requests || got.Requests != 160 {
			t.Errorf("with a wrong %s: %+v, want all failed", name, got)
		}
	}
}

func TestParseTraffic(t *testing.T) {
	t.Parallel()
	const info = "# Commandstats\r\ncmdstat_get:calls=7,usec=1,usec_per_call=1\r\ncmdstat_client|setinfo:calls=40,usec=1\r\ncmdstat_info:calls=50,usec=1\r\n" +
		"cmdstat_config|get:calls=5,usec=1\r\n\r\n# Stats\r\ntotal_reads_processed:123\r\ntotal_writes_processed:9\r\n"
	got, err := parseTraffic(info)
	if want := (traffic{commands: 12, trips: 123}); err != nil || got != want {
		t.Errorf("%+v, %v, want %+v", got, err, want)
	}
	if got, err := parseTraffic("# Commandstats\r\n"); err == nil {
		t.Errorf("without the number of reads: %+v, want an error", got)
	}
}
