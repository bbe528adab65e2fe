CREATE TABLE about (
    key   TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT;
INSERT INTO about VALUES ('identity', lower(hex(randomblob(4))));

CREATE TABLE target (
    name              TEXT PRIMARY KEY,
    system_identifier TEXT NOT NULL,     -- unsigned 64 bit: more than SQLite's INTEGER holds
    bound_at          TEXT NOT NULL
) STRICT;

-- `body` is the trial as JSON and the truth; the other columns repeat of it what is searched for.
CREATE TABLE trial (
    id        INTEGER PRIMARY KEY AUTOINCREMENT,
    target    TEXT NOT NULL,
    lever     TEXT NOT NULL,
    symptom   TEXT NOT NULL,
    state     TEXT NOT NULL CHECK (state IN ('open', 'kept', 'reverted', 'aborted', 'frozen', 'needs_human')),
    verdict   TEXT,
    change    REAL,
    undone_at TEXT,
    body      TEXT NOT NULL
) STRICT;
CREATE UNIQUE INDEX one_open_trial ON trial (target) WHERE state = 'open';
CREATE INDEX trial_of_target ON trial (target, id);
CREATE TRIGGER trials_stay BEFORE DELETE ON trial
BEGIN SELECT RAISE(ABORT, 'trials are never deleted'); END;

-- The trail. `touched`: the target was changed by it. `entry`: the changelog entry that is due because of it.
CREATE TABLE event (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    at         TEXT NOT NULL,
    target     TEXT NOT NULL,
    trial      INTEGER REFERENCES trial (id),
    lever      TEXT,
    what       TEXT NOT NULL,
    phase_from TEXT,
    phase_to   TEXT,
    touched    INTEGER NOT NULL DEFAULT 0 CHECK (touched IN (0, 1)),
    entry      TEXT
) STRICT;
CREATE INDEX event_of_trial ON event (trial, id);
CREATE INDEX event_of_target ON event (target, id);
CREATE INDEX event_that_touched ON event (target, id) WHERE touched = 1;
CREATE INDEX event_with_entry ON event (id) WHERE entry IS NOT NULL;
CREATE TRIGGER events_stay BEFORE DELETE ON event
BEGIN SELECT RAISE(ABORT, 'the trail is append-only'); END;
CREATE TRIGGER events_stand BEFORE UPDATE ON event
BEGIN SELECT RAISE(ABORT, 'the trail is append-only'); END;

CREATE TABLE freeze (
    target TEXT NOT NULL,
    lever  TEXT NOT NULL,
    why    TEXT NOT NULL,
    since  TEXT NOT NULL,
    PRIMARY KEY (target, lever)
) STRICT;

CREATE TABLE quarantine (
    target TEXT NOT NULL,
    lever  TEXT NOT NULL,
    why    TEXT NOT NULL,
    until  TEXT NOT NULL,
    PRIMARY KEY (target, lever)
) STRICT;
