package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"net/http"
	"sync/atomic"

	"golang.org/x/crypto/acme"
	"golang.org/x/crypto/acme/autocert"

	"github.com/jitgate/jitgate/config"
)

// An acmeCertificates gets the certificates that visitors are shown, and renews them.
type acmeCertificates struct {
	manager *autocert.Manager
	hosts   atomic.Pointer[map[string]bool] // those that it gets any for
}

func newACME(cfg *config.Config) (*acmeCertificates, error) {
	a := new(acmeCertificates)
	a.use(cfg)
	c := cfg.TLS.ACME
	client := &acme.Client{DirectoryURL: c.Directory}
	if c.CAFile != "" {
		conf, err := (&config.ClientTLS{CAFile: c.CAFile}).Config()
		if err != nil {
			return nil, fmt.Errorf("tls.acme: %w", err)
		}
		client.HTTPClient = &http.Client{Transport: &http.Transport{TLSClientConfig: conf}}
	}
	a.manager = &autocert.Manager{
		Prompt: autocert.AcceptTOS, Cache: autocert.DirCache(c.Cache), Email: c.Email, Client: client,
		HostPolicy: func(_ context.Context, host string) error {
			if !(*a.hosts.Load())[host] {
				return fmt.Errorf("no app is at %q", host)
			}
			return nil
		},
	}
	return a, nil
}

// use has it get certificates for the hosts of cfg from now on.
func (a *acmeCertificates) use(cfg *config.Config) {
	hosts := map[string]bool{cfg.Base().Hostname(): true}
	for _, app := range cfg.Apps {
		hosts[app.Host] = true
	}
	a.hosts.Store(&hosts)
}

func (a *acmeCertificates) config() *tls.Config {
	c := a.manager.TLSConfig() // which also answers the questions of the authority
	c.MinVersion = tls.VersionTLS12
	return c
}
