package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/jitgate/jitgate/config"
)

// healthTimeout is how long the gateway may take to say that it is well.
const healthTimeout = 2 * time.Second

func healthcheckCommand() *cobra.Command {
	var file string
	var ready bool
	c := &cobra.Command{
		Use:   "healthcheck",
		Short: "Ask the running gateway whether it is well",
		Long: `healthcheck asks /healthz at admin.listen, as probes do, and exits with 0 or 1. It is
for images without a shell or curl. Where there is no admin.listen, it connects to
listen.`,
		Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			cfg, err := config.Load(file)
			if err != nil {
				return configError(err)
			}
			switch {
			case cfg.Admin.Listen != "" && ready:
				return isWell("http://" + askedAt(cfg.Admin.Listen) + "/readyz")
			case cfg.Admin.Listen != "":
				return isWell("http://" + askedAt(cfg.Admin.Listen) + "/healthz")
			case ready:
				return hintError{errors.New("there is no admin.listen to ask at"), `write admin: {listen: "127.0.0.1:9090"}`}
			}
			conn, err := net.DialTimeout("tcp", askedAt(cfg.Listen), healthTimeout)
			if err != nil {
				return err
			}
			return conn.Close()
		},
	}
	configFlag(c, &file)
	c.Flags().BoolVar(&ready, "ready", false, "ask /readyz instead: whether visitors should be sent here")
	return c
}

// askedAt returns where to ask a listener: one that listens everywhere is here too.
func askedAt(listen string) string {
	host, port, err := net.SplitHostPort(listen)
	if err != nil {
		return listen
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "localhost"
	}
	return net.JoinHostPort(host, port)
}

func isWell(address string) error {
	client := http.Client{Timeout: healthTimeout}
	res, err := client.Get(address)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(res.Body, 1<<10))
		return fmt.Errorf("%s: %s: %s", address, res.Status, strings.TrimSpace(string(text)))
	}
	return nil
}
