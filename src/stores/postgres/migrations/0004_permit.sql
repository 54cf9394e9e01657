-- What people let through once and nobody used yet: a change of a release, or (an empty target) a
-- load. Times are of the clock by which windows slide.

CREATE TABLE permit (
  target TEXT COLLATE "C" NOT NULL,
  digest TEXT COLLATE "C" NOT NULL,
  change TEXT COLLATE "C" NOT NULL,
  at BIGINT NOT NULL,
  PRIMARY KEY (target, digest, change)
);

-- Given by one load to so many users that it counts as inferred.
ALTER TABLE end_date ADD COLUMN mass BIGINT NOT NULL DEFAULT 0;
