-- For `users list --created-after`. IF NOT EXISTS: on a large table, operators create it beforehand while users sign in.
CREATE INDEX IF NOT EXISTS users_created_at ON users (created_at, id) WHERE mobile IS NOT NULL;
