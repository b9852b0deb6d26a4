package config

import (
	"net/url"
	"strings"
)

// Discovery is how the gateway finds out where a visitor signs in: by the domain of
// what they type.
type Discovery struct {
	// List shows the domains of all directories on the sign-in page, to choose from.
	// Whoever opens the page reads them. Default: false.
	List bool `yaml:"list"`

	// Service is the URL of a discovery service that is asked instead, by the Identity
	// Provider Discovery Service Protocol of OASIS. It has to know our metadata, which
	// names the page that it comes back to. Default: none.
	Service string `yaml:"service"`
}

func (r *report) checkDiscovery(d *Discovery) {
	if !r.has("discovery.service") {
		return
	}
	u, err := url.Parse(d.Service)
	switch {
	case err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" || !validPort(u.Port()):
		r.add("discovery.service", "%q is not an https URL; write the one of the discovery service", show(d.Service))
	case u.User != nil || strings.Contains(d.Service, "#"):
		r.add("discovery.service", "%q has a user name, a password or a fragment in it; write it without", show(d.Service))
	case u.Scheme == "http" && !loopback(u.Hostname()):
		r.add("discovery.service", "%q is not safe: whoever is in between could send visitors anywhere; write https", d.Service)
	}
}
