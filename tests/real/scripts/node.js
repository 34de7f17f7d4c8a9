// SPDX-License-Identifier: MIT
// Buffers, typed arrays, JSON, compression, workers that exchange memory, and a child process.
const { Worker, isMainThread, parentPort } = require('worker_threads');
const { createHash } = require('crypto');
const zlib = require('zlib');
const { execFileSync } = require('child_process');
const md5 = (data) => createHash('md5').update(data).digest('hex');

if (!isMainThread) {
    parentPort.on('message', (buffer) => {
        const bytes = new Uint8Array(buffer);
        for (let i = 0; i < bytes.length; i += 4096) bytes[i] += 1;
        parentPort.postMessage(bytes.buffer, [bytes.buffer]);
    });
} else {
    const rows = Array.from({ length: 50000 }, (_, i) => ({ id: i, name: `row ${i}` }));
    console.log(md5(JSON.stringify(rows)));
    for (let i = 1; i <= 20; i++) {
        const zero = Buffer.alloc(i << 18);
        if (!zero.every((byte) => byte === 0)) throw new Error('alloc is not zero');
        Buffer.allocUnsafe(i << 19).fill(i);
    }
    const text = Buffer.from('some text to compress '.repeat(200000));
    const packed = zlib.gzipSync(text, { level: 1 });
    console.log(packed.length, zlib.gunzipSync(packed).equals(text), md5(zlib.brotliCompressSync(text.subarray(0, 1 << 20))));
    console.log(execFileSync('cat', { input: text, maxBuffer: 1 << 30 }).equals(text));
    let grown = Buffer.alloc(0);
    for (let i = 0; i < 60; i++) grown = Buffer.concat([grown, Buffer.alloc(300000, i)]);
    console.log(grown.length, md5(grown));
    const worker = new Worker(__filename);
    let left = 20;
    worker.on('message', (buffer) => {
        if (--left > 0) return worker.postMessage(buffer, [buffer]);
        console.log(md5(Buffer.from(buffer)));
        worker.terminate();
    });
    const first = new ArrayBuffer(8 << 20);
    worker.postMessage(first, [first]);
}
