//! The scripts: what Redis does in one atomic step.
//!
//! A counter is a sorted set of what it counted, scored by time. It takes one key and one argument: `window limit
//! suspicion counting member`, separated by spaces. The window is in milliseconds, 0 is no limit and no suspicion, and
//! without a member the event counts as the id of its tally.
//!
//! A flow is a hash of hourly sums, with `s` (sent) or `r` (redeemed) before the number of the hour, and beside it one
//! of daily sums of codes redeemed. It takes one key, that of the former, and one argument: `sent_per_hour unredeemed`,
//! -1 for no bound and 0 or 1. The arithmetic is that of [`Sums`](crate::store::ephemeral::flow::Sums).
//!
//! A tally takes the keys and the arguments of its counters, then those of its flows.

mod codes;

use std::sync::LazyLock;

use fred::types::scripts::Script;

pub use codes::{FALL_BACK, ISSUE, REDEEM, RESTORE, WITHDRAW};

use crate::store::ephemeral::flow;

const TALLIES: &str = "
    local IF_ADMITTED, ALWAYS = '0', '1'

    local function counter(arg)
        local window, limit, suspicion, counting, member = string.match(ARGV[arg], '^(%d+) (%d+) (%d+) (%d) (.*)$')
        return tonumber(window), tonumber(limit), tonumber(suspicion), counting, member
    end

    -- How long the k-th last event stays within the window: so long there are k of them.
    local function fills(key, k, window, now)
        if k == 0 then return 0 end
        local event = redis.call('ZREVRANGE', key, k - 1, k - 1, 'WITHSCORES')
        -- Of requests at one instant, one may be counted that read the clock later.
        return event[2] and math.min(event[2] - now, 0) + window or 0
    end

    -- Is another message suspicious?
    local function suspects(key, arg, now)
        local sums = redis.call('HGETALL', key)
        if #sums == 0 then return false end
        local bound, heeds_unredeemed = string.match(ARGV[arg], '^(%S+) (%d)$')
        local hour, sent, redeemed, current, previous = math.floor(now / HOUR), 0, 0, 0, 0
        for i = 1, #sums, 2 do
            local at, sum = tonumber(string.sub(sums[i], 2)), tonumber(sums[i + 1])
            if at > hour - HOURS and at <= hour then
                if string.sub(sums[i], 1, 1) == 'r' then
                    redeemed = redeemed + sum
                else
                    sent = sent + sum
                    if at == hour then current = sum elseif at == hour - 1 then previous = sum end
                end
            end
        end
        bound = tonumber(bound)
        local last_hour = current + math.ceil(previous * (HOUR - now % HOUR) / HOUR)
        if bound >= 0 and last_hour >= math.max(bound, redeemed) then return true end
        local open = sent - redeemed
        if heeds_unredeemed == '0' or open <= UNREDEEMED or 10 * open <= UNREDEEMED_TENTHS * redeemed then
            return false
        end
        local days, day, busiest = redis.call('HGETALL', key .. DAILY), math.floor(now / DAY), 0
        for i = 1, #days, 2 do
            local at = tonumber(days[i])
            if at > day - DAYS and at <= day then busiest = math.max(busiest, tonumber(days[i + 1])) end
        end
        return 10 * open > UNREDEEMED_TENTHS * busiest
    end

    -- Adds to a sum, of which nothing is kept at 0. The first of its hour or day lets the key live for as long as all of
    -- them; what is older than the oldest, if one is given, goes then.
    local function add(key, kind, at, by, ttl, oldest)
        local sum = redis.call('HINCRBY', key, kind .. at, by)
        if sum <= 0 then
            redis.call('HDEL', key, kind .. at)
        elseif by > 0 and sum == by then
            redis.call('PEXPIRE', key, ttl)
            if not oldest then return end
            for _, field in ipairs(redis.call('HKEYS', key)) do
                if tonumber(string.match(field, '%d+$')) < oldest then redis.call('HDEL', key, field) end
            end
        end
    end

    local function add_sent(key, now, by)
        local hour = math.floor(now / HOUR)
        add(key, 's', hour, by, HOURLY_TTL, hour - HOURS + 1)
    end

    local function add_redeemed(key, now, by)
        local hour, day = math.floor(now / HOUR), math.floor(now / DAY)
        -- A message before it has let the old ones go.
        add(key, 'r', hour, by, HOURLY_TTL)
        add(key .. DAILY, '', day, by, DAILY_TTL, day - DAYS + 1)
    end

    -- Of a tally of n counters and m flows: which counter refuses (-1: none), for how long, which counter or flow is
    -- suspicious (-1: none), and how many counters refuse?
    local function survey(key, arg, n, m, now)
        local refusing, wait, suspicious, refusals = -1, 0, -1, 0
        for i = 0, n - 1 do
            local window, limit, suspicion, _, member = counter(arg + i)
            local counted = member ~= '' and redis.call('ZSCORE', KEYS[key + i], member)
            if not (counted and counted + window > now) then
                local rest = fills(KEYS[key + i], limit, window, now)
                if rest > 0 then refusals = refusals + 1 end
                if rest > wait then refusing, wait = i, rest end
                if suspicious == -1 and fills(KEYS[key + i], suspicion, window, now) > 0 then suspicious = i end
            end
        end
        for i = n, n + m - 1 do
            if refusing ~= -1 or suspicious ~= -1 then break end
            if suspects(KEYS[key + i], arg + i, now) then suspicious = i end
        end
        return refusing, wait, suspicious, refusals
    end

    -- Counts what is counted if it is admitted, or else what is counted always.
    local function count(key, arg, n, m, id, now, admitted)
        for i = 0, n - 1 do
            local window, limit, _, counting, member = counter(arg + i)
            local counted = counting == IF_ADMITTED and admitted
                or counting == ALWAYS and (admitted or fills(KEYS[key + i], limit, window, now) <= 0)
            if counted then
                redis.call('ZREMRANGEBYSCORE', KEYS[key + i], '-inf', now - window)
                redis.call('ZADD', KEYS[key + i], now, member ~= '' and member or id)
                redis.call('PEXPIRE', KEYS[key + i], window)
            end
        end
        if not admitted then return end
        for i = n, n + m - 1 do add_sent(KEYS[key + i], now, 1) end
    end

    local function uncount(key, arg, n, m, id, now)
        for i = 0, n - 1 do
            local _, _, _, counting, member = counter(arg + i)
            if member == '' then member = id end
            local at = counting == IF_ADMITTED and redis.call('ZSCORE', KEYS[key + i], member)
            if at and tonumber(at) == now then redis.call('ZREM', KEYS[key + i], member) end
        end
        for i = n, n + m - 1 do add_sent(KEYS[key + i], now, -1) end
    end

    -- Clears the first counter, and what it counted from the others. Returns what that was.
    local function clear(key, n)
        local members = redis.call('ZRANGE', KEYS[key], 0, -1)
        for i = 1, n - 1 do
            for _, member in ipairs(members) do redis.call('ZREM', KEYS[key + i], member) end
        end
        redis.call('DEL', KEYS[key])
        return members
    end
";

fn script(body: &str) -> Script {
    let constants = [
        ("HOUR", flow::HOUR),
        ("DAY", flow::DAY),
        ("HOURS", flow::HOURS),
        ("DAYS", flow::DAYS),
        ("UNREDEEMED", flow::UNREDEEMED),
        ("UNREDEEMED_TENTHS", flow::UNREDEEMED_TENTHS),
        ("HOURLY_TTL", super::millis(flow::HOURLY_TTL)),
        ("DAILY_TTL", super::millis(flow::DAILY_TTL)),
    ];
    let constants: String = constants.iter().map(|(name, value)| format!("local {name} = {value}\n")).collect();
    Script::from_lua(format!("{constants} local DAILY = ':days' {TALLIES} {body}"))
}

/// `KEYS`: a tally. `ARGV`: now, the number of counters, the tally. Returns which counter refuses, for how long, and
/// which counter or flow is suspicious.
pub static SURVEY: LazyLock<Script> = LazyLock::new(|| {
    script(
        "local n = tonumber(ARGV[2])
         local refusing, wait, suspicious = survey(1, 3, n, #KEYS - n, tonumber(ARGV[1]))
         return {refusing, wait, suspicious}",
    )
});

/// `KEYS`: a tally. `ARGV`: now, the number of counters, the id, the tally.
pub static UNCOUNT: LazyLock<Script> = LazyLock::new(|| {
    script(
        "local n = tonumber(ARGV[2])
         uncount(1, 4, n, #KEYS - n, ARGV[3], tonumber(ARGV[1]))
         return 0",
    )
});

/// `KEYS`: counters. Returns what the first one counted.
pub static CLEAR: LazyLock<Script> = LazyLock::new(|| script("return clear(1, #KEYS)"));

/// `KEYS`: a counter. `ARGV`: the time, with a parenthesis before it, after which its members are.
pub static MEMBERS: LazyLock<Script> = LazyLock::new(|| {
    Script::from_lua("return redis.call('ZRANGE', KEYS[1], ARGV[1], '+inf', 'BYSCORE', 'LIMIT', 0, ARGV[2])")
});

/// `KEYS`: a flow. `ARGV`: now, how many codes more are redeemed.
pub static ADD_REDEEMED: LazyLock<Script> =
    LazyLock::new(|| script("add_redeemed(KEYS[1], tonumber(ARGV[1]), tonumber(ARGV[2])) return 0"));
