-- What limits count: distinct things in sliding windows. Times are of the clock by which windows
-- slide, which is the wall clock less what it was set by.

PRAGMA user_version = 4;

CREATE TABLE counted (
  space INTEGER NOT NULL REFERENCES space,
  counter TEXT NOT NULL,
  thing TEXT NOT NULL,
  at INTEGER NOT NULL,
  PRIMARY KEY (space, counter, thing)
) STRICT, WITHOUT ROWID;
CREATE INDEX counted_at ON counted (space, at);

-- How many accounts were owned and active from a second on.
CREATE TABLE owned (
  space INTEGER NOT NULL REFERENCES space,
  at INTEGER NOT NULL,
  active INTEGER NOT NULL,
  PRIMARY KEY (space, at)
) STRICT, WITHOUT ROWID;

CREATE TABLE known_target (
  target TEXT PRIMARY KEY,
  body TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- An empty role stands for the user as a whole.
CREATE TABLE end_date (
  record TEXT NOT NULL,
  role TEXT NOT NULL,
  until INTEGER NOT NULL,
  since INTEGER NOT NULL,
  PRIMARY KEY (record, role, until)
) STRICT, WITHOUT ROWID;

-- Counted apart now.
DROP INDEX intent_narrowed;
ALTER TABLE intent DROP COLUMN cause;
ALTER TABLE intent DROP COLUMN units;
