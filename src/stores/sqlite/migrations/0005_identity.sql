-- Who had which account, as keyed hashes; zero stands for "nothing is known".

PRAGMA user_version = 5;

CREATE TABLE identity (
  space INTEGER NOT NULL REFERENCES space,
  record INTEGER NOT NULL,
  account INTEGER NOT NULL,
  mail INTEGER NOT NULL,
  family INTEGER NOT NULL,
  since INTEGER NOT NULL,
  PRIMARY KEY (space, record, account, mail, family)
) STRICT, WITHOUT ROWID;
