-- SPDX-License-Identifier: MIT
-- Rows, large blobs, an index, sorts, aggregates over long strings, and a vacuum.
PRAGMA cache_size = -65536;
CREATE TABLE t(id INTEGER PRIMARY KEY, name TEXT, value REAL, data BLOB);
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 100000)
    INSERT INTO t SELECT i, 'name ' || (i * 7919 % 100003), i / 3.0, zeroblob(i % 100) FROM n;
INSERT INTO t VALUES (1000001, 'large', 0, zeroblob(5000000)), (1000002, 'larger', 0, zeroblob(30000000));
CREATE INDEX by_name ON t(name);
SELECT count(*), sum(length(data)), max(name), round(sum(value), 3) FROM t;
SELECT length(group_concat(name)) FROM t;
SELECT length(replace(hex(data), '00', 'abc')) FROM t WHERE id = 1000001;
SELECT name FROM t ORDER BY value DESC, name LIMIT 5;
DELETE FROM t WHERE id % 3 = 0;
VACUUM;
PRAGMA integrity_check;
