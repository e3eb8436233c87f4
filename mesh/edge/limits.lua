-- Counts each request against what the rate limit service lends to this edge, so that only few requests have to wait for the service: who
-- calls often is lent more at a time, and who is refused is not asked about again for a while. Each worker of Envoy has a state of its own.
-- CONFIG comes before this text: built_in (class -> {per_second, burst}) and refusal (the body of an answer that the edge makes by itself).

local NAMESPACE = "treadle.limits"
local SERVICE = "envoy.filters.http.ratelimit"
-- What is lent is lost when it is not used in so long: short, so that a new plan soon counts.
local LEASE_MS = 1500
local FIRST_LEASE, LARGEST_LEASE = 4, 4096
-- A lease that lasts longer than this is large enough.
local WANTED_MS = 300
-- How long others may count on the request that asks for the next lease.
local ASKING_MS = 100
-- How long the service is left alone when it does not answer, and how long a refusal is taken for granted at most.
local AWAY_MS, REFUSED_MS = 1000, 1000
-- Callers that are remembered, twice.
local MOST = 20000

local young, old, count = {}, {}, 0
local away_until = 0

local function caller(name)
  local known = young[name]
  if known then return known end
  known = old[name] or {left = 0, low = 0, ends = 0, lease = FIRST_LEASE, lent_at = 0, asking_until = 0, refused_until = 0}
  if count >= MOST then young, old, count = {}, young, 0 end
  young[name], count = known, count + 1
  return known
end

-- What is asked for next: more when the last lease was soon used up, less when most of it was lost.
local function next_lease(known, now)
  if now < known.ends and now - known.lent_at < WANTED_MS then
    known.lease = math.min(known.lease * 2, LARGEST_LEASE)
  elseif now >= known.ends and known.left * 2 > known.lease then
    known.lease = math.max(known.lease / 2, FIRST_LEASE)
  end
  return known.lease
end

-- A token bucket, for as long as the service is away. Returns the milliseconds to wait when it is empty.
local function own_bucket(known, class, now)
  local rate = CONFIG.built_in[class]
  if not rate then return 0 end
  local filled = (known.tokens or rate.burst) + (now - (known.filled_at or now)) * rate.per_second / 1000
  known.tokens, known.filled_at = math.min(filled, rate.burst), now
  if known.tokens < 1 then return math.ceil((1 - known.tokens) * 1000 / rate.per_second) end
  known.tokens = known.tokens - 1
  known.limit, known.remaining, known.reset_at = rate.burst, math.floor(known.tokens), now + 1000
  return 0
end

local function refuse(handle, wait_ms, body, details)
  local headers = {[":status"] = "429", ["retry-after"] = tostring(math.max(1, math.ceil(wait_ms / 1000)))}
  if details then headers["grpc-status-details-bin"] = details end
  handle:respond(headers, body)
end

function envoy_on_request(handle)
  local headers = handle:headers()
  local class = handle:metadata():get(headers:get(":method"))
  if not class then return end
  local info = handle:streamInfo()
  local state, now = info:dynamicMetadata(), handle:timestamp()
  local user, key = headers:get("x-treadle-user"), nil
  if not user then
    key = string.match(headers:get("authorization") or "", "^%a+ trd_(%w%w%w%w%w%w%w%w)_")
  end
  local address = string.match(info:downstreamRemoteAddress(), "^(.*):%d+$") or ""
  local name = class .. " " .. address .. " " .. (user or key or "")
  local known = caller(name)
  state:set(NAMESPACE, "name", name)
  if now < known.refused_until then
    return refuse(handle, known.refused_until - now, known.body, known.details)
  end
  local is_lent = now < known.ends and known.left > 0
  if is_lent and (known.left > known.low or now < known.asking_until or now < away_until) then
    known.left = known.left - 1
    return
  end
  if now < away_until then
    local wait_ms = own_bucket(known, class, now)
    if wait_ms > 0 then refuse(handle, wait_ms, CONFIG.refusal, nil) end
    return
  end
  -- This request asks the service. The filter behind this one makes its descriptors of these.
  state:set(NAMESPACE, "class", class)
  -- Those who cannot wait for the one that asks already are only counted.
  state:set(NAMESPACE, "lease", tostring(now < known.asking_until and 0 or next_lease(known, now)))
  state:set(NAMESPACE, "at", now)
  if user then state:set(NAMESPACE, "user", user) elseif key then state:set(NAMESPACE, "key", key) end
  known.asking_until = now + ASKING_MS
end

local function learn(known, verdict, at, now)
  known.asking_until = 0
  known.limit, known.remaining, known.reset_at = verdict.limit, verdict.remaining, at + verdict.reset_ms
  if verdict.retry_ms > 0 then
    known.refused_until = math.min(at + verdict.retry_ms, now + REFUSED_MS)
    known.body, known.details, known.left = verdict.body, verdict.details, 0
    return
  end
  if now >= known.ends then known.left = 0 end
  known.left = known.left + verdict.lent
  known.low, known.lent_at, known.ends = math.floor(known.left / 4), at, at + LEASE_MS
end

function envoy_on_response(handle)
  local state = handle:streamInfo():dynamicMetadata()
  local mine = state:get(NAMESPACE)
  if not mine then return end
  local known, now, headers = caller(mine.name), handle:timestamp(), handle:headers()
  if mine.class then
    local verdict = state:get(SERVICE)
    if verdict then
      learn(known, verdict, mine.at, now)
    else
      away_until, known.asking_until = now + AWAY_MS, 0
    end
  end
  if known.limit then
    headers:replace("ratelimit-limit", string.format("%d", known.limit))
    headers:replace("ratelimit-remaining", string.format("%d", known.remaining + (now < known.ends and known.left or 0)))
    headers:replace("ratelimit-reset", string.format("%d", math.max(0, math.ceil((known.reset_at - now) / 1000))))
  end
  -- Over REST the body says it all.
  if headers:get("grpc-status-details-bin") and not headers:get("grpc-status") then headers:remove("grpc-status-details-bin") end
end
