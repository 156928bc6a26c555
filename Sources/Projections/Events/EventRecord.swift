package import Log

/// An event with its place: what folds take. Live decisions and rebuilds from the log make the same value.
package struct EventRecord: Sendable {
    package var event: Event
    package var position: LogPosition
    package var time: Timestamp
    package var client: LogPosition
    package var conversation: LogPosition
    package var message: LogPosition
    package var subject: LogPosition
    /// The epoch of the key that its bodies are sealed under; 0 without bodies.
    package var keyEpoch = UInt32(0)

    package init(
        _ event: Event,
        position: LogPosition,
        time: Timestamp,
        client: LogPosition,
        conversation: LogPosition,
        message: LogPosition,
        subject: LogPosition
    ) {
        self.event = event
        self.position = position
        self.time = time
        self.client = client
        self.conversation = conversation
        self.message = message
        self.subject = subject
    }

    /// Decodes a record of the log.
    package init(_ record: RecordView) throws(ProjectionError) {
        guard let type = EventType(rawValue: record.type) else {
            throw ProjectionError(
                .unknownEvent,
                at: record.position,
                "event type \(record.type) is newer than this build; upgrade Waybill"
            )
        }
        guard record.schemaVersion == 1, let event = Event(type, payload: record.payload) else {
            throw ProjectionError(.malformedEvent, at: record.position, "the payload is not a \(type.name) event")
        }
        self.init(
            event,
            position: record.position,
            time: Timestamp(record.time),
            client: record.client,
            conversation: record.conversation,
            message: record.message,
            subject: record.subject
        )
        keyEpoch = KeyReference(record.sealed)?.epoch ?? 0
    }
}

/// An event that was decided but not yet appended. Bodies are plaintext here and nowhere later.
package struct NewEvent: Sendable {
    package var event: Event
    package var client: LogPosition
    package var conversation: LogPosition
    package var message: LogPosition
    package var subject: LogPosition
    package var bodies: [SealedPart]
    /// Which key seals the bodies.
    package var seal: Seal

    package enum Seal: Sendable {
        /// A new leaf of this class.
        case newKey(KeyClass)
        /// The leaf of the record that was decided `back` records before this one in the same batch.
        case sameAsBatch(back: Int)
        /// The leaf of a record that is on the log.
        case sameAs(KeyReference)
    }

    package init(
        _ event: Event,
        client: LogPosition = .zero,
        conversation: LogPosition = .zero,
        message: LogPosition = .zero,
        subject: LogPosition = .zero,
        bodies: [SealedPart] = [],
        seal: Seal = .newKey(.message)
    ) {
        self.event = event
        self.client = client
        self.conversation = conversation
        self.message = message
        self.subject = subject
        self.bodies = bodies
        self.seal = seal
    }
}
