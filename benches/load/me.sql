-- One statement per request for a user: what src/store/users/postgres/accounts.rs sends.
-- Given: users.
\set user random(0, :users - 1)
SELECT * FROM users WHERE id = ('01980000-0000-7000-8000-' || lpad(to_hex(:user::bigint), 12, '0'))::uuid AND mobile IS NOT NULL;
