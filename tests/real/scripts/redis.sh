#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# A server with values of 1 MiB: sets, gets, appends, a snapshot by fork, a rewrite of the log, and a restart.
set -euo pipefail

start() {
    redis-server --port 0 --unixsocket "$PWD/socket" --save '' --appendonly yes --dir "$PWD" --dbfilename dump.rdb --loglevel warning >>log 2>&1 &
    server=$!
    until [ "$(ask ping 2>&1)" = PONG ]; do sleep 0.05; done
}
ask() { redis-cli -s "$PWD/socket" "$@"; }
stop() {
    ask shutdown nosave || true
    wait "$server"
    echo "server ended with $?"
}

start
redis-benchmark -s "$PWD/socket" -d 1048576 -n "${REQUESTS:-150}" -c 8 -r 40 -t set,get,lpush -q --threads 2 >benchmark 2>&1
grep -c 'requests per second' benchmark
ask flushall
for i in {1..30}; do
    seq "$i" 100000 | ask -x set "key$i"
    ask append "key$i" tail
done
ask config set appendonly no
ask save
ask bgsave
until [ "$(ask info persistence | grep -c 'rdb_bgsave_in_progress:0')" = 1 ]; do sleep 0.05; done
ask info persistence | grep rdb_last_bgsave_status
ask debug digest
for i in {1..30}; do ask get "key$i"; done | md5sum
ask config set appendonly yes
until [ "$(ask info persistence | grep -c 'aof_rewrite_in_progress:0')" = 1 ]; do sleep 0.05; done
stop
start
ask dbsize
for i in {1..30}; do ask get "key$i"; done | md5sum
ask memory usage key5 samples 0 >/dev/null
stop
