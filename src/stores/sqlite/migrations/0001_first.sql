-- The first schema. Times are nanoseconds since 1970 (INTEGER); JSON is canonical (TEXT); a BLOB
-- is sealed with the installation's keys. A later change is a new file, never an edit of this one.

PRAGMA application_id = 1919906676; -- 'rost'
PRAGMA user_version = 1;

CREATE TABLE meta (
  key TEXT PRIMARY KEY,
  value TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- One row: the fence of whoever opened the file last.
CREATE TABLE lease (
  one INTEGER PRIMARY KEY CHECK (one = 1),
  fence INTEGER NOT NULL,
  actor TEXT NOT NULL
) STRICT;
INSERT INTO lease VALUES (1, 0, '');

CREATE TABLE space (
  id INTEGER PRIMARY KEY,
  target TEXT NOT NULL,
  environment TEXT NOT NULL,
  realm TEXT NOT NULL,
  UNIQUE (target, environment, realm)
) STRICT;

CREATE TABLE link (
  space INTEGER NOT NULL REFERENCES space,
  record TEXT NOT NULL,
  account TEXT NOT NULL,
  linked_by TEXT NOT NULL,
  disabled_by_us INTEGER NOT NULL,
  granted TEXT NOT NULL,
  since INTEGER NOT NULL,
  PRIMARY KEY (space, record),
  UNIQUE (space, account)
) STRICT, WITHOUT ROWID;

-- Columns besides `body` are what limits count and lists ask for.
CREATE TABLE intent (
  seq INTEGER PRIMARY KEY AUTOINCREMENT,
  id TEXT NOT NULL UNIQUE,
  space INTEGER NOT NULL REFERENCES space,
  record TEXT NOT NULL,
  cause TEXT,
  units INTEGER NOT NULL,
  at INTEGER NOT NULL,
  body BLOB NOT NULL,
  outcome TEXT,
  outcome_text BLOB,
  outcome_at INTEGER
) STRICT;
CREATE INDEX intent_open ON intent (space, seq) WHERE outcome IS NULL;
CREATE INDEX intent_narrowed ON intent (space, cause, at) WHERE cause IS NOT NULL;
CREATE INDEX intent_record ON intent (space, record, seq);

-- Every accepted snapshot, for the level that shrink is judged by; the users and roles of the
-- newest alone are kept, in parts, so that one changed user does not write all of them again.
CREATE TABLE snapshot (
  generation INTEGER PRIMARY KEY,
  digest TEXT NOT NULL,
  level INTEGER NOT NULL,
  at INTEGER NOT NULL,
  users INTEGER NOT NULL,
  roles INTEGER NOT NULL
) STRICT;
CREATE TABLE snapshot_part (
  bucket INTEGER PRIMARY KEY,
  body BLOB NOT NULL
) STRICT;

-- An empty entitlement stands for the account itself.
CREATE TABLE cause (
  target TEXT NOT NULL,
  record TEXT NOT NULL,
  entitlement TEXT NOT NULL,
  cause TEXT NOT NULL,
  PRIMARY KEY (target, record, entitlement)
) STRICT, WITHOUT ROWID;

CREATE TABLE decision (
  seq INTEGER PRIMARY KEY AUTOINCREMENT,
  body TEXT NOT NULL
) STRICT;

CREATE TABLE standing (
  space INTEGER PRIMARY KEY REFERENCES space,
  body BLOB NOT NULL
) STRICT;

CREATE TABLE seen (
  space INTEGER NOT NULL REFERENCES space,
  account TEXT NOT NULL,
  user_name TEXT,
  state TEXT NOT NULL,
  record TEXT,
  PRIMARY KEY (space, account)
) STRICT, WITHOUT ROWID;
CREATE INDEX seen_record ON seen (space, record) WHERE record IS NOT NULL;

CREATE TABLE cycle (
  seq INTEGER PRIMARY KEY AUTOINCREMENT,
  id TEXT NOT NULL UNIQUE,
  target TEXT NOT NULL,
  body TEXT NOT NULL
) STRICT;
CREATE INDEX cycle_target ON cycle (target, seq);

CREATE TABLE token (
  name TEXT PRIMARY KEY,
  body TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- The head stands in the row of its chain; an empty target is the chain of the installation.
CREATE TABLE chain (
  id INTEGER PRIMARY KEY,
  target TEXT NOT NULL UNIQUE,
  seq INTEGER NOT NULL,
  hash TEXT NOT NULL,
  signature TEXT NOT NULL
) STRICT;
CREATE TABLE audit (
  chain INTEGER NOT NULL REFERENCES chain,
  seq INTEGER NOT NULL,
  hash TEXT NOT NULL,
  event TEXT NOT NULL,
  PRIMARY KEY (chain, seq)
) STRICT, WITHOUT ROWID;
