-- What people let through once and nobody used yet: a change of a release, or (an empty target) a
-- load. Times are of the clock by which windows slide.

PRAGMA user_version = 6;

CREATE TABLE permit (
  target TEXT NOT NULL,
  digest TEXT NOT NULL,
  change TEXT NOT NULL,
  at INTEGER NOT NULL,
  PRIMARY KEY (target, digest, change)
) STRICT, WITHOUT ROWID;

-- Given by one load to so many users that it counts as inferred.
ALTER TABLE end_date ADD COLUMN mass INTEGER NOT NULL DEFAULT 0;
