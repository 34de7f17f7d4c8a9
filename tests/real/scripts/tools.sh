#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Small tools, one after another, as a build or a boot runs them.
set -euo pipefail

for _ in {1..20}; do true; /bin/true; done
head -c 3000000 /dev/zero | tr '\0' 'a' >long-line
grep -c aaaa long-line
sed 's/aaa/b/g' long-line | md5sum
awk '{ print length($0 $0) }' long-line
tar --mtime=@0 --owner=0 --group=0 --numeric-owner -cf - long-line | gzip -n | wc -c
od -An -tx1 long-line | tail -1
ldd /bin/true | grep -c libc.so
printf 'all: %s\n' "$(seq -f 't%g' -s ' ' 40)" >Makefile
printf 't%%:\n\t@printf "$@\\n" > $@; wc -c < $@\n' >>Makefile
make -j2 | sort | uniq -c
find / -maxdepth 1 -name etc
