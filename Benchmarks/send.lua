-- wrk script: sends to 50,000 different numbers. KEY comes from the environment.
local counter = 0
local thread_id = 0
function setup(thread) thread:set("id", thread_id); thread_id = thread_id + 1 end
function request()
    counter = counter + 1
    local number = 15550000000 + (counter * 2 + id) % 50000
    local body = string.format('{"to_phone":"+%d","text":"Your parcel %d is on its way and will arrive tomorrow."}', number, counter)
    return wrk.format("POST", "/v1/send", {
        ["Authorization"] = "Bearer " .. (os.getenv("KEY") or ""), ["Content-Type"] = "application/json" }, body)
end
local refused = 0
function response(status) if status ~= 202 then refused = refused + 1 end end
function done(summary, latency)
    io.write(string.format("requests/s %.0f  p50 %.2f ms  p99 %.2f ms  errors %d\n",
        summary.requests / summary.duration * 1e6, latency:percentile(50) / 1000, latency:percentile(99) / 1000,
        summary.errors.status + summary.errors.connect + summary.errors.read + summary.errors.timeout))
end
