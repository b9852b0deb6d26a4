package main

import (
	"cmp"
	"context"
	"fmt"
	"os/exec"
	"strings"
)

// A gatewayConfig is what configurations of jitgate differ in.
type gatewayConfig struct {
	prefix string // of keys in Redis; default: one for all
	idps   string // more identity providers, as lines
	apps   string // more apps, as lines
}

const gatewayText = `base_url: http://localhost:%[1]d
listen: 127.0.0.1:%[1]d
redis: {addresses: [%[2]q], key_prefix: %[7]q}
session: {keys: ["file:session.key"]}
saml: {key_file: sp.key, cert_file: sp.crt}
limits: {logins_per_minute: 1000000, connections_per_address: 10000}
attributes: [%[3]s]
directories:
  - {name: acme, domains: [acme.example]}
identity_providers:
  - {name: acme, directory: acme, metadata: {file: idp.xml}, groups: {attribute: groups, allow: ["*"]}}
%[5]sgroups:
  - {name: staff, rule: {attribute: department, is: Engineering}}
apps:
  - name: bench
    upstream: http://%[4]s
    allow: {groups: [staff]}
    public: [/public/]
    headers: {preset: forwarded}
%[6]s`

// startGateway starts a jitgate.
func (s *stage) startGateway(ctx context.Context, binary string, c gatewayConfig, env ...string) (*process, error) {
	var file string
	p, err := s.start(ctx, func(port int) (cmd *exec.Cmd, err error) {
		var attributes []string
		for _, name := range userAttributes {
			attributes = append(attributes, fmt.Sprintf("{name: %s}", name))
		}
		text := fmt.Sprintf(gatewayText, port, s.redis.addr, strings.Join(attributes, ", "), s.upstream.addr, c.idps, c.apps, cmp.Or(c.prefix, "jitgate:"))
		file, err = s.write(fmt.Sprintf("jitgate-%d.yaml", port), text)
		cmd = exec.Command(binary, "serve", "-c", file)
		cmd.Env = append(cmd.Environ(), env...)
		return cmd, err
	})
	if err != nil {
		return nil, err
	}
	p.config = file
	return p, nil
}

// gatewayLogin says how one signs in there.
func gatewayLogin(p *process) loginAt {
	host := localhost(p)
	return loginAt{
		start:    "http://" + host + "/.jitgate/login?idp=acme",
		acs:      "http://" + host + "/.jitgate/saml/acme/acs",
		entityID: "http://" + host + "/.jitgate/saml",
	}
}

// localhost returns the address of p by the name that may be in a base_url.
func localhost(p *process) string { return strings.Replace(p.addr, "127.0.0.1", "localhost", 1) }
