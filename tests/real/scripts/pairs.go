// SPDX-License-Identifier: MIT
// Large blocks in Go, whose runtime asks the kernel by itself.
package main

import "fmt"

func main() {
    sum := 0
    for size := 1 << 16; size <= 1<<25; size *= 2 {
        block := make([]byte, size)
        for i := range block {
            block[i] = byte(size >> 16)
        }
        sum += int(block[size/2])
    }
    fmt.Println(sum)
}
