package main

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.uber.org/zap"

	"github.com/jitgate/jitgate/config"
	"github.com/jitgate/jitgate/provision"
	"github.com/jitgate/jitgate/proxy"
	"github.com/jitgate/jitgate/samlsp"
)

// A gateway is everything that serve and demo run: the parts of one
// configuration, wired. cfg and idps are replaced when it is reloaded.
type gateway struct {
	cfg   *config.Config
	log   *zap.Logger
	rdb   redis.UniversalClient
	idps  map[string]*samlsp.SP
	proxy *proxy.Gateway
	tls   *certificate // nil for plain HTTP
	acme  *acmeCertificates
	spans *sdk.TracerProvider // nil where nothing is traced
	close func()

	file    string          // that the configuration is from
	reloads chan chan error // questions whether file can be put in its place
	ending  chan struct{}   // closed when it drains
}

// assemble wires the gateway that cfg describes. Nothing runs and nothing
// listens yet, and neither Redis nor an IdP is asked anything.
func assemble(cfg *config.Config, log *zap.Logger) (*gateway, error) {
	rdb, closeRedis, err := openRedis(cfg.Redis, log)
	if err != nil {
		return nil, err
	}
	g := &gateway{cfg: cfg, log: log, rdb: rdb, reloads: make(chan chan error), ending: make(chan struct{})}
	g.close = func() {
		flush(g.spans, log)
		closeRedis()
	}
	switch t := cfg.TLS; {
	case t != nil && t.ACME != nil:
		g.acme, err = newACME(cfg)
	case t != nil:
		g.tls = &certificate{certFile: t.CertFile, keyFile: t.KeyFile, log: log}
	}
	var o proxy.Options
	if err == nil {
		g.spans, err = newTracing(cfg.Tracing, log)
	}
	if err == nil {
		o, err = g.options(cfg)
	}
	if err == nil {
		g.idps = o.IdPs
		g.proxy, err = proxy.New(o)
	}
	if err != nil {
		g.close()
		return nil, err
	}
	return g, nil
}

// options wires what the proxy of cfg is made of.
func (g *gateway) options(cfg *config.Config) (proxy.Options, error) {
	users, err := provision.New(g.rdb, cfg.Redis.KeyPrefix, cfg)
	if err != nil {
		return proxy.Options{}, err
	}
	idps, err := serviceProviders(cfg, g.rdb)
	if err != nil {
		return proxy.Options{}, err
	}
	o := proxy.Options{Config: cfg, Redis: g.rdb, IdPs: idps, Users: users, Log: g.log, Reload: g.askReload}
	switch {
	case g.tls != nil:
		o.TLS = g.tls.leaves
	case g.acme != nil:
		o.TLS = g.acme.leaves
	}
	if g.spans != nil {
		o.Traces = g.spans
	}
	return o, nil
}

// serviceProviders makes one service provider for each IdP of cfg. Where no
// response is to be verified, rdb may be nil.
func serviceProviders(cfg *config.Config, rdb redis.UniversalClient) (map[string]*samlsp.SP, error) {
	replay, entityIDs := samlsp.NewReplay(rdb, cfg.Redis.KeyPrefix), new(samlsp.EntityIDs)
	pairs := cfg.SAML.KeyPairs()
	var rollover []samlsp.KeyPair
	for _, pair := range pairs[1:] {
		rollover = append(rollover, samlsp.KeyPair(pair))
	}
	slots := samlsp.NewSlots(cfg.Limits.SAML, cfg.Limits.SAMLWaiting)
	sps := make(map[string]*samlsp.SP, len(cfg.IdentityProviders))
	for _, idp := range cfg.IdentityProviders {
		endpoints := cfg.BaseURL + "/.jitgate/saml/" + idp.Name
		slo := ""
		if idp.SingleLogout {
			slo = endpoints + "/slo"
		}
		back := ""
		if cfg.Discovery.Service != "" {
			back = cfg.BaseURL + "/.jitgate/login"
		}
		sp, err := samlsp.New(samlsp.Options{
			Name:            idp.Name,
			EntityID:        cfg.SAML.EntityID,
			ACS:             endpoints + "/acs",
			SLO:             slo,
			DiscoveryReturn: back,
			HintSubject:     slices.Contains(idp.LoginHint, "subject"),
			HintQuery:       slices.Contains(idp.LoginHint, "query"),
			Key:             pairs[0].Key,
			Certificate:     pairs[0].Certificate,
			Rollover:        rollover,
			Metadata: samlsp.MetadataSource{
				File:         idp.Metadata.File,
				URL:          idp.Metadata.URL,
				AllowPrivate: idp.Metadata.AllowPrivate,
				EntityID:     idp.Metadata.EntityID,
				SignerFile:   idp.Metadata.SignerFile,
				Refresh:      idp.Metadata.Refresh,
			},
			EntityIDs:       entityIDs,
			AllowEncryption: idp.Encryption.Allow,
			Unsolicited:     idp.IDPInitiated == "accept",
			Replay:          replay,
			Slots:           slots,
		})
		if err != nil {
			return nil, fmt.Errorf("identity provider %q: %w", idp.Name, err)
		}
		sps[idp.Name] = sp
	}
	return sps, nil
}

// readMetadataFiles loads the metadata that is in files, where a mistake is
// this configuration's and must stop the start. Metadata from a URL may come
// later: see keepFresh.
func readMetadataFiles(ctx context.Context, cfg *config.Config, idps map[string]*samlsp.SP, log *zap.Logger) error {
	for _, idp := range cfg.IdentityProviders {
		if idp.Metadata.File == "" {
			continue
		}
		change, err := idps[idp.Name].Refresh(ctx)
		if err != nil {
			return fmt.Errorf("identity provider %q: %w", idp.Name, err)
		}
		logMetadata(log, idp.Name, change)
	}
	return nil
}

// keepFresh loads every IdP's metadata again and again until ctx ends, or stop
// is called, which waits for the end. The last good metadata stays in use when a
// load goes wrong. It also warns of certificates that end soon.
func (g *gateway) keepFresh(ctx context.Context) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	var all sync.WaitGroup
	for name, sp := range g.idps {
		all.Go(func() { refreshUntilDone(ctx, name, sp, g.log) })
	}
	all.Go(func() { watchCertificates(ctx, g.proxy.Certificates, g.log) })
	return func() {
		cancel()
		all.Wait()
	}
}

func refreshUntilDone(ctx context.Context, name string, sp *samlsp.SP, log *zap.Logger) {
	for {
		change, err := sp.Refresh(ctx)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			log.Error("metadata not loaded", zap.String("idp", name), zap.Error(err), zap.Bool("usable", sp.Ready() == nil))
		default:
			logMetadata(log, name, change)
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(sp.RefreshEvery()):
		}
	}
}

// logMetadata tells of keys that came or went: with them comes the power to
// sign anybody in, so each change is on record.
func logMetadata(log *zap.Logger, idp string, c samlsp.Change) {
	if !c.Changed {
		return
	}
	until := zap.Skip()
	if !c.ValidUntil.IsZero() {
		until = zap.Time("valid_until", c.ValidUntil)
	}
	log.Info("metadata loaded",
		zap.String("idp", idp),
		zap.String("entity_id", c.EntityID),
		zap.Strings("certificates_added", c.Added),
		zap.Strings("certificates_removed", c.Removed),
		zap.Strings("certificates_expired", c.Expired),
		zap.Strings("certificates_ignored", c.Ignored),
		until)
}
