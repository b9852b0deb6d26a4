package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/jitgate/jitgate/proxy"
	"github.com/jitgate/jitgate/samlsp"
)

const (
	// warnBefore is how long before the end of a certificate there are warnings:
	// an IdP's administrators may need weeks to take a new one.
	warnBefore = 30 * 24 * time.Hour

	// warnEvery is how often the log has them, and lookEvery how soon it has those
	// of a certificate that is new.
	warnEvery, lookEvery = 24 * time.Hour, 10 * time.Second
)

// endsSoon reports whether a certificate has to be replaced now. One that an authority
// renews should be another when a third of its time is left: in the last quarter it is late.
func endsSoon(c proxy.Certificate, now time.Time) bool {
	before := warnBefore
	if c.Use == proxy.UseACME {
		before = c.NotAfter.Sub(c.NotBefore) / 4
	}
	return c.NotAfter.Sub(now) < before
}

// watchCertificates warns, until ctx ends, of each certificate in the list that
// ends soon: when it is new there, and then once a day.
func watchCertificates(ctx context.Context, list func() []proxy.Certificate, log *zap.Logger) {
	type one struct{ use, idp, fingerprint string }
	warned := make(map[one]time.Time)
	for {
		now := time.Now()
		for _, c := range list() {
			which := one{c.Use, c.IdP, samlsp.Fingerprint(c.Certificate)}
			if !endsSoon(c, now) || now.Sub(warned[which]) < warnEvery {
				continue
			}
			warned[which] = now
			logEnd(log, c, now)
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(lookEvery):
		}
	}
}

func logEnd(log *zap.Logger, c proxy.Certificate, now time.Time) {
	text := "certificate ends soon"
	if c.NotAfter.Before(now) {
		text = "certificate has ended"
	}
	log.Warn(text, zap.String("use", c.Use), zap.String("idp", c.IdP), zap.String("certificate", samlsp.Fingerprint(c.Certificate)),
		zap.Time("not_after", c.NotAfter), zap.Int("days_left", daysUntil(c.NotAfter, now)))
}

// daysUntil returns the whole days from now until then, less than 0 if then is past.
func daysUntil(then, now time.Time) int {
	days := int(then.Sub(now) / (24 * time.Hour))
	if then.Before(now) {
		days--
	}
	return days
}

// endWarning is what check says of a certificate that ends soon.
func endWarning(c proxy.Certificate, now time.Time) string {
	what := map[string]string{
		proxy.UseIdP:    fmt.Sprintf("identity provider %q: its signing certificate", c.IdP),
		proxy.UseSigner: fmt.Sprintf("identity provider %q: the certificate in signer_file", c.IdP),
		proxy.UseSP:     "saml.cert_file: the certificate",
		proxy.UseTLS:    "tls.cert_file: the certificate",
		proxy.UseACME:   "tls.acme: the certificate of " + strings.Join(c.DNSNames, ", "),
	}[c.Use]
	verb, days := "ends", daysUntil(c.NotAfter, now)
	when := "in " + count(days, "day")
	if days < 0 {
		verb, when = "ended", count(-days-1, "day")+" ago"
	}
	return fmt.Sprintf("%s %s %s on %s, %s", what, samlsp.Fingerprint(c.Certificate)[:16], verb, c.NotAfter.Format(time.DateOnly), when)
}

// leaves returns the certificate that is served now, none if there is none.
func (c *certificate) leaves() []proxy.Certificate {
	pair, err := c.get(time.Now())
	if err != nil {
		return nil
	}
	return []proxy.Certificate{{Certificate: pair.Leaf, Use: proxy.UseTLS}}
}

// leaves returns the certificates that there are now, as they are kept.
func (a *acmeCertificates) leaves() []proxy.Certificate {
	var all []proxy.Certificate
	for host := range *a.hosts.Load() {
		data, err := a.manager.Cache.Get(context.Background(), host)
		if err != nil {
			continue // none yet
		}
		if pair, err := tls.X509KeyPair(data, data); err == nil { // the key is there too
			all = append(all, proxy.Certificate{Certificate: pair.Leaf, Use: proxy.UseACME})
		}
	}
	return all
}
