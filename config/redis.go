package config

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"net"
	"os"
	"regexp"
)

// keyPrefix matches prefixes that are safe in a key: braces would move the keys
// of a Redis Cluster to one slot, and * or ? would match others in patterns.
var keyPrefix = regexp.MustCompile(`^[A-Za-z0-9:._/-]{1,64}$`)

// Redis is the store of users and sessions: either a server, or one embedded in
// this process.
type Redis struct {
	// Embedded keeps everything in this process; it is lost at exit. Users come
	// back at their next login, everybody has to sign in again, and the audit
	// trail begins anew. For trying out, and for a single instance that may
	// forget. Default: false.
	Embedded bool `yaml:"embedded"`

	// Addresses are the servers, as host:port, or the path of a Unix socket.
	// One for a single server; with master_name those of the Sentinels; with
	// cluster some nodes of the Cluster. Required, unless embedded.
	Addresses []string `yaml:"addresses"`

	// MasterName is the name that the Sentinels know the server by. Default:
	// none, and addresses is the server itself.
	MasterName string `yaml:"master_name"`

	// Cluster says that addresses are nodes of a Redis Cluster. Default: false.
	Cluster bool `yaml:"cluster"`

	// Username is the name of the Redis ACL user. Default: Redis' default user.
	Username string `yaml:"username"`

	// Password is that user's password, as env:NAME or file:PATH. Default: none.
	Password Secret `yaml:"password"`

	// SentinelUsername is the name of the ACL user at the Sentinels. Default: their
	// default user.
	SentinelUsername string `yaml:"sentinel_username"`

	// SentinelPassword is that user's password, as env:NAME or file:PATH. Default:
	// none.
	SentinelPassword Secret `yaml:"sentinel_password"`

	// TLS makes the connections TLS ones; "tls: {}" suffices for a server whose
	// certificate the system trusts. Default: none, connections are plain.
	TLS *ClientTLS `yaml:"tls"`

	// DB is the number of the database. A Cluster has 0 alone. Default: 0.
	DB int `yaml:"db"`

	// KeyPrefix begins all keys, so that several gateways can share a server:
	// letters, digits and : . _ / - up to 64 characters. Default: "jitgate:".
	KeyPrefix string `yaml:"key_prefix"`
}

// ClientTLS is how connections to a server are encrypted. All files are PEM.
type ClientTLS struct {
	// CAFile holds the certificates that the server's must come from. Default:
	// those that the system trusts.
	CAFile string `yaml:"ca_file"`

	// CertFile holds our own certificate, for a server that asks for one. Default:
	// none.
	CertFile string `yaml:"cert_file"`

	// KeyFile holds that certificate's private key. Default: none.
	KeyFile string `yaml:"key_file"`

	// ServerName is the name that must be in the server's certificate. Default:
	// the host of the address.
	ServerName string `yaml:"server_name"`
}

// Config returns c as the package tls has it, with the files as they are now.
func (c *ClientTLS) Config() (*tls.Config, error) {
	conf := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: c.ServerName}
	if c.CAFile != "" {
		data, err := os.ReadFile(c.CAFile)
		if err != nil {
			return nil, err
		}
		conf.RootCAs = x509.NewCertPool()
		if !conf.RootCAs.AppendCertsFromPEM(data) {
			return nil, fmt.Errorf("%q holds no certificate in PEM", c.CAFile)
		}
	}
	if c.CertFile != "" {
		pair, err := tls.LoadX509KeyPair(c.CertFile, c.KeyFile)
		if err != nil {
			return nil, err
		}
		conf.Certificates = []tls.Certificate{pair}
	}
	return conf, nil
}

// Fingerprint returns a text that changes when c does, or what is in its files.
func (c *ClientTLS) Fingerprint() string {
	h := sha256.New()
	for _, file := range []string{c.CAFile, c.CertFile, c.KeyFile} {
		data, _ := os.ReadFile(file) // Config says what is wrong with it
		fmt.Fprintf(h, "%d %s", len(data), data)
	}
	return c.ServerName + " " + hex.EncodeToString(h.Sum(nil))
}

func (r *report) checkRedis(c *Redis) {
	switch {
	case !r.has("redis"):
		r.add("redis", `is missing; write redis: {addresses: ["127.0.0.1:6379"]}, or {embedded: true} for a trial`)
	case c.Embedded:
		for _, key := range []string{"addresses", "master_name", "cluster", "username", "password",
			"sentinel_username", "sentinel_password", "tls", "db"} {
			if r.has("redis." + key) {
				r.add("redis."+key, "is for a Redis server, but embedded is true; remove one of the two")
			}
		}
	default:
		r.checkRedisServer(c)
	}
	if !r.has("redis.key_prefix") {
		c.KeyPrefix = "jitgate:"
	}
	if !keyPrefix.MatchString(c.KeyPrefix) {
		r.add("redis.key_prefix", `%q is not safe at the start of a key; write up to 64 letters, digits and : . _ / - like "jitgate:"`, c.KeyPrefix)
	}
}

func (r *report) checkRedisServer(c *Redis) {
	if len(c.Addresses) == 0 {
		r.add("redis.addresses", `is missing; write a server, like ["127.0.0.1:6379"], or embedded: true`)
	}
	seen := make(map[string]string)
	for i, address := range c.Addresses {
		key := fmt.Sprintf("redis.addresses[%d]", i)
		host, port, err := net.SplitHostPort(address)
		socket := len(address) > 1 && address[0] == '/' && len(c.Addresses) == 1
		if !socket && (err != nil || host == "" || port == "" || !validPort(port)) {
			r.add(key, "%q is not an address; write host:port, like 127.0.0.1:6379", show(address))
		}
		r.unique(key, address, seen)
	}
	if len(c.Addresses) > 1 && c.MasterName == "" && !c.Cluster {
		r.add("redis.addresses", "has %d addresses; say what they are: master_name: NAME for Sentinels, cluster: true for a Cluster", len(c.Addresses))
	}
	if c.MasterName != "" && c.Cluster {
		r.add("redis.cluster", "is true, and master_name is given too; keep cluster for a Redis Cluster, master_name for Sentinels")
	}
	if c.MasterName == "" {
		for _, key := range []string{"redis.sentinel_username", "redis.sentinel_password"} {
			if r.has(key) {
				r.add(key, "is for Sentinels; write master_name too, or remove it")
			}
		}
	}
	if c.DB < 0 || c.DB > 0 && c.Cluster {
		r.add("redis.db", "%d is not a database; write 0 or more, and 0 for a Cluster", c.DB)
	}
	r.checkClientTLS("redis.tls", c.TLS)
}

// checkCA checks the file of certificates at key, if there is one.
func (r *report) checkCA(key string, file *string) {
	if !r.has(key) {
		return
	}
	if pem, ok := r.read(key, file); ok && !x509.NewCertPool().AppendCertsFromPEM(pem) {
		r.add(key, "%q holds no certificate in PEM; write a file that does", *file)
	}
}

// checkClientTLS checks the section at key, which may be nil.
func (r *report) checkClientTLS(key string, c *ClientTLS) {
	if c == nil {
		return
	}
	r.checkCA(key+".ca_file", &c.CAFile)
	if r.has(key+".cert_file") || r.has(key+".key_file") {
		r.keyPair(key, &c.CertFile, &c.KeyFile)
	}
	if _, ok := normalHost(c.ServerName); r.has(key+".server_name") && !ok {
		r.add(key+".server_name", "%q is not a host name; write the name in the server's certificate", c.ServerName)
	}
}
