#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# A repository of its own: commits with large blobs, clone, repack, check.
set -euo pipefail

export HOME=$PWD GIT_CONFIG_NOSYSTEM=1 GIT_AUTHOR_DATE='1700000000 +0000' GIT_COMMITTER_DATE='1700000000 +0000'
git config --global user.name A
git config --global user.email a@example.org
git config --global init.defaultBranch main
git config --global pack.threads 1
git config --global gc.auto 0
git init -q origin
cd origin
for commit in {1..8}; do
    mkdir -p "folder$commit"
    for file in {1..20}; do
        seq "$commit" 7 "$((file * 3000))" >"folder$commit/$file"
    done
    seq "$commit" 300000 >large
    git add .
    git commit -qm "commit $commit"
done
git clone -q --no-hardlinks . ../copy
git clone -q --bare "file://$PWD" ../served
cd ../copy
git log --oneline --stat | md5sum
git diff HEAD~5 | md5sum
git gc -q --aggressive
git fsck --full
git count-objects -v | grep -E '^(count|in-pack|packs)'
git rev-parse HEAD
git archive HEAD | md5sum
git blame large | md5sum
