-- What a person said to a plan that waits.
CREATE TABLE answer (
    trial    INTEGER PRIMARY KEY REFERENCES trial (id),
    approved INTEGER NOT NULL CHECK (approved IN (0, 1)),
    by       TEXT NOT NULL,
    why      TEXT,
    at       TEXT NOT NULL
) STRICT;
CREATE TRIGGER answers_stay BEFORE DELETE ON answer
BEGIN SELECT RAISE(ABORT, 'answers are never deleted'); END;
CREATE TRIGGER answers_stand BEFORE UPDATE ON answer
BEGIN SELECT RAISE(ABORT, 'an answer is given once'); END;
