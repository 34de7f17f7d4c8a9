# SPDX-License-Identifier: MIT
"""NumPy expressions, sorts, files and linear algebra on arrays of 1 to 32 MiB."""
import numpy as np

for count in (100_000, 1_000_000, 4_000_000):
    a = np.arange(count, dtype=np.float64)
    b = np.ones(count)
    for _ in range(5):
        c = a * 2 + b - a / 3
        a = np.where(c > count / 2, c, a + 1)
    zero = np.zeros(count)
    assert not zero.any()
    a.resize(count * 2, refcheck=False)
    print(count, a.shape, repr(a.sum()), repr(c.std()), np.sort(c[::-1])[:3], np.concatenate([a, b]).size)
np.save('array.npy', c)
assert (np.load('array.npy') == c).all()
m = (np.arange(250_000) % 997).reshape(500, 500) + 1000 * np.eye(500)
print(np.round(np.linalg.solve(m, np.ones(500)).sum(), 8), np.unique(m.astype(np.int32)).size)
