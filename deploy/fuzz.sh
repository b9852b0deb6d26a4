#!/usr/bin/env bash
# Runs every fuzz test for a time, like 30s or 1h, as many at once as there are
# processors. What it finds is shown, and kept in testdata/fuzz of the package.
set -euo pipefail
cd "$(dirname "$0")/.."
export FUZZTIME="${1:-30s}"

one() {
  local log
  log="$(mktemp)"
  # Coverage that depends on the time or on chance makes minimising endless. Before Go
  # 1.27 the end of the time may pass for a failure (golang/go#75804), of which no input
  # is written.
  if go test -run '^$' -fuzz "^$2\$" -fuzztime "$FUZZTIME" -fuzzminimizetime 1s -parallel 1 -timeout 0 "$1" >"$log" 2>&1 ||
    { grep -qx '    context deadline exceeded' "$log" && ! grep -q 'Failing input written' "$log"; }; then
    echo "ok    $2 $(grep -o 'execs: [0-9]*' "$log" | tail -1)"
    rm -f "$log"
  else
    cat "$log"
    rm -f "$log"
    return 255 # xargs begins no more
  fi
}
export -f one

grep -rEo '^func Fuzz[A-Za-z0-9]+' --include='*_test.go' . | sort |
  sed -E 's|^(.*)/[^/]*:func (Fuzz[A-Za-z0-9]+)$|\1 \2|' |
  xargs -P "$(nproc)" -L 1 bash -c 'one "$@"' _
