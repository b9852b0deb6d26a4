package main

import (
	"bufio"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"
)

// paceConnections is how many connections a fixed rate is spread over.
const paceConnections = 32

// answerTime is how long an answer may take.
const answerTime = 5 * time.Second

// A pace is a load of a fixed rate.
type pace struct {
	request
	rate int
	time time.Duration
}

// servePace asks a server at a fixed rate and prints the load as JSON.
func servePace(args []string, out io.Writer) error {
	var p pace
	f := flag.NewFlagSet("pace", flag.ContinueOnError)
	f.StringVar(&p.addr, "addr", "", "")
	f.StringVar(&p.host, "host", "", "")
	f.StringVar(&p.path, "path", "/", "")
	f.StringVar(&p.cookie, "cookie", "", "")
	f.IntVar(&p.status, "status", 200, "")
	f.IntVar(&p.body, "body", 0, "")
	f.IntVar(&p.rate, "rate", 2000, "")
	f.DurationVar(&p.time, "time", 3*time.Second, "")
	if err := f.Parse(args); err != nil {
		return err
	}
	return json.NewEncoder(out).Encode(p.run())
}

// run asks from all connections, each at its own moments, evenly spread.
func (p pace) run() load {
	begin := time.Now()
	every := time.Second * paceConnections / time.Duration(p.rate)
	results := make([]chan time.Duration, paceConnections)
	failed := make([]int, paceConnections)
	var all []time.Duration
	var asking sync.WaitGroup
	for i := range paceConnections {
		results[i] = make(chan time.Duration, int(p.time/every)+1)
		first := begin.Add(every * time.Duration(i) / paceConnections)
		asking.Go(func() {
			defer close(results[i])
			failed[i] = p.ask(first, every, results[i])
		})
	}
	asking.Wait()
	l := load{Seconds: time.Since(begin).Seconds()}
	for i, r := range results {
		for latency := range r {
			all = append(all, latency)
		}
		l.Failed += failed[i]
	}
	l.Requests = len(all)
	slices.Sort(all)
	if len(all) > 0 {
		l.P99 = all[len(all)*99/100]
	}
	return l
}

// ask sends a request at every moment that is due, over one connection, and tells
// how long the answers took. It returns how many failed.
//
// Where an answer comes so late that the next request is overdue, that one waits
// as well, and its time counts from when it was due. Where the request was not
// overdue, it counts from when it was sent: that the timer was late is no fault
// of the server.
func (p pace) ask(due time.Time, every time.Duration, took chan<- time.Duration) (failed int) {
	end := due.Add(p.time)
	var c *connection
	for ; due.Before(end); due = due.Add(every) {
		sent := due
		if wait := time.Until(due); wait > 0 {
			time.Sleep(wait)
			sent = time.Now()
		}
		var err error
		if c == nil {
			c, err = p.dial()
		}
		if err == nil {
			err = c.ask(p.request)
		}
		took <- time.Since(sent)
		if err != nil {
			failed++
			c.close()
			c = nil
		}
	}
	c.close()
	return failed
}

// A connection is one to the server that is asked. A nil one is closed.
type connection struct {
	net.Conn
	in   *bufio.Reader
	text []byte
}

func (p pace) dial() (*connection, error) {
	conn, err := net.Dial("tcp", p.addr)
	if err != nil {
		return nil, err
	}
	cookie := ""
	if p.cookie != "" {
		cookie = "Cookie: " + p.cookie + "\r\n"
	}
	text := fmt.Sprintf("GET %s HTTP/1.1\r\nHost: %s\r\nAccept: text/html\r\n%s\r\n", p.path, p.host, cookie)
	return &connection{conn, bufio.NewReader(conn), []byte(text)}, nil
}

func (c *connection) close() {
	if c != nil {
		c.Close()
	}
}

// ask sends the request and reads the answer.
func (c *connection) ask(r request) error {
	c.SetDeadline(time.Now().Add(answerTime))
	if _, err := c.Write(c.text); err != nil {
		return err
	}
	res, err := http.ReadResponse(c.in, nil)
	if err != nil {
		return err
	}
	n, err := io.Copy(io.Discard, res.Body)
	if err != nil {
		return err
	}
	if res.StatusCode != r.status || n < int64(r.body) || res.Close {
		return fmt.Errorf("status %d, %d bytes, close: %v", res.StatusCode, n, res.Close)
	}
	return nil
}
