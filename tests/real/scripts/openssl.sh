#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Ciphers with large buffers, digests, a key and a signed message.
set -euo pipefail

seq 1 1000000 >plain
for buffer in 70000 1000000 7000000; do
    openssl enc -aes-256-cbc -bufsize $buffer -K 00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff -iv 00000000000000000000000000000001 -in plain -out secret
    openssl dgst -sha256 secret
    openssl enc -d -aes-256-cbc -bufsize $buffer -K 00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff -iv 00000000000000000000000000000001 -in secret | cmp - plain
done
openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out key 2>dots
openssl dgst -sha256 -sign key -out signature plain
openssl pkey -in key -pubout -out public
openssl dgst -sha256 -verify public -signature signature plain
openssl req -x509 -new -key key -subj /CN=bufpool -days 2 -out certificate
openssl smime -sign -binary -nodetach -in plain -signer certificate -inkey key -outform DER -out message
openssl smime -verify -binary -in message -inform DER -noverify -out content
cmp content plain && echo same
