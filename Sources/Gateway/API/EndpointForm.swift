import Log
import Projections

/// The body of `PUT /v1/webhook`, checked.
struct EndpointForm {
    /// What an endpoint gets that names no events.
    static let standardEvents = [
        "message_received", "reel_shared", "post_shared", "sms.message_received", "whatsapp.message_received",
        "lead_captured", "escalation",
    ]
    static let bySubscription = [
        "message.status", "message.edited", "message.deleted", "message.reaction", "webhook.test",
    ]
    /// Headers that Waybill or HTTP itself sets.
    private static let reserved: Set<String> = [
        "host", "content-length", "content-type", "transfer-encoding", "connection", "user-agent", "webhook-id",
        "webhook-timestamp", "webhook-signature", "expect", "te", "upgrade",
    ]

    let settings: EndpointSettings
    let event: EndpointConfigured

    init(_ fields: JSONFields, _ configuration: GatewayConfiguration, _ client: ClientRow) throws {
        try fields.allow([
            "url", "events", "channels", "enabled", "headers", "retry_schedule", "max_in_flight", "ordering",
        ])
        var settings = EndpointSettings()
        settings.url = try EndpointForm.url(fields, allowHTTP: configuration.webhooksAllowHTTP)
        settings.headers = try EndpointForm.headers(fields, prefix: configuration.webhooksHeaderPrefix)
        var event = EndpointConfigured()
        event.enabled = try fields.bool("enabled") ?? true
        event.events = ListField(try EndpointForm.events(fields))
        event.channels = ListField(try EndpointForm.channels(fields, client))
        let schedule = try fields.integers("retry_schedule", in: 1...604_800)?.map { UInt64($0) }
        guard (schedule?.count ?? 0) <= 20 else { throw fields.wrong("retry_schedule", "at most 20 waits") }
        event.retrySchedule = ListField(schedule ?? RetrySchedule.standard)
        event.maxInFlight = UInt64(try fields.integer("max_in_flight", in: 1...256) ?? 64)
        switch try fields.string("ordering") {
        case nil, "first_attempt": event.strictOrdering = false
        case "strict": event.strictOrdering = true
        default: throw fields.wrong("ordering", "first_attempt or strict")
        }
        self.settings = settings
        self.event = event
    }

    private static func url(_ fields: JSONFields, allowHTTP: Bool) throws -> String {
        let url = try fields.require("url")
        let isHTTPS = url.lowercased().hasPrefix("https://")
        guard isHTTPS || (allowHTTP && url.lowercased().hasPrefix("http://")) else {
            throw fields.wrong("url", "an https URL")
        }
        let rest = url.drop { $0 != ":" }.dropFirst(3)
        let authority = rest.prefix { !"/?#".contains($0) }
        guard url.utf8.count <= 2048, !authority.isEmpty, url.utf8.allSatisfy({ $0 > 0x20 && $0 < 0x7F }) else {
            throw fields.wrong("url", "a URL of at most 2048 printable ASCII characters with a host")
        }
        // Credentials in a URL end up in logs everywhere; a header is the place for them.
        guard !authority.contains("@") else { throw fields.wrong("url", "free of user and password; use headers") }
        return url
    }

    private static func headers(_ fields: JSONFields, prefix: String) throws -> [(name: String, value: String)] {
        guard let object = try fields.object("headers") else { return [] }
        guard object.names.count <= 20 else { throw fields.wrong("headers", "at most 20 headers") }
        return try object.names.map { name in
            let value = try object.string(name) ?? ""
            let lowered = name.lowercased()
            guard !reserved.contains(lowered), !lowered.hasPrefix("x-\(prefix.lowercased())-"), isToken(name),
                value.utf8.allSatisfy({ $0 >= 0x20 && $0 != 0x7F }), value.utf8.count <= 2048
            else { throw object.wrong(name, "a header that Waybill does not set itself, with a plain value") }
            return (name, value)
        }
    }

    /// A field name as RFC 9110 allows it.
    private static func isToken(_ name: String) -> Bool {
        !name.isEmpty && name.utf8.count <= 128
            && name.utf8.allSatisfy { byte in
                (48...57).contains(byte) || (65...90).contains(byte) || (97...122).contains(byte)
                    || "!#$%&'*+-.^_`|~".utf8.contains(byte)
            }
    }

    private static func events(_ fields: JSONFields) throws -> [String] {
        guard let events = try fields.strings("events") else { return standardEvents }
        let known = Set(standardEvents + bySubscription + ["*"])
        if let unknown = events.first(where: { !known.contains($0) }) {
            throw GatewayError(.invalidRequest, "there is no event type \(unknown)", field: "events")
        }
        return events
    }

    private static func channels(_ fields: JSONFields, _ client: ClientRow) throws -> [UInt64] {
        try (fields.strings("channels") ?? []).map { name in
            guard let platform = Platform(name: name) else {
                throw fields.wrong("channels", "a list of facebook, instagram, sms, whatsapp")
            }
            let included = platform == .sms || platform == .whatsapp ? client.planIncludesPhone : true
            guard included, client.channels[platform] != nil else {
                throw Refusal(platform == .sms ? .smsNotEnabled : .channelNotConnected, "\(name) is not connected")
            }
            return UInt64(platform.rawValue)
        }
    }
}
