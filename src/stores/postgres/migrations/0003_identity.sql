-- Who had which account, as keyed hashes; zero stands for "nothing is known".

CREATE TABLE identity (
  space BIGINT NOT NULL REFERENCES space,
  record BIGINT NOT NULL,
  account BIGINT NOT NULL,
  mail BIGINT NOT NULL,
  family BIGINT NOT NULL,
  since BIGINT NOT NULL,
  PRIMARY KEY (space, record, account, mail, family)
);
