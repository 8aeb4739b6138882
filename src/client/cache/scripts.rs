//! What happens inside Redis, each atomically. Of one cached key `k`: `v:k` its value, `l:k` the lease of who fills it, `w:k`
//! the writers under way (sorted by when they are given up). Of all: `pending` (writes to be ended by somebody, sorted by
//! when) and `after` (a write's token to what the standby must have executed first).

use redis::Script;

/// KEYS v, l, w; ARGV token, lease in ms. Answers {1, value}, {2} being written, {3} yours to fill, {4} another fills.
const GET: &str = r"
local v = redis.call('GET', KEYS[1])
if v then return {1, v} end
local t = redis.call('TIME')
redis.call('ZREMRANGEBYSCORE', KEYS[3], '-inf', t[1] * 1000 + math.floor(t[2] / 1000))
if redis.call('ZCARD', KEYS[3]) > 0 then return {2} end
if redis.call('SET', KEYS[2], ARGV[1], 'NX', 'PX', ARGV[2]) then return {3} end
return {4}";

/// KEYS v, l; ARGV token, value, ms. Answers 1 if the lease was still the token's: a slow reader puts nothing back.
const FILL: &str = r"
if redis.call('GET', KEYS[2]) ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
redis.call('DEL', KEYS[2])
return 1";

/// KEYS pending, then v, l, w of each key; ARGV token, hold in ms, then the keys' names.
const BEGIN: &str = r"
local t = redis.call('TIME')
local now, hold = t[1] * 1000 + math.floor(t[2] / 1000), tonumber(ARGV[2])
for i = 3, #ARGV do
  local at = 2 + (i - 3) * 3
  redis.call('DEL', KEYS[at], KEYS[at + 1])
  redis.call('ZADD', KEYS[at + 2], now + hold, ARGV[1])
  if redis.call('PTTL', KEYS[at + 2]) < hold then redis.call('PEXPIRE', KEYS[at + 2], hold) end
  redis.call('ZADD', KEYS[1], now + hold, ARGV[1] .. '|' .. ARGV[i])
end
return 1";

/// KEYS pending, after, then v, l, w of each key; ARGV token, then the keys' names.
const END: &str = r"
for i = 2, #ARGV do
  local at = 3 + (i - 2) * 3
  redis.call('DEL', KEYS[at], KEYS[at + 1])
  redis.call('ZREM', KEYS[at + 2], ARGV[1])
  redis.call('ZREM', KEYS[1], ARGV[1] .. '|' .. ARGV[i])
end
redis.call('HDEL', KEYS[2], ARGV[1])
return 1";

/// KEYS pending, after; ARGV token, what must be executed first, then the keys' names: due now, to be ended by the sweeper.
const DEFER: &str = r"
local t = redis.call('TIME')
redis.call('HSET', KEYS[2], ARGV[1], ARGV[2])
for i = 3, #ARGV do redis.call('ZADD', KEYS[1], t[1] * 1000 + math.floor(t[2] / 1000), ARGV[1] .. '|' .. ARGV[i]) end
return 1";

/// KEYS pending, after; ARGV ms until they are looked at again, how many. Takes due entries: {entry, after or ''}, …
const DUE: &str = r"
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local due, out = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now, 'LIMIT', 0, ARGV[2]), {}
for _, entry in ipairs(due) do
  redis.call('ZADD', KEYS[1], now + ARGV[1], entry)
  out[#out + 1] = entry
  out[#out + 1] = redis.call('HGET', KEYS[2], string.match(entry, '^[^|]*')) or ''
end
return out";

pub(super) struct Scripts {
    pub(super) get: Script,
    pub(super) fill: Script,
    pub(super) begin: Script,
    pub(super) end: Script,
    pub(super) defer: Script,
    pub(super) due: Script,
}

impl Default for Scripts {
    fn default() -> Self {
        let [get, fill, begin, end, defer, due] = [GET, FILL, BEGIN, END, DEFER, DUE].map(Script::new);
        Self { get, fill, begin, end, defer, due }
    }
}
