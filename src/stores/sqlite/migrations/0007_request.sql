-- What waits for a person's decision, and what was decided.

PRAGMA user_version = 7;

CREATE TABLE request (
  space INTEGER NOT NULL REFERENCES space,
  record TEXT NOT NULL,
  subject TEXT NOT NULL,
  body BLOB NOT NULL,
  PRIMARY KEY (space, record, subject)
) STRICT, WITHOUT ROWID;
