-- Since when narrowing of a user is owed: the moment access ended.

PRAGMA user_version = 3;

CREATE TABLE owed (
  space INTEGER NOT NULL REFERENCES space,
  record TEXT NOT NULL,
  since INTEGER NOT NULL,
  PRIMARY KEY (space, record)
) STRICT, WITHOUT ROWID;
