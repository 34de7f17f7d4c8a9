# SPDX-License-Identifier: MIT
"""JSON, bytes, strings, compression, files and mmap at some MiB."""
import hashlib
import io
import json
import mmap
import pickle
import zlib

rows = [{'id': i, 'name': f'row {i}', 'values': [i * k for k in range(5)]} for i in range(60000)]
text = json.dumps(rows)
assert json.loads(text) == rows
assert pickle.loads(pickle.dumps(rows)) == rows
print(len(text), hashlib.sha256(text.encode()).hexdigest())

buffer = bytearray()
for i in range(2000):
    buffer += bytes([i % 251]) * 7001
    if i % 500 == 0:
        buffer = bytearray(bytes(buffer))
print(len(buffer), hashlib.md5(buffer).hexdigest())
for size in (1 << 16, 1 << 20, 50_000_000):
    for _ in range(5):
        block = bytes(size)
        assert block.count(0) == size
packed = zlib.compress(buffer, 1)
print(hashlib.md5(packed).hexdigest(), zlib.decompress(packed) == buffer)

with open('file', 'w+b') as file:
    file.write(buffer)
    file.flush()
    with mmap.mmap(file.fileno(), 0) as view:
        print(view[5_000_000:5_000_010])
    file.seek(0)
    print(hashlib.md5(file.read()).hexdigest())
stream = io.StringIO()
for i in range(300000):
    stream.write(str(i))
print(hashlib.md5(stream.getvalue().encode()).hexdigest())
print(hashlib.md5(''.join(sorted(text)).encode()).hexdigest())
