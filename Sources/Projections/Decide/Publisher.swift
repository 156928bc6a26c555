import Log

/// Makes the numbered event that a client receives, if the client may receive it.
struct Publisher {
    let state: LogState
    let ids: OpaqueID
    let context: DecisionContext

    /// - Parameters:
    ///   - earlier: what precedes this one in the batch.
    ///   - seal: whose key the rendering shares.
    ///   - files: whether the rendering has places for files.
    ///   - holds: whether it is kept for an endpoint where none takes it now.
    func publish(
        _ type: String,
        client: ClientRow,
        platform: Platform?,
        conversation: LogPosition,
        message: LogPosition,
        after earlier: [NewEvent],
        seal: NewEvent.Seal,
        test: Bool = false,
        files: Bool = false,
        holds: Bool = false,
        data: (WebhookBody, inout JSONWriter) -> Void
    ) -> NewEvent {
        let position = context.next.advanced(by: earlier.count)
        let numbered = earlier.compactMap { if case .eventPublished(let event) = $0.event { event } else { nil } }
        var event = EventPublished()
        event.type = type
        event.sequence = client.sequence + 1 + UInt64(numbered.count)
        if holds, let platform, let obstacle = client.obstacle(type, platform, at: context.now) {
            event.held = obstacle.rawValue
        }
        event.wanted = test || !event.held.isEmpty || (client.endpoint?.wants(type, platform) ?? false)
        event.previousSequence = numbered.last { $0.wanted }?.sequence ?? client.lastWanted
        event.test = test
        event.files = files
        let head = WebhookBody.Head(
            event: position,
            type: type,
            time: context.now,
            sequence: event.sequence,
            previousSequence: event.previousSequence,
            client: client.id
        )
        let writer = WebhookBody(ids: ids)
        let body = writer.render(head) { json in data(writer, &json) }
        return NewEvent(
            .eventPublished(event),
            client: client.id,
            conversation: conversation,
            message: message,
            bodies: [SealedPart(.rendering, body)],
            seal: seal
        )
    }
}
