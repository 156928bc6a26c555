/// Follows a log from a position on: what is there, then what comes, in order, without gaps.
///
/// It is pulled: nothing is read before it is asked for, so a slow follower costs no memory and holds nobody up. Many may
/// follow at once.
package struct LogTail: AsyncSequence, Sendable {
    /// Records copied out of the log, at least one.
    package typealias Element = [StoredRecord]

    private let log: EventLog
    private let start: LogPosition
    private let batchMax: Int

    /// - Parameters:
    ///   - start: the first position that is wanted; it need not exist yet.
    ///   - batchMax: the most records that one step hands out.
    package init(_ log: EventLog, from start: LogPosition, batchMax: Int = 256) {
        self.log = log
        self.start = Swift.max(start, LogPosition(1))
        self.batchMax = Swift.max(1, batchMax)
    }

    package func makeAsyncIterator() -> Iterator { Iterator(log: log, next: start, batchMax: batchMax) }

    package struct Iterator: AsyncIteratorProtocol {
        fileprivate let log: EventLog
        fileprivate var next: LogPosition
        fileprivate let batchMax: Int

        /// Waits until there is something. Nil once the log is closed and everything was handed out.
        ///
        /// - Throws: `indeterminate` when the log has failed, `corrupt` when a record is damaged.
        package mutating func next() async throws -> [StoredRecord]? {
            guard let durable = try await durableBeyondLast() else { return nil }
            let last = Swift.min(durable, LogPosition(next.rawValue + UInt64(batchMax) - 1))
            var records: [StoredRecord] = []
            try log.reader.scan(from: next, through: last) { records.append(StoredRecord($0)) }
            next = last.next
            return records
        }

        private func durableBeyondLast() async throws -> LogPosition? {
            do {
                return try await log.waitForMore(after: LogPosition(next.rawValue - 1))
            } catch {
                if error.code == .closed { return nil }
                throw error
            }
        }
    }
}
