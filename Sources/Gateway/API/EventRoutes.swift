import Hummingbird
import Log
import Projections

/// The client's events by pull, and its usage.
struct EventRoutes: Sendable {
    let ledger: Ledger
    let rendering: EventRendering

    func add(to group: Routes) {
        group.get("events", query: ["after", "limit", "wait"]) { try await events($0, $1) }
        group.get("usage") { try await usage($0, $1) }
    }

    /// `after` is a sequence number; `wait` seconds to hold on for the first event that is not there yet.
    private func events(_ request: Request, _ context: GatewayContext) async throws -> Response {
        try await ledger.reach(request)
        let client = try context.requireClient()
        let after = try number(request, "after", in: 0...Int(Int32.max)) ?? 0
        let limit = try number(request, "limit", in: 1...200) ?? 50
        let wait = try number(request, "wait", in: 0...30) ?? 0
        let (page, last, _) = try await ledger.wait(
            for: .events(client.id),
            try context.waitingCaller(),
            atMost: .seconds(wait),
            { state -> ([LogPosition], Int, Timestamp?) in
                let events = state.clients.events[client.id] ?? []
                let now = ledger.now
                // What an event says of files is settled by then, or it waits with all that come after it.
                let settled = events.dropFirst(after).prefix(limit).prefix { !state.media.isUnsettled(event: $0, now) }
                let next = after + settled.count
                let isHeld = settled.isEmpty && next < events.count
                return (Array(settled), events.count, isHeld ? state.media.settles(event: events[next], now) : nil)
            },
            until: { !$0.0.isEmpty || after > $0.1 },
            changes: { $0.2 }
        )
        // A log that went on from a backup may be behind what was pulled from the one before; waiting would pass over events.
        guard after <= last else {
            throw GatewayError(.invalidRequest, "the last event is \(last); begin again from there", field: "after")
        }
        return try await ledger.readers.run(client.id) {
            let bodies = try await Paging.filled(page.enumerated()) {
                try body($0.element, sequence: after + $0.offset + 1)
            }
            return Answer.json { json in
                json.list("data", bodies)
                json.number("next_after", after + bodies.count)
            }
        }
    }

    /// An event whose record is damaged, or was lost in a salvage, keeps its place in the sequence too, and no other one is held up by it.
    private func body(_ position: LogPosition, sequence: Int) throws -> [UInt8] {
        var damage = ReadDamage()
        let isLost = position == .zero
        if !isLost, let body = try damage.read({ try body(position) }) { return body }
        return JSONWriter.object { json in
            json.string("id", isLost ? nil : ledger.ids.encode(.event, position))
            json.string("type", nil)
            json.time("timestamp", nil)
            json.number("sequence", sequence)
            json.number("position", isLost ? nil : position.rawValue)
            json.bool("damaged", true)
        }
    }

    private func body(_ position: LogPosition) throws -> [UInt8] {
        if let body = try ledger.unpurged({ try rendering.body(of: position) }) { return body }
        let record = try ledger.event(at: position)
        guard case .eventPublished(let event) = record.event else { return [] }
        // Its place in the sequence stays, so that whoever pulls can go on from it.
        return JSONWriter.object { json in
            json.string("id", ledger.ids.encode(.event, position))
            json.string("type", event.type)
            json.time("timestamp", record.time)
            json.number("sequence", event.sequence)
            json.number("previous_sequence", event.previousSequence == 0 ? nil : event.previousSequence)
            json.bool("purged", true)
        }
    }

    private func number(_ request: Request, _ name: String, in range: ClosedRange<Int>) throws -> Int? {
        guard let text = request.uri.queryParameters[Substring(name)] else { return nil }
        guard let value = Int(text), range.contains(value) else {
            throw GatewayError(
                .invalidRequest,
                "\(name) must be a whole number from \(range.lowerBound) to \(range.upperBound)",
                field: name
            )
        }
        return value
    }

    private func usage(_ request: Request, _ context: GatewayContext) async throws -> Response {
        try await ledger.reach(request)
        let client = try context.requireClient()
        let month = UsageMonth.of(ledger.now, timeZone: client.timeZone)
        let counted = try await ledger.read { $0.usage.month(client.id, month) }
        return Answer.json { json in
            json.string("month", "\(month / 100)-\(month % 100 < 10 ? "0" : "")\(month % 100)")
            json.string("time_zone", client.timeZone)
            json.object("sms") { json in
                json.number("quota", client.smsMonthlyQuota)
                json.number("used", counted.used)
                json.number("reserved", counted.reserved)
            }
        }
    }
}
