package import Log

/// What came of one attempt to fetch a file of a message.
package enum MediaResult: Sendable, Equatable {
    /// - Parameters:
    ///   - bytes: its length.
    ///   - file: its name below the directory of files.
    ///   - digest: SHA-256 of the sealed file.
    case fetched(bytes: UInt64, mimeType: String, file: String, digest: Digest)
    /// - Parameters:
    ///   - code: stable: `http_status`, `too_large`, `address_refused`, …
    ///   - isFinal: whether trying again makes no sense.
    case failed(code: String, isFinal: Bool)
}

/// When a file is tried again. Providers keep files for seven days (WhatsApp) or say nothing; the waits add up to four days.
package enum MediaSchedule {
    static let waits: [UInt64] = [2, 10, 30, 60, 300, 900, 3600, 14_400, 43_200, 86_400, 86_400, 86_400]
    /// How many of them there are where one delivery waits for it.
    static let countInline = 4

    /// Seconds until the next attempt, or nil when there is none.
    static func wait(after attempts: Int, isInline: Bool) -> UInt64? {
        attempts < (isInline ? countInline : waits.count) ? waits[attempts] : nil
    }
}

extension LogState {
    /// - Parameter seal: the message's key; without it nothing that was fetched can be recorded.
    /// - Returns: empty when nobody waits for this file any more: it is here, given up, or its message is purged.
    package func decide(
        _ result: MediaResult,
        message: LogPosition,
        index: Int,
        seal: KeyReference?,
        _ context: DecisionContext
    ) -> [NewEvent] {
        guard let row = media.rows[message], row.items.indices.contains(index), row.items[index].state == .pending,
            !isPurged(message)
        else { return [] }
        switch result {
        case .fetched(let bytes, let mimeType, let file, let digest):
            var fetched = MediaFetched()
            fetched.index = UInt64(index)
            fetched.bytes = bytes
            fetched.file = file
            fetched.digest = RawBytes(digest.bytes)
            guard let seal else { return [] }
            return [
                NewEvent(
                    .mediaFetched(fetched),
                    client: row.client,
                    conversation: row.conversation,
                    message: message,
                    bodies: [SealedPart(.content, [UInt8](mimeType.utf8))],
                    seal: .sameAs(seal)
                )
            ]
        case .failed(let code, let isFinal):
            var failed = MediaFailed()
            failed.index = UInt64(index)
            failed.code = code
            if !isFinal, let wait = MediaSchedule.wait(after: row.items[index].attempts, isInline: row.isInline) {
                failed.nextAttemptAt = context.now.advanced(bySeconds: wait)
            }
            return [
                NewEvent(.mediaFailed(failed), client: row.client, conversation: row.conversation, message: message)
            ]
        }
    }
}
