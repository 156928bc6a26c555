import HTTPTypes
import Hummingbird
import Log
import Projections

/// What a client sets for itself: who answers, what is purged at once, its time zone.
struct SettingsRoutes: Sendable {
    let ledger: Ledger

    func add(to group: Routes) {
        group.get("settings") { try await get($0, $1) }
        group.patch("settings") { try await update($0, $1) }
    }

    private func get(_ request: Request, _ context: GatewayContext) async throws -> Response {
        try await ledger.reach(request)
        let client = try context.requireClient()
        return try await show(client.id, position: nil)
    }

    private func show(_ client: LogPosition, position: LogPosition?) async throws -> Response {
        let settings = try await settings(of: client)
        return Answer.json(position: position) { settings.write(&$0) }
    }

    private func update(_ request: Request, _ context: GatewayContext) async throws -> Response {
        let client = try context.requireClient()
        let change = try SettingsForm(try await request.fields())
        while true {
            // The texts of the present record are sealed anew with the rest. Should another change come first, once more.
            let seen = try await settings(of: client.id)
            if let position = try await commit(change, seen, client.id, context.actor) {
                return try await show(client.id, position: position)
            }
        }
    }

    private func settings(of client: LogPosition) async throws -> ClientSettings {
        guard let (row, secret) = try await ledger.current({ $0.clients[client] }, secretAt: \.settings.position) else {
            throw GatewayError(.notFound, "the client is gone")
        }
        return ClientSettings(row, try SettingsTexts(secret))
    }

    /// Nil when the settings are not those that were seen any more.
    private func commit(
        _ change: SettingsForm,
        _ seen: ClientSettings,
        _ client: LogPosition,
        _ actor: ChangeActor
    ) async throws -> LogPosition? {
        let actor = ledger.name(actor)
        let committed = try await ledger.commit { state, _ in
            guard let row = state.clients[client] else { throw GatewayError(.notFound, "the client is gone") }
            guard row.settings.position == seen.replies.position else { return ([], false) }
            var settings = ClientSettings(row, seen.texts)
            change.apply(to: &settings)
            try row.requireEndpoint(for: settings.purges.subtracting(row.settings.purgePlatforms))
            var event = settings.event
            event.actor = actor
            let new = NewEvent(
                .settingsChanged(event),
                client: client,
                bodies: [SealedPart(.content, settings.texts.json)],
                seal: .newKey(.secret)
            )
            return ([new], true)
        }
        return committed.value ? committed.position : nil
    }
}

/// What settings hold in words of the client; sealed.
struct SettingsTexts: Sendable {
    var prompt = ""
    var phrases: [String] = []

    /// - Parameter bytes: empty when nothing was ever set.
    init(_ bytes: [UInt8]) throws {
        if bytes.isEmpty { return }
        let fields = try JSONFields(bytes)
        prompt = try fields.string("prompt") ?? ""
        phrases = try fields.strings("phrases") ?? []
    }

    var json: [UInt8] {
        JSONWriter.object { json in
            json.string("prompt", prompt)
            json.array("phrases") { json in for phrase in phrases { json.element { $0.string(phrase) } } }
        }
    }
}

/// All settings of a client as they are.
struct ClientSettings {
    var replies: SettingsRow
    var purges: Set<Platform>
    var timeZone: String
    var texts: SettingsTexts

    init(_ row: ClientRow, _ texts: SettingsTexts) {
        replies = row.settings
        purges = row.settings.purgePlatforms
        timeZone = row.timeZone
        self.texts = texts
    }

    var event: SettingsChanged {
        var event = SettingsChanged()
        event.replyGlobal = replies.repliesGlobally
        event.replyPlatforms = ListField(replies.replyPlatforms.map { UInt64($0.rawValue) }.sorted())
        event.purgePlatforms = ListField(purges.map { UInt64($0.rawValue) }.sorted())
        event.timeZone = timeZone
        return event
    }

    func write(_ json: inout JSONWriter) {
        json.object("external_reply_mode") { json in
            json.bool("global", replies.repliesGlobally)
            for platform in Platform.allCases {
                json.key(dynamic: platform.name)
                json.bool(replies.replyPlatforms.contains(platform))
            }
        }
        json.object("inbound_body_purge") { json in
            for platform in SettingsForm.purgeable {
                json.key(dynamic: platform.name)
                json.bool(purges.contains(platform))
            }
        }
        json.object("ai") { $0.string("prompt", texts.prompt) }
        json.object("escalation") { json in
            json.array("phrases") { json in for phrase in texts.phrases { json.element { $0.string(phrase) } } }
        }
        json.string("time_zone", timeZone)
    }
}

/// A change of settings as a client sends it.
struct SettingsForm: Sendable {
    static let purgeable: [Platform] = [.sms, .whatsapp]
    private let replies: [Platform: Bool]
    private let repliesGlobally: Bool?
    private let purges: [Platform: Bool]
    private let timeZone: String?
    private let prompt: String?
    private let phrases: [String]?

    init(_ fields: JSONFields) throws {
        try fields.allow(["external_reply_mode", "inbound_body_purge", "ai", "escalation", "time_zone"])
        let reply = try fields.object("external_reply_mode")
        try reply?.allow(Set(["global"] + Platform.allCases.map(\.name)))
        repliesGlobally = try reply?.bool("global")
        replies = try SettingsForm.switches(reply, Platform.allCases)
        let purge = try fields.object("inbound_body_purge")
        try purge?.allow(Set(SettingsForm.purgeable.map(\.name)))
        purges = try SettingsForm.switches(purge, SettingsForm.purgeable)
        timeZone = try fields.timeZone("time_zone")
        let ai = try fields.object("ai")
        try ai?.allow(["prompt"])
        prompt = try ai?.string("prompt")
        if let prompt, prompt.utf8.count > 16_384 { throw fields.wrong("ai.prompt", "at most 16384 bytes long") }
        let escalation = try fields.object("escalation")
        try escalation?.allow(["phrases"])
        phrases = try escalation?.strings("phrases")
        if let phrases, phrases.count > 64 || phrases.contains(where: { $0.isEmpty || $0.utf8.count > 200 }) {
            throw fields.wrong("escalation.phrases", "at most 64 phrases of 1 to 200 bytes")
        }
    }

    private static func switches(_ fields: JSONFields?, _ platforms: [Platform]) throws -> [Platform: Bool] {
        var switches: [Platform: Bool] = [:]
        for platform in platforms { switches[platform] = try fields?.bool(platform.name) }
        return switches
    }

    func apply(to settings: inout ClientSettings) {
        settings.replies.repliesGlobally = repliesGlobally ?? settings.replies.repliesGlobally
        for (platform, isOn) in replies { settings.replies.replyPlatforms.set(platform, isOn) }
        for (platform, isOn) in purges { settings.purges.set(platform, isOn) }
        settings.timeZone = timeZone ?? settings.timeZone
        settings.texts.prompt = prompt ?? settings.texts.prompt
        settings.texts.phrases = phrases ?? settings.texts.phrases
    }
}

extension Set {
    fileprivate mutating func set(_ element: Element, _ isIn: Bool) {
        if isIn { insert(element) } else { remove(element) }
    }
}
