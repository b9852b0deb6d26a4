package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// nginx.conf for either part; %[1]s is a directory and %[2]s what serves.
const nginxConfig = `daemon off;
worker_processes 1;
worker_rlimit_nofile 8192;
pid %[1]s/pid;
error_log stderr crit;
events { worker_connections 4096; }
http {
	access_log off;
	keepalive_requests 100000000;
	large_client_header_buffers 4 64k;
	sendfile on;
	tcp_nopush on;
	client_body_temp_path %[1]s;
	proxy_temp_path %[1]s;
	fastcgi_temp_path %[1]s;
	uwsgi_temp_path %[1]s;
	scgi_temp_path %[1]s;
%[2]s}
`

// startUpstream starts what all candidates are in front of.
func (s *stage) startUpstream(ctx context.Context) (*process, error) {
	files := filepath.Join(s.dir, "files")
	if err := os.Mkdir(files, 0o755); err != nil {
		return nil, err
	}
	for name, size := range map[string]int{"100k": kib100, "10m": mib10} {
		if err := os.WriteFile(filepath.Join(files, name), make([]byte, size), 0o644); err != nil {
			return nil, err
		}
	}
	return s.startNginx(ctx, func(addr string) string {
		return fmt.Sprintf(`	server {
		listen %s;
		default_type text/plain;
		location / { return 200 "%s"; }
		location /files/ { alias %s/; }
	}
`, addr, strings.Repeat("x", 1<<10), files)
	})
}

// startNginxProxy starts nginx as a candidate.
func (s *stage) startNginxProxy(ctx context.Context) (*process, error) {
	return s.startNginx(ctx, func(addr string) string {
		return fmt.Sprintf(`	upstream app { server %s; keepalive 512; keepalive_requests 100000000; }
	server {
		listen %s;
		location / {
			proxy_pass http://app;
			proxy_http_version 1.1;
			proxy_set_header Connection "";
			proxy_max_temp_file_size 0;
		}
	}
`, s.upstream.addr, addr)
	})
}

func (s *stage) startNginx(ctx context.Context, serve func(addr string) string) (*process, error) {
	return s.start(ctx, func(port int) (*exec.Cmd, error) {
		dir := filepath.Join(s.dir, fmt.Sprintf("nginx-%d", port))
		if err := os.Mkdir(dir, 0o777); err != nil {
			return nil, err
		}
		os.Chmod(dir, 0o777) // whatever the umask is: its workers are another user
		text := fmt.Sprintf(nginxConfig, dir, serve(fmt.Sprintf("127.0.0.1:%d", port)))
		file, err := s.write(fmt.Sprintf("nginx-%d.conf", port), text)
		return exec.Command("nginx", "-p", dir, "-e", "stderr", "-c", file), err
	})
}
