import Log

/// Makes the numbered event that a client receives, if the client may receive it.
struct Publisher {
    let state: LogState
    let ids: OpaqueID
    let context: DecisionContext

    /// - Parameters:
    ///   - offset: how many events precede this one in the batch.
    ///   - published: how many of those are of this type and platform, and numbered as this one is to be.
    ///   - seal: whose key the rendering shares.
    func publish(
        _ type: String,
        client: ClientRow,
        platform: Platform?,
        conversation: LogPosition,
        message: LogPosition,
        offset: Int,
        published: Int = 0,
        seal: NewEvent.Seal,
        test: Bool = false,
        data: (WebhookBody, inout JSONWriter) -> Void
    ) -> NewEvent {
        let position = context.next.advanced(by: offset)
        var event = EventPublished()
        event.type = type
        event.sequence = client.sequence + 1 + UInt64(published)
        event.wanted = test || (client.endpoint?.wants(type, platform) ?? false)
        event.previousSequence = event.wanted && published > 0 ? event.sequence - 1 : client.lastWanted
        event.test = test
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
            bodies: [(.rendering, body)],
            seal: seal
        )
    }
}
