-- For `users list --created-after`.
CREATE INDEX IF NOT EXISTS users_created_at ON users (created_at, id) WHERE mobile IS NOT NULL;
