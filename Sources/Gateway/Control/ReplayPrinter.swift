package import Log
package import Projections

/// One record of the history as a line of JSON, in the shape of the public contract.
package struct ReplayPrinter: Sendable {
    /// Nil: ids are not shown.
    private let ids: OpaqueID?
    /// Nil: bodies are not shown.
    private let keys: KeyStore?

    package init(ids: OpaqueID?, keys: KeyStore?) {
        self.ids = ids
        self.keys = keys
    }

    package func line(_ view: RecordView) throws -> [UInt8] {
        let record = try EventRecord(view)
        let (body, purged) = try body(view)
        return JSONWriter.object { json in
            json.number("position", record.position.rawValue)
            json.time("time", record.time)
            json.string("type", record.event.type.name)
            json.string("client_id", id(.client, record.client == .zero ? nil : record.client))
            json.string("conversation_id", id(.conversation, conversation(record)))
            json.string("message_id", id(.message, message(record)))
            json.raw("data", data(record))
            json.key("body")
            if let body { json.raw(body) } else { json.null() }
            json.bool("purged", purged)
        }
    }

    /// The line in the place of a record that cannot be read.
    package func damagedLine(_ position: UInt64) -> [UInt8] {
        JSONWriter.object { json in
            json.number("position", position)
            json.time("time", nil)
            for name: StaticString in ["type", "client_id", "conversation_id", "message_id"] { json.string(name, nil) }
            json.key("data")
            json.raw([UInt8]("{}".utf8))
            json.key("body")
            json.null()
            json.bool("purged", false)
            json.bool("damaged", true)
        }
    }

    private func id(_ kind: OpaqueID.Kind, _ position: LogPosition?) -> String? {
        position.flatMap { ids?.encode(kind, $0) }
    }

    /// The log's id key is needed to read ids, not to be read: it stays out of listings.
    private func data(_ record: EventRecord) -> [UInt8] {
        guard case .logCreated(var event) = record.event else { return record.event.describedPayload }
        event.idKey = RawBytes()
        return Event.logCreated(event).describedPayload
    }

    private func conversation(_ record: EventRecord) -> LogPosition? {
        if case .conversationOpened = record.event { return record.position }
        return record.conversation == .zero ? nil : record.conversation
    }

    private func message(_ record: EventRecord) -> LogPosition? {
        switch record.event {
        case .messageReceived, .sendAccepted, .messageEchoed: record.position
        default: record.message == .zero ? nil : record.message
        }
    }

    /// Bodies of messages and webhooks; secrets are not part of the history that is shown.
    private func body(_ view: RecordView) throws -> (json: [UInt8]?, purged: Bool) {
        guard let keys, let section = SealedSection(view.sealed), section.reference.keyClass != .secret else {
            return (nil, false)
        }
        guard let key = try keys.find(section.reference) else { return (nil, true) }
        let parts = section.boxes.map { ($0.purpose, section.open($0.purpose, leaf: key, position: view.position)) }
        let json = JSONWriter.object { json in
            for case (let purpose, let plaintext?) in parts {
                json.string(ReplayPrinter.name(purpose), String(decoding: plaintext, as: UTF8.self))
            }
        }
        return (json, false)
    }

    private static func name(_ purpose: SealedPurpose) -> StaticString {
        switch purpose {
        case .content: "content"
        case .providerBytes: "provider_bytes"
        case .rendering: "rendering"
        case .responseExcerpt: "response_excerpt"
        case .identifiers: "identifiers"
        case .media: "media"
        }
    }
}

/// Which records a replay shows.
package struct ReplayFilter: Sendable {
    package var client: LogPosition?
    package var conversation: LogPosition?
    package var type: EventType?

    package init() {}

    package func matches(_ view: RecordView) -> Bool {
        (client == nil || view.client == client)
            && (conversation == nil || view.conversation == conversation || view.position == conversation)
            && (type == nil || view.type == type?.rawValue)
    }
}
