package import Projections

/// What the Graph API's answer to a send says about the message. Facts: `reference/channels.md`, C.4, D.3 and E.4.
package enum GraphAnswer {
    /// Only Meta's own error body proves a refusal.
    package static func result(
        _ platform: Platform,
        _ answer: Result<OutgoingResponse, TransferError>,
        startedAt: Timestamp,
        finishedAt: Timestamp
    ) -> SendResult {
        ProviderAnswer.result(answer, startedAt: startedAt, finishedAt: finishedAt) { response, result in
            judge(platform, response, &result)
        }
    }

    private static func judge(_ platform: Platform, _ response: OutgoingResponse, _ result: inout SendResult) {
        let json = ProviderJSON(response.body)
        if response.status == 200, let json, let id = acceptedID(platform, json) {
            result.outcome = .accepted
            result.code = ""
            result.providerMessageID = id
            return
        }
        // An error body under a status that is no error contradicts itself, and so proves nothing.
        let error = response.status >= 400 ? json.flatMap { GraphError($0) } : nil
        if let error {
            result.code = error.name
            result.outcome = outcome(platform, error, status: response.status)
        }
        guard result.outcome == .retryLater else { return }
        let asked = result.retryAfter ?? regainAccess(response)
        result.retryAfter = error?.code == pairLimit ? max(asked ?? 0, pairSeconds) : asked
    }

    /// The id of a message that was taken; empty for what has none, as typing and most reactions.
    private static func acceptedID(_ platform: Platform, _ json: ProviderJSON) -> String? {
        let isWhatsApp = platform == .whatsapp
        let id = isWhatsApp ? json["messages"]?.elements.first?["id"]?.text : json["message_id"]?.text
        if let id, !id.isEmpty { return id }
        if json["success"]?.bool == true { return "" }
        let recipient = isWhatsApp ? nil : json["recipient_id"]?.text
        return recipient?.isEmpty == false ? "" : nil
    }

    // MARK: Codes

    private static func outcome(_ platform: Platform, _ error: GraphError, status: Int) -> SendOutcome {
        let listed = platform == .whatsapp ? whatsApp(error.code) : direct(error.code, error.subcode)
        if let listed { return listed }
        return error.isTransient || status == 429 || status >= 500 ? .retryLater : .rejected
    }

    /// Messenger and Instagram. Permission errors (10 and 200) that carry a subcode are about the window or about one
    /// person: they fail the message and do not pause the channel for all others.
    private static func direct(_ code: Int64, _ subcode: Int64) -> SendOutcome? {
        switch (code, subcode) {
        case (10, 1_893_063): .retryLater
        case (10, 0), (200, 0): .misconfigured
        case (10, _), (200, _): .rejected
        default: direct(code)
        }
    }

    private static func direct(_ code: Int64) -> SendOutcome? {
        switch code {
        case 1, 2, 4, 17, 32, 613, 1200, 80_002, 80_006: .retryLater
        case 190, 368: .misconfigured
        case 100, 551: .rejected
        default: nil
        }
    }

    /// What is wrong with one recipient, one template or one flow may need a change of set-up too, but must not pause
    /// the channel for all others. A link that Meta could not fetch (131053) is worth one more attempt at most; there is
    /// no such outcome, so the client is told.
    private static func whatsApp(_ code: Int64) -> SendOutcome? {
        switch code {
        case 1, 2, 4, 80_007, 130_429, 131_000, 131_016, 131_048, 131_056, 131_057, 132_069, 133_004, 133_016:
            .retryLater
        case 0, 3, 10, 190, 200...299, 368, 131_005, 131_031, 131_037, 131_042, 131_045, 133_010:
            .misconfigured
        case 33, 100, 130_472, 131_008, 131_009, 131_021, 131_026, 131_030, 131_047, 131_049...131_053,
            131_062...131_064, 132_000, 132_001, 132_005, 132_007, 132_012, 132_015, 132_016, 132_068, 135_000,
            137_000:
            .rejected
        default: nil
        }
    }

    // MARK: Waiting

    /// Too many messages to one person, who may get about one in six seconds.
    private static let pairLimit: Int64 = 131_056
    private static let pairSeconds: UInt64 = 6

    private static let usageHeaders = ["x-business-use-case-usage", "x-app-usage", "x-page-usage"]
    /// More than Meta ever reports, in one header.
    private static let usageBytesMax = 16_384
    private static let usageEntriesMax = 32

    /// How long Meta will refuse for what was used up already, in seconds; nil when no header says so.
    private static func regainAccess(_ response: OutgoingResponse) -> UInt64? {
        var longest: Int64 = 0
        for name in usageHeaders {
            guard let header = response.header(name), header.utf8.count <= usageBytesMax,
                let usage = ProviderJSON([UInt8](header.utf8))
            else { continue }
            longest = max(longest, minutes(usage))
        }
        let minutesMax = Int64(RetrySchedule.retryAfterMax / 60)
        return longest > 0 ? UInt64(min(longest, minutesMax)) * 60 : nil
    }

    /// Either the header is one entry, or it maps the ids of businesses to lists of entries.
    private static func minutes(_ usage: ProviderJSON) -> Int64 {
        var longest = entryMinutes(usage)
        for id in usage.names.prefix(usageEntriesMax) {
            let entries = usage[id]?.elements ?? []
            for entry in entries.prefix(usageEntriesMax) { longest = max(longest, entryMinutes(entry)) }
        }
        return longest
    }

    private static func entryMinutes(_ entry: ProviderJSON) -> Int64 {
        entry["estimated_time_to_regain_access"]?.integer ?? 0
    }
}

/// Meta's error body: `{"error":{"message","type","code","error_subcode","fbtrace_id"}}`. JSON of a proxy on the way,
/// or anything else that is not this shape, proves nothing.
struct GraphError {
    let code: Int64
    let subcode: Int64
    let isTransient: Bool

    init?(_ json: ProviderJSON) {
        guard let error = json["error"], GraphError.isString(error["message"]),
            GraphError.isString(error["fbtrace_id"]) || GraphError.isString(error["type"]),
            let number = error["code"], !GraphError.isString(number), let code = number.integer
        else { return nil }
        self.code = code
        subcode = error["error_subcode"]?.integer ?? 0
        isTransient = error["is_transient"]?.bool ?? false
    }

    var name: String { subcode == 0 ? String(code) : "\(code)/\(subcode)" }

    private static func isString(_ value: ProviderJSON?) -> Bool {
        value?.raw.first == UInt8(ascii: "\"")
    }
}
