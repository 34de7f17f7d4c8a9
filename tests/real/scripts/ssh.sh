#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Keys, signatures and the reading of configurations by OpenSSH; no connection is made.
set -euo pipefail

seq 1 300000 >message
for kind in ed25519 rsa; do
    ssh-keygen -q -t $kind -N '' -f $kind
    ssh-keygen -q -Y sign -f $kind -n file message
    ssh-keygen -Y check-novalidate -n file -s message.sig <message | cut -d' ' -f1-3
    rm message.sig
done
ssh -T -F /dev/null -G -p 2222 somebody@example.org | grep -E '^(user|hostname|port) '
