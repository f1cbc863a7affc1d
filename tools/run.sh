#!/usr/bin/env bash
# Debunk with a private PostgreSQL, and the demo shop beside it, until interrupted.
set -euo pipefail
cd "$(dirname "$0")/.."

tools/install.sh
cargo build --release --locked
debunk=${CARGO_TARGET_DIR:-target}/release/debunk

# The addresses as set by debunk.toml and the environment.
settings=$("$debunk" check --print)
setting() {
    awk -v section="[$1]" -v key="$2" '/^\[/ { inside = $0 == section } inside && $1 == key { gsub(/"/, "", $3); print $3; exit }' <<<"$settings"
}
web=$(setting server listen) grpc=$(setting otlp grpc) http=$(setting otlp http)

# The shop's endless wait ends after three seconds; where nobody set another, two are too long while it runs.
[[ $(setting rules.unbounded_wait min_wait) != 60s ]] || export DEBUNK_RULES__UNBOUNDED_WAIT__MIN_WAIT=2s

serve='' demo=''
stop() {
    trap - EXIT
    trap '' INT TERM HUP
    # The shop first: it sends what it has while somebody still listens.
    [[ -z $demo ]] || { kill "$demo" 2>/dev/null && wait "$demo" || true; }
    [[ -z $serve ]] || { kill "$serve" 2>/dev/null && wait "$serve" || true; }
}
trap stop EXIT
trap 'stop; exit 0' INT TERM HUP

ready() {
    local status
    exec 3<>"/dev/tcp/${web%:*}/${web##*:}" || return 1
    printf 'GET /readyz HTTP/1.0\r\n\r\n' >&3
    read -r status <&3 || true
    exec 3>&- 3<&-
    [[ $status == *" 200 "* ]]
}

# In groups of their own, so that Ctrl-C reaches this script alone, which stops them in order.
set -m
"$debunk" serve &
serve=$!
set +m
for _ in {1..600}; do
    if ready 2>/dev/null; then break; fi
    kill -0 "$serve" 2>/dev/null || { wait "$serve" && code=0 || code=$?; exit "$code"; }
    sleep 0.1
done
ready 2>/dev/null || { echo "run: debunk was not ready within a minute" >&2; exit 3; }

cat <<END

  Debunk runs. It stops with Ctrl-C; its data stays.

  pages and API   http://$web/            http://$web/api/v1/findings
  send traces to  http://$grpc  OTLP over gRPC      http://$http  OTLP over HTTP

  Beside it runs a small shop whose services rely on fallacies. Within two minutes
  http://$web/findings lists what it announces below. Its well-behaved twins never appear.

END
set -m
"$debunk" demo --to "http://$grpc" &
demo=$!
set +m
wait -n "$serve" "$demo" && code=0 || code=$?
echo "run: one of the two has ended (exit $code)" >&2
exit "$code"
