package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"syscall"

	"github.com/coreos/go-systemd/v22/activation"
)

// sockets are those that a service manager listens on for us, by the names it gives them
// (sd_listen_fds(3)).
type sockets map[string]net.Listener

func inherited() (sockets, error) {
	passed := make(sockets)
	var wrong error
	for _, f := range activation.Files(true) {
		l, err := inherit(f)
		f.Close()
		switch {
		case err != nil:
			wrong = fmt.Errorf("the service manager passes a socket called %q: %w", f.Name(), err)
		case passed[f.Name()] != nil:
			wrong = fmt.Errorf("the service manager passes several sockets called %q, want one", f.Name())
			l.Close()
		default:
			passed[f.Name()] = l
		}
	}
	if wrong != nil {
		passed.close()
	}
	return passed, wrong
}

// inherit returns a listener for a copy of what a service manager passed. It has to be of
// TCP: of visitors who come by another way nobody knows the address, and whoever reaches
// the admin socket may do everything.
func inherit(f *os.File) (net.Listener, error) {
	listens, err := syscall.GetsockoptInt(int(f.Fd()), syscall.SOL_SOCKET, syscall.SO_ACCEPTCONN)
	if err == nil && listens == 0 {
		err = errors.New("nobody listens on it; want ListenStream, without Accept=yes")
	}
	if err != nil {
		return nil, err
	}
	l, err := net.FileListener(f)
	if err == nil && l.Addr().Network() != "tcp" {
		l.Close()
		err = fmt.Errorf("it is of %s at %q, want a port of TCP", l.Addr().Network(), l.Addr())
	}
	return l, err
}

// open returns the socket of a name or, where there is none, one that is bound to the
// address.
func (s sockets) open(what, network, address string) (net.Listener, error) {
	if l, ok := s[what]; ok && network == "tcp" {
		delete(s, what)
		return l, nil
	}
	return bind(network, address)
}

// close closes those that nobody opened.
func (s sockets) close() {
	for _, l := range s {
		l.Close()
	}
}

// names returns what those listeners are called whose sockets can be passed.
func names(all []*listener) string {
	var what []string
	for _, l := range all {
		if l.Addr().Network() == "tcp" {
			what = append(what, l.what)
		}
	}
	return strings.Join(what, ", ")
}

// bind listens on an address. A Unix socket is for its owner alone, and one
// that a dead process left behind is taken over.
func bind(network, address string) (net.Listener, error) {
	if network != "unix" {
		return net.Listen(network, address)
	}
	if c, err := net.Dial(network, address); err == nil {
		c.Close()
		return nil, fmt.Errorf("%q is in use by a running gateway", address)
	}
	if info, err := os.Lstat(address); err == nil && info.Mode()&os.ModeSocket != 0 {
		os.Remove(address)
	}
	// The mode must be right from the first moment: chmod would come too late.
	old := syscall.Umask(0o177)
	defer syscall.Umask(old)
	return net.Listen(network, address)
}
