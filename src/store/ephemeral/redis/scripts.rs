//! What does Redis do in one atomic step? The scripts.
//!
//! A counter is a sorted set of what it counted, scored by time. It takes one key and four arguments: the member that
//! the event counts as, the milliseconds of the window, the limit and the suspicion (0 for none).

use std::sync::LazyLock;

use fred::types::scripts::Script;

const COUNTERS: &str = "
    local COUNTER_ARGS = 4

    -- How long the k-th last event stays within the window: so long there are k of them.
    local function fills(key, k, window, now)
        local event = redis.call('ZREVRANGE', key, k - 1, k - 1, 'WITHSCORES')
        return event[2] and event[2] + window - now or 0
    end

    -- Calls f(key, member, window, limit, suspicion) for n counters.
    local function each_counter(n, key, arg, f)
        for i = 0, n - 1 do
            local a = arg + i * COUNTER_ARGS
            f(KEYS[key + i], ARGV[a], tonumber(ARGV[a + 1]), tonumber(ARGV[a + 2]), tonumber(ARGV[a + 3]), i)
        end
    end

    -- Which counter refuses (-1: none), for how long, and is any suspicious (0 or 1)?
    local function survey(n, key, arg, now)
        local refusing, wait, suspicious = -1, 0, 0
        each_counter(n, key, arg, function(key, member, window, limit, suspicion, i)
            local counted = redis.call('ZSCORE', key, member)
            if counted and counted + window > now then return end
            local rest = limit > 0 and fills(key, limit, window, now) or 0
            if rest > wait then refusing, wait = i, rest end
            if suspicion > 0 and fills(key, suspicion, window, now) > 0 then suspicious = 1 end
        end)
        return refusing, wait, suspicious
    end

    local function count(n, key, arg, now)
        each_counter(n, key, arg, function(key, member, window)
            redis.call('ZREMRANGEBYSCORE', key, '-inf', now - window)
            redis.call('ZADD', key, now, member)
            redis.call('PEXPIRE', key, window)
        end)
    end

    -- Clears the first counter, and what it counted from the others.
    local function clear(n, key)
        local members = redis.call('ZRANGE', KEYS[key], 0, -1)
        for i = 1, n - 1 do
            for _, member in ipairs(members) do redis.call('ZREM', KEYS[key + i], member) end
        end
        redis.call('DEL', KEYS[key])
    end
";

fn script(body: &str) -> Script {
    Script::from_lua(format!("{COUNTERS}{body}"))
}

/// `KEYS`: counters. `ARGV`: now, counters. Returns which counter refuses, for how long, and whether any is suspicious.
pub static SURVEY: LazyLock<Script> = LazyLock::new(|| script("return {survey(#KEYS, 1, 2, tonumber(ARGV[1]))}"));

/// `KEYS`: counters, then the code if there is one. `ARGV`: now, the number of counters, 1 if suspicion is no obstacle,
/// counters; for a code: digest, tries, milliseconds. Returns what [`SURVEY`] does.
pub static COUNT: LazyLock<Script> = LazyLock::new(|| {
    script(
        "local now, n, trusted = tonumber(ARGV[1]), tonumber(ARGV[2]), ARGV[3] == '1'
         local refusing, wait, suspicious = survey(n, 1, 4, now)
         if refusing == -1 and (trusted or suspicious == 0) then
             count(n, 1, 4, now)
             local code, arg = KEYS[n + 1], 4 + n * COUNTER_ARGS
             if code then
                 redis.call('DEL', code)
                 redis.call('HSET', code, 'digest', ARGV[arg], 'tries_left', ARGV[arg + 1])
                 redis.call('PEXPIRE', code, ARGV[arg + 2])
             end
         end
         return {refusing, wait, suspicious}",
    )
});

/// `KEYS`: counters. `ARGV`: now, counters.
pub static UNCOUNT: LazyLock<Script> = LazyLock::new(|| {
    script(
        "local now = tonumber(ARGV[1])
         each_counter(#KEYS, 1, 2, function(key, member)
             local at = redis.call('ZSCORE', key, member)
             if at and tonumber(at) == now then redis.call('ZREM', key, member) end
         end)
         return 0",
    )
});

/// `KEYS`: code. `ARGV`: digest.
pub static WITHDRAW: LazyLock<Script> = LazyLock::new(|| {
    Script::from_lua(
        "if redis.call('HGET', KEYS[1], 'digest') == ARGV[1] then redis.call('DEL', KEYS[1]) end
         return 0",
    )
});

/// `KEYS`: counters.
pub static CLEAR: LazyLock<Script> = LazyLock::new(|| script("clear(#KEYS, 1) return 0"));

/// Attempts, one after the other. `KEYS` of each: code, the counter of unredeemed codes, replay, counters of guesses.
/// `ARGV` of each: the number of those counters, now, digest, fixed digest or nothing, value and milliseconds of the
/// replay or nothing, counters. Returns of each the outcome, its two numbers and a text: 1 accepted (tries,
/// milliseconds), 0 wrong (tries left), -1 missing, -2 refused (counter, milliseconds), 2 repeated (the value of the
/// replay), -3 failed (the reason): one that fails leaves the others alone.
///
/// The comparison needs no constant time: both sides are keyed hashes that no caller can steer.
pub static REDEEM: LazyLock<Script> = LazyLock::new(|| {
    script(
        "local KEYS_BEFORE_COUNTERS, ARGS_BEFORE_COUNTERS = 3, 6

         local function redeem(key, arg, n)
             local code, unredeemed, replay, guesses = KEYS[key], KEYS[key + 1], KEYS[key + 2], key + 3
             local now, digest, fixed, value = tonumber(ARGV[arg + 1]), ARGV[arg + 2], ARGV[arg + 3], ARGV[arg + 4]
             if value ~= '' then
                 local kept = redis.call('GET', replay)
                 if kept then return {2, 0, 0, kept} end
             end
             -- Hardly anybody has guessed wrong before: one look tells, and saves the others.
             local guessed = n > 0 and redis.call('EXISTS', unpack(KEYS, guesses, guesses + n - 1)) > 0
             if guessed then
                 local refusing, wait = survey(n, guesses, arg + ARGS_BEFORE_COUNTERS, now)
                 if refusing ~= -1 then return {-2, refusing, wait, ''} end
             end

             local right, tries = fixed, 0
             if fixed == '' then
                 local stored = redis.call('HMGET', code, 'digest', 'tries_left')
                 if not stored[1] then return {-1, 0, 0, ''} end
                 right, tries = stored[1], tonumber(stored[2])
             end
             if right ~= digest then
                 count(n, guesses, arg + ARGS_BEFORE_COUNTERS, now)
                 if fixed == '' then
                     if tries <= 1 then redis.call('DEL', code) else redis.call('HINCRBY', code, 'tries_left', -1) end
                 end
                 return {0, tries - 1, 0, ''}
             end
             local ttl = redis.call('PTTL', code)
             if fixed == '' then redis.call('DEL', code, unredeemed) else redis.call('DEL', unredeemed) end
             if guessed then clear(n, guesses) end
             if value ~= '' then redis.call('SET', replay, value, 'PX', ARGV[arg + 5]) end
             return {1, tries, ttl, ''}
         end

         local outcomes, key, arg = {}, 1, 1
         while KEYS[key] do
             local n = tonumber(ARGV[arg])
             local done, outcome = pcall(redeem, key, arg, n)
             local reason = type(outcome) == 'table' and outcome.err or outcome
             -- Nobody's fault: the server is no primary any more, and whoever is connected has to hear of it.
             if not done and tostring(reason):find('^READONLY') then return redis.error_reply(reason) end
             outcomes[#outcomes + 1] = done and outcome or {-3, 0, 0, tostring(reason)}
             key, arg = key + KEYS_BEFORE_COUNTERS + n, arg + ARGS_BEFORE_COUNTERS + n * COUNTER_ARGS
         end
         return outcomes",
    )
});

/// `KEYS`: code, replay. `ARGV`: for a code: digest, tries, milliseconds.
pub static RESTORE: LazyLock<Script> = LazyLock::new(|| {
    Script::from_lua(
        "redis.call('DEL', KEYS[2])
         if not ARGV[1] or redis.call('EXISTS', KEYS[1]) == 1 then return 0 end
         redis.call('HSET', KEYS[1], 'digest', ARGV[1], 'tries_left', ARGV[2])
         redis.call('PEXPIRE', KEYS[1], ARGV[3])
         return 1",
    )
});
