package main

import (
	"crypto/tls"
	"os"
	"sync"
	"time"

	"go.uber.org/zap"
)

// certificateAge is how long a certificate is served before its files are
// looked at again.
const certificateAge = 10 * time.Second

// A certificate is a TLS certificate that is read again when its files change,
// so that a renewal needs no restart.
type certificate struct {
	certFile, keyFile string
	log               *zap.Logger

	mu      sync.Mutex
	pair    *tls.Certificate
	changed [2]time.Time // of the two files, when pair was read
	looked  time.Time
}

func (c *certificate) config() *tls.Config {
	return &tls.Config{
		MinVersion:     tls.VersionTLS12,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return c.get(time.Now()) },
	}
}

// get returns the certificate as of now. When the files can't be read or do not
// fit (a renewal may be half written), the one before goes on being served.
func (c *certificate) get(now time.Time) (*tls.Certificate, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.pair != nil && now.Sub(c.looked) < certificateAge {
		return c.pair, nil
	}
	c.looked = now
	changed := [2]time.Time{modified(c.certFile), modified(c.keyFile)}
	if c.pair != nil && changed == c.changed {
		return c.pair, nil
	}
	pair, err := tls.LoadX509KeyPair(c.certFile, c.keyFile)
	if err != nil {
		if c.pair == nil {
			return nil, err
		}
		c.log.Error("tls certificate not read; the one before stays", zap.String("cert_file", c.certFile), zap.Error(err))
		return c.pair, nil
	}
	if c.pair != nil {
		c.log.Info("tls certificate read again", zap.String("cert_file", c.certFile))
	}
	c.pair, c.changed = &pair, changed
	return c.pair, nil
}

// use serves the certificate of other files from now on, which have to be good.
func (c *certificate) use(certFile, keyFile string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.certFile, c.keyFile = certFile, keyFile
	c.looked, c.changed = time.Time{}, [2]time.Time{}
}

// modified returns when a file was last written, the zero time if that can't be told.
func modified(file string) time.Time {
	info, err := os.Stat(file)
	if err != nil {
		return time.Time{}
	}
	return info.ModTime()
}
