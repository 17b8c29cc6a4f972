#!/usr/bin/env bash
# A Kubernetes API server for custom resources (apiextensions-apiserver) on etcd, on loopback, for tests.
#   KUBE_LANE_DIR=DIR KUBE_APISERVER_BIN=FILE scripts/kube-server.sh start | stop | start-api | stop-api | compact
# `start` leaves DIR/kubeconfig, and takes ports that are free. Needs etcd, openssl and curl.
set -euo pipefail
dir="${KUBE_LANE_DIR:?set it to a directory for keys, data and logs}"
mkdir -p "$dir"
cd "$dir"

# A port that nobody listens at, below those that the system gives to connections.
free_port() {
    local port
    for _ in $(seq 100); do
        port=$((20000 + RANDOM % 12000))
        (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null || { echo "$port"; return; }
    done
    echo "no free port" >&2
    return 1
}

[ -f ports ] || { free_port; free_port; free_port; } >ports
{ read -r etcd_port; read -r peer_port; read -r port; } <ports
store="http://127.0.0.1:$etcd_port"
peer="http://127.0.0.1:$peer_port"

# A key and a certificate of our own authority; the extensions make it X.509 v3.
certificate() { # NAME SUBJECT EXTENSIONS
    openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout "$1.key" -out "$1.csr" -subj "$2" 2>>openssl.log
    openssl x509 -req -in "$1.csr" -CA ca.crt -CAkey ca.key -CAcreateserial -days 7 -out "$1.crt" \
        -extfile <(echo "$3") 2>>openssl.log
}

keys() {
    [ -f kubeconfig ] && return
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout ca.key -out ca.crt -days 7 \
        -subj /CN=lane-ca 2>>openssl.log
    certificate admin /O=system:masters/CN=admin extendedKeyUsage=clientAuth
    certificate server /CN=localhost subjectAltName=IP:127.0.0.1,DNS:localhost
    cat >kubeconfig <<YAML
apiVersion: v1
kind: Config
current-context: lane
clusters: [{name: lane, cluster: {server: "https://127.0.0.1:$port", certificate-authority: "$dir/ca.crt"}}]
users: [{name: lane, user: {client-certificate: "$dir/admin.crt", client-key: "$dir/admin.key"}}]
contexts: [{name: lane, context: {cluster: lane, user: lane, namespace: default}}]
YAML
}

ended() { # waits until the process is gone
    for _ in $(seq 100); do
        kill -0 "$1" 2>/dev/null || return 0
        sleep 0.1
    done
    kill -9 "$1" 2>/dev/null || true
}

stop_one() {
    [ -f "$1.pid" ] || return 0
    kill "$(cat "$1.pid")" 2>/dev/null || true
    ended "$(cat "$1.pid")"
    rm -f "$1.pid"
}

answers() { # NAME URL ARGUMENTS…: waits for 200 from the process NAME; whoever else answers is not it
    local pid url="$2"
    pid="$(cat "$1.pid")"; shift 2
    for _ in $(seq 300); do
        kill -0 "$pid" 2>/dev/null || { echo "it has ended" >&2; return 1; }
        [ "$(curl -s -o /dev/null -w '%{http_code}' "$@" "$url" || true)" = 200 ] && return 0
        sleep 0.1
    done
    return 1
}

start_etcd() {
    etcd --name lane --data-dir "$dir/etcd" --listen-client-urls "$store" --advertise-client-urls "$store" \
        --listen-peer-urls "$peer" --initial-advertise-peer-urls "$peer" --initial-cluster "lane=$peer" \
        >etcd.log 2>&1 &
    echo $! >etcd.pid
    answers etcd "$store/health" || { tail -5 etcd.log >&2; return 1; }
}

start_api() {
    # Alone, it has no namespaces and no webhooks to ask.
    local without=NamespaceLifecycle,MutatingAdmissionWebhook,ValidatingAdmissionWebhook
    "$KUBE_APISERVER_BIN" --etcd-servers "$store" --bind-address 127.0.0.1 --secure-port "$port" \
        --tls-cert-file server.crt --tls-private-key-file server.key --client-ca-file ca.crt \
        --authentication-skip-lookup --authentication-kubeconfig kubeconfig \
        --authorization-kubeconfig kubeconfig --kubeconfig kubeconfig --enable-priority-and-fairness=false \
        --disable-admission-plugins "$without,ValidatingAdmissionPolicy,MutatingAdmissionPolicy" \
        >>api.log 2>&1 &
    echo $! >api.pid
    answers api "https://127.0.0.1:$port/apis/apiextensions.k8s.io/v1/customresourcedefinitions" \
        --cacert ca.crt --cert admin.crt --key admin.key || { tail -5 api.log >&2; return 1; }
}

# Forgets all old versions: watches that stand at one of them expire.
compact() {
    local revision
    revision="$(curl -sf -d '{"key":"AA=="}' "$store/v3/kv/range" | sed -n 's/.*"revision":"\([0-9]*\)".*/\1/p')"
    curl -sf -d "{\"revision\":$revision,\"physical\":true}" "$store/v3/kv/compaction" >/dev/null
}

case "${1:-}" in
    start) keys; start_etcd; start_api; echo "$dir/kubeconfig" ;;
    stop) stop_one api; stop_one etcd ;;
    start-api) start_api ;;
    stop-api) stop_one api ;;
    compact) compact ;;
    *) echo "usage: $0 start|stop|start-api|stop-api|compact" >&2; exit 2 ;;
esac
