#!/usr/bin/env perl
# SPDX-License-Identifier: MIT
# Growing strings, arrays, hashes, sorts, regular expressions, a fork and a pipe.
use strict;
use warnings;
use Digest::MD5 'md5_hex';

my $text = '';
$text .= "line $_\n" for 1 .. 300_000;
my @lines = split /\n/, $text;
my %length;
$length{$_ % 1000} .= $lines[$_] for 0 .. $#lines;
print md5_hex(join ',', map { "$_=$length{$_}" } sort keys %length), "\n";
(my $changed = $text) =~ s/(\d+)/<$1>/g;
print length($changed), ' ', md5_hex($changed), "\n";
print md5_hex(join '', reverse sort @lines), "\n";
my $x = 'x' x (20 << 20);
substr($x, 1 << 20, 10, 'y' x (1 << 20)) for 1 .. 5;
print length($x), ' ', md5_hex($x), "\n";
my $pid = fork // die;
if (!$pid) { $x x= 2; exit(length($x) == 2 * (20 << 20) + 10 * ((1 << 20) - 10) ? 0 : 1) }
waitpid $pid, 0;
print "child $?\n", `echo from a pipe`;
