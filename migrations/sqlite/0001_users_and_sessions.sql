-- Times are microseconds since 1970, ids are the 16 bytes of a UUID.
-- A deleted user keeps the row without the number, so that the number is free again: hence a null mobile.
CREATE TABLE users (
    id            blob NOT NULL PRIMARY KEY,
    mobile        text UNIQUE,
    name          text NOT NULL,
    avatar_url    text,
    password_hash text,
    status        text NOT NULL,
    created_at    integer NOT NULL,
    updated_at    integer NOT NULL,
    last_login    integer NOT NULL
) STRICT, WITHOUT ROWID;

-- No foreign key: rows of users are never deleted, so it would guard against nothing and cost a look-up per sign-in.
CREATE TABLE sessions (
    id              blob NOT NULL PRIMARY KEY,
    user_id         blob NOT NULL,
    amr             text NOT NULL,
    refresh_counter integer NOT NULL,
    created_at      integer NOT NULL,
    refreshed_at    integer,
    expires_at      integer NOT NULL,
    revoked_at      integer,
    ip              text,
    user_agent      text
) STRICT, WITHOUT ROWID;

CREATE INDEX sessions_user_id ON sessions (user_id);
CREATE INDEX sessions_expires_at ON sessions (expires_at);
CREATE INDEX sessions_revoked_at ON sessions (revoked_at) WHERE revoked_at IS NOT NULL;

CREATE TABLE settings (
    name  text NOT NULL PRIMARY KEY,
    value text NOT NULL
) STRICT, WITHOUT ROWID;
