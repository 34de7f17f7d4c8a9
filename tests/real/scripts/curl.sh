#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Files large and small from a local server, one by one, in parallel and in parts.
set -euo pipefail

mkdir served
seq 1 1000000 >served/large
for i in {1..20}; do seq 1 "$((i * 1000))" >"served/$i"; done
: >server.out # the loop below may look before the server starts
python3 -u -m http.server --bind 127.0.0.1 --directory served 0 >server.out 2>server.err &
server=$!
trap 'kill $server; wait $server || true' EXIT
until port=$(grep -oP 'port \K\d+' server.out); do sleep 0.05; done
url=http://127.0.0.1:$port
curl -sS "$url/large" | md5sum
curl -sS "$url/[1-20]" | md5sum
curl -sS --no-progress-meter --parallel --parallel-max 8 -o 'got#1' "$url/{1,2,3,4,5,6,7,8,9,10,large}"
cat got{1,2,3,4,5,6,7,8,9,10,large} | md5sum
curl -sS -o /dev/null -w '%{http_code} %{size_download}\n' "$url/none"
