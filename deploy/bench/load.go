package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A request is what a load consists of.
type request struct {
	addr   string // host:port that is asked
	host   string // in Host
	path   string
	cookie string
	status int // of the answer
	body   int // bytes of it, at least

	script, cookies string // wrk's script and file, for another cookie each time
}

// A load is what came of asking a server for a while.
type load struct {
	Requests int
	Failed   int // not answered as they should have been
	Seconds  float64
	P99      time.Duration
	Bytes    float64 // that were read
}

// wrk asks for r as fast as the answers come.
func wrk(ctx context.Context, r request, connections int, d time.Duration) (load, error) {
	args := []string{"-t1", "-c", strconv.Itoa(connections), "-d", strconv.Itoa(int(d.Seconds())), "--latency",
		"--timeout", "5s", "-H", "Host: " + r.host, "-H", "Accept: text/html"}
	if r.cookie != "" {
		args = append(args, "-H", "Cookie: "+r.cookie)
	}
	args = append(args, "http://"+r.addr+r.path)
	if r.script != "" {
		args = slices.Concat([]string{"-s", r.script}, args, []string{"--", r.cookies, strconv.Itoa(rand.IntN(1 << 30))})
	}
	out, err := exec.CommandContext(ctx, "wrk", args...).CombinedOutput()
	if err != nil {
		return load{}, fmt.Errorf("wrk: %w\n%s", err, out)
	}
	l, err := parseWrk(string(out))
	if err != nil {
		return load{}, err
	}
	// A redirect is no failure for wrk. It is shorter than what was asked for.
	if r.status == http.StatusOK && l.Bytes < float64(l.Requests)*float64(r.body)*0.99 {
		return load{}, fmt.Errorf("%s%s: only %.0f bytes in %d answers, want %d each", r.addr, r.path, l.Bytes, l.Requests, r.body)
	}
	return l, nil
}

var (
	wrkRequests = regexp.MustCompile(`(?m)^\s*(\d+) requests in (\S+), (\S+) read$`)
	wrkP99      = regexp.MustCompile(`(?m)^\s*99%\s+(\S+) ?$`)
	wrkErrors   = regexp.MustCompile(`(?m)^\s*Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)$`)
	wrkStatus   = regexp.MustCompile(`(?m)^\s*Non-2xx or 3xx responses: (\d+)$`)
)

// parseWrk reads what wrk prints.
func parseWrk(out string) (load, error) {
	requests, p99 := wrkRequests.FindStringSubmatch(out), wrkP99.FindStringSubmatch(out)
	if requests == nil || p99 == nil {
		return load{}, fmt.Errorf("wrk printed something else:\n%s", out)
	}
	var l load
	var err error
	if l.Requests, err = strconv.Atoi(requests[1]); err != nil {
		return load{}, err
	}
	took, err := wrkTime(requests[2])
	if err != nil {
		return load{}, err
	}
	l.Seconds = took.Seconds()
	if l.Bytes, err = wrkSize(requests[3]); err != nil {
		return load{}, err
	}
	if l.P99, err = wrkTime(p99[1]); err != nil {
		return load{}, err
	}
	for _, m := range [][]string{wrkErrors.FindStringSubmatch(out), wrkStatus.FindStringSubmatch(out)} {
		for i := 1; i < len(m); i++ {
			n, _ := strconv.Atoi(m[i]) // digits
			l.Failed += n
		}
	}
	return l, nil
}

// wrkTime reads a time like 3.01s or 1.10m, which Go reads as well.
func wrkTime(text string) (time.Duration, error) { return time.ParseDuration(text) }

// wrkSize reads a size like 35.16MB. The units are powers of 1024.
func wrkSize(text string) (float64, error) {
	number := strings.TrimRight(text, "BKMGT")
	n, err := strconv.ParseFloat(number, 64)
	for _, unit := range []string{"KB", "MB", "GB", "TB"} {
		n *= 1024
		if text[len(number):] == unit {
			return n, err
		}
	}
	if text[len(number):] != "B" {
		return 0, fmt.Errorf("%q is not a size", text)
	}
	return n / (1 << 40), err
}

// paced asks for r at a fixed rate, from a process of its own.
func paced(ctx context.Context, r request, rate int, d time.Duration) (load, error) {
	self, err := os.Executable()
	if err != nil {
		return load{}, err
	}
	cmd := exec.CommandContext(ctx, self, "pace", "-addr", r.addr, "-host", r.host, "-path", r.path, "-cookie", r.cookie,
		"-status", strconv.Itoa(r.status), "-body", strconv.Itoa(r.body), "-rate", strconv.Itoa(rate), "-time", d.String())
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return load{}, fmt.Errorf("asking at %d requests/s: %w", rate, err)
	}
	var l load
	return l, json.Unmarshal(out, &l)
}

// probe asks for r once, and returns an error unless the answer is as it should be.
func probe(r request) error {
	req, err := http.NewRequest(http.MethodGet, "http://"+r.addr+r.path, nil)
	if err != nil {
		return err
	}
	req.Host = r.host
	req.Header.Set("Accept", "text/html")
	if r.cookie != "" {
		req.Header.Set("Cookie", r.cookie)
	}
	transport := &http.Transport{DisableKeepAlives: true, DisableCompression: true}
	res, err := transport.RoundTrip(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	n, err := io.Copy(io.Discard, res.Body)
	if err != nil {
		return err
	}
	if res.StatusCode != r.status || n < int64(r.body) {
		return fmt.Errorf("%s%s answers %d with %d bytes, want %d with %d", r.addr, r.path, res.StatusCode, n, r.status, r.body)
	}
	return nil
}
