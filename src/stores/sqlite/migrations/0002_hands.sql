-- What is remembered of other hands at one account; most accounts have no row.

PRAGMA user_version = 2;

CREATE TABLE hand (
  space INTEGER NOT NULL REFERENCES space,
  account TEXT NOT NULL,
  body BLOB NOT NULL,
  PRIMARY KEY (space, account)
) STRICT, WITHOUT ROWID;
