-- What limits count: distinct things in sliding windows. Times are of the clock by which windows
-- slide, which is the wall clock less what it was set by.

CREATE TABLE counted (
  space BIGINT NOT NULL REFERENCES space,
  counter TEXT COLLATE "C" NOT NULL,
  thing TEXT COLLATE "C" NOT NULL,
  at BIGINT NOT NULL,
  PRIMARY KEY (space, counter, thing)
);
CREATE INDEX counted_at ON counted (space, at);

-- How many accounts were owned and active from a second on.
CREATE TABLE owned (
  space BIGINT NOT NULL REFERENCES space,
  at BIGINT NOT NULL,
  active BIGINT NOT NULL,
  PRIMARY KEY (space, at)
);

CREATE TABLE known_target (
  target TEXT COLLATE "C" PRIMARY KEY,
  body TEXT NOT NULL
);

-- An empty role stands for the user as a whole.
CREATE TABLE end_date (
  record TEXT COLLATE "C" NOT NULL,
  role TEXT COLLATE "C" NOT NULL,
  until BIGINT NOT NULL,
  since BIGINT NOT NULL,
  PRIMARY KEY (record, role, until)
);

-- Counted apart now.
DROP INDEX intent_narrowed;
ALTER TABLE intent DROP COLUMN cause, DROP COLUMN units;
