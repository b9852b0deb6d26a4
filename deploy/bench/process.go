package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// startTime is how long a server may take until it listens.
const startTime = 20 * time.Second

// A process is a server that was started.
type process struct {
	name   string
	addr   string // host:port on the loopback interface
	log    string // file that it writes to
	config string // jitgate's configuration file
	cmd    *exec.Cmd
	ended  chan struct{}
}

// launch starts a program which is to listen on addr, and waits until it does.
// What it writes goes to a file in dir. It ends with this process.
func launch(ctx context.Context, dir, addr string, cmd *exec.Cmd) (*process, error) {
	p := &process{name: filepath.Base(cmd.Path), addr: addr, cmd: cmd, ended: make(chan struct{})}
	_, port, _ := net.SplitHostPort(addr)
	p.log = filepath.Join(dir, p.name+"-"+port+".log")
	log, err := os.Create(p.log)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		defer close(p.ended)
		cmd.Wait()
	}()
	if err := p.await(ctx); err != nil {
		p.stop()
		text, _ := os.ReadFile(p.log)
		return nil, fmt.Errorf("starting %s: %w\n%s", p.name, err, text)
	}
	return p, nil
}

// await waits until the process listens.
func (p *process) await(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startTime)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		if c, err := net.Dial("tcp", p.addr); err == nil {
			return c.Close()
		}
		select {
		case <-p.ended:
			return errors.New("it ended at once")
		case <-ctx.Done():
			return fmt.Errorf("nothing listens on %s: %w", p.addr, ctx.Err())
		case <-tick.C:
		}
	}
}

// stop ends the process, and its children with it.
func (p *process) stop() {
	p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.ended:
	case <-time.After(startTime):
		p.cmd.Process.Kill()
		<-p.ended
	}
}

// pid returns the ID of the process.
func (p *process) pid() int { return p.cmd.Process.Pid }

// cpu returns the processor time that the process and its children have used.
func (p *process) cpu() (time.Duration, error) {
	var all time.Duration
	stats, err := tree(p.pid())
	for _, s := range stats {
		all += s.cpu
	}
	return all, err
}

// memory returns the bytes that the process and its children have resident.
func (p *process) memory() (int64, error) {
	var all int64
	stats, err := tree(p.pid())
	if err != nil {
		return 0, err
	}
	for _, s := range stats {
		status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.pid))
		if err != nil {
			continue // it has ended
		}
		n, err := parseResident(string(status))
		if err != nil {
			return 0, err
		}
		all += n
	}
	return all, nil
}

// tree returns the processes below pid, itself included.
func tree(pid int) ([]stat, error) {
	files, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return nil, err
	}
	children := make(map[int][]stat)
	var found []stat
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			continue // it has ended
		}
		s, err := parseStat(string(text))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		if s.pid == pid {
			found = append(found, s)
		}
		children[s.parent] = append(children[s.parent], s)
	}
	if len(found) == 0 {
		return nil, fmt.Errorf("process %d has ended", pid)
	}
	for i := 0; i < len(found); i++ {
		found = append(found, children[found[i].pid]...)
	}
	return found, nil
}

// A stat is a line of /proc/PID/stat.
type stat struct {
	pid, parent int
	cpu         time.Duration // with that of children which have ended
}

// tick is the unit of times in /proc (sysconf(_SC_CLK_TCK)): the same on every
// Linux that Go runs on.
const tick = 10 * time.Millisecond

// parseStat reads /proc/PID/stat (proc(5)). The second field is a name in
// parentheses, which may have spaces and parentheses of its own.
func parseStat(line string) (stat, error) {
	open, end := strings.Index(line, " ("), strings.LastIndex(line, ") ")
	if open < 0 || end < open {
		return stat{}, fmt.Errorf("no name in %q", line)
	}
	fields := strings.Fields(line[end+2:]) // from the third on
	if len(fields) < 15 {
		return stat{}, fmt.Errorf("only %d fields after the name in %q", len(fields), line)
	}
	var s stat
	var err error
	number := func(text string) (n int) {
		if err == nil {
			n, err = strconv.Atoi(text)
		}
		return n
	}
	s.pid, s.parent = number(line[:open]), number(fields[1])
	for _, ticks := range fields[11:15] { // utime, stime, cutime, cstime
		s.cpu += time.Duration(number(ticks)) * tick
	}
	return s, err
}

// parseResident returns VmRSS of /proc/PID/status in bytes; a process that is
// ending has none.
func parseResident(status string) (int64, error) {
	for line := range strings.Lines(status) {
		rest, ok := strings.CutPrefix(line, "VmRSS:")
		if !ok {
			continue
		}
		n, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 64)
		return n << 10, err
	}
	return 0, nil
}

// freePort returns a TCP port that was free on 127.0.0.1 a moment ago.
func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}
