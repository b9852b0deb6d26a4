package config

import (
	"maps"
	"net/url"
	"slices"

	"golang.org/x/net/http/httpguts"
)

// Tracing is where traces of requests go (OpenTelemetry). Each app gets the trace in
// traceparent (W3C Trace Context), whether or not it is recorded. Nothing in them says who
// a visitor is; the request's line in the log, which has the trace's ID, does.
type Tracing struct {
	// Endpoint is where spans are posted to, by OTLP over HTTP, like
	// http://127.0.0.1:4318/v1/traces. Required.
	Endpoint string `yaml:"endpoint"`

	// Headers are sent along with them, like Authorization: the name of one, and the
	// secret that is its value (env:NAME or file:PATH). Default: none.
	Headers map[string]Secret `yaml:"headers"`

	// CAFile holds the certificates (PEM) that the endpoint's must come from. Default:
	// those that the system trusts.
	CAFile string `yaml:"ca_file"`

	// Service is what the gateway is called in traces. Default: jitgate.
	Service string `yaml:"service"`

	// Sample is the share of requests whose trace is recorded, from 0 to 1, like 0.05.
	// Where one of trusted_proxies sends a request as a part of a trace, it is recorded if
	// that proxy records it; a trace that anybody else sends is only linked to. Default: 1.
	Sample float64 `yaml:"sample"`
}

func (r *report) checkTracing(c *Tracing) {
	if c == nil {
		return
	}
	r.checkEndpoint(c)
	r.checkEndpointCA(c)
	for _, name := range slices.Sorted(maps.Keys(c.Headers)) {
		if !httpguts.ValidHeaderFieldName(name) || !httpguts.ValidHeaderFieldValue(c.Headers[name].Reveal()) {
			r.add(join("tracing.headers", name), "%q and what it names are not a header; write one like Authorization: env:OTLP_AUTHORIZATION", name)
		}
	}
	if !r.has("tracing.service") {
		c.Service = "jitgate"
	}
	if !r.has("tracing.sample") {
		c.Sample = 1
	}
	if !(c.Sample >= 0 && c.Sample <= 1) { // not a number is neither
		r.add("tracing.sample", "%v is out of bounds; write a share from 0 to 1, like 0.05", c.Sample)
	}
}

// checkEndpoint checks where spans are posted to.
func (r *report) checkEndpoint(c *Tracing) {
	const example = "http://127.0.0.1:4318/v1/traces"
	u, err := url.Parse(c.Endpoint)
	switch {
	case c.Endpoint == "":
		r.add("tracing.endpoint", "is missing; write where spans are posted to, like %s", example)
	case err != nil || u.Hostname() == "" || !validPort(u.Port()):
		r.add("tracing.endpoint", "%q is not the address of a web server; write one like %s", show(c.Endpoint), example)
	case u.Scheme != "http" && u.Scheme != "https" || u.User != nil || u.RawQuery != "" || u.Fragment != "":
		r.add("tracing.endpoint", "%q is not the address of a web server and a path; write one like %s", show(c.Endpoint), example)
	case u.Path == "" || u.Path == "/":
		r.add("tracing.endpoint", "%q has no path; write %q", c.Endpoint, u.Scheme+"://"+u.Host+"/v1/traces")
	case u.Scheme == "http" && len(c.Headers) > 0 && !loopback(u.Hostname()):
		r.add("tracing.endpoint", "%q is not safe for what is under headers, which would travel unencrypted; write https", c.Endpoint)
	}
}

// checkEndpointCA checks what the endpoint's certificate must come from.
func (r *report) checkEndpointCA(c *Tracing) {
	if u, err := url.Parse(c.Endpoint); r.has("tracing.ca_file") && err == nil && u.Scheme == "http" {
		r.add("tracing.ca_file", "is given, but the endpoint is http; write https there, or remove this")
		return
	}
	r.checkCA("tracing.ca_file", &c.CAFile)
}
