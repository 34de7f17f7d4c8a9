#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Strings and arrays of some MiB, substitutions, pipelines and many short children.
set -euo pipefail

text=$(seq 1 200000)
few=${text:0:30000}
echo "${#text} ${few//7/seven}" | md5sum
mapfile -t lines <<<"$text"
echo "${#lines[@]} ${lines[199999]}"
printf '%s,' "${lines[@]}" | md5sum
joined=
for i in {1..60}; do
    joined+=${text:0:25000}$(printf %s "$i")
done
echo "${#joined}"
diff <(sort -n <<<"$text") <(echo "$text") && echo same
