<?php
// SPDX-License-Identifier: MIT
// Strings and arrays, by PHP's own allocator or by malloc (USE_ZEND_ALLOC=0), and children of fork.
ini_set('memory_limit', '1G');
$text = '';
for ($i = 0; $i < 200000; $i++) {
    $text .= md5((string)$i);
}
echo md5($text), ' ', md5(gzuncompress(gzcompress($text, 1))), ' ', strlen(preg_replace('/[0-9]+/', '#', $text)), "\n";
$numbers = range(1, 300000);
usort($numbers, fn($a, $b) => $a * 7919 % 1000003 <=> $b * 7919 % 1000003);
echo md5(implode(',', $numbers)), "\n";
$table = [];
for ($i = 0; $i < 200000; $i++) {
    $table["key $i"] = str_repeat('x', $i % 50);
}
echo count(json_decode(json_encode($table), true)), ' ', md5(serialize($table)), "\n";
for ($i = 0; $i < 20; $i++) {
    $block = str_repeat(chr(65 + $i), 3000000 + $i * 300000);
    $kept[$i % 3] = strrev($block) . $block;
}
echo md5(implode($kept)), "\n";
for ($i = 0; $i < 4; $i++) {
    $child = pcntl_fork();
    if ($child === 0) {
        exit(strlen(str_repeat('x', 20000000 + $i)) % 1000);
    }
    pcntl_waitpid($child, $status);
    echo pcntl_wexitstatus($status), "\n";
}
