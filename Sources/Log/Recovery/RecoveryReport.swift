/// What opening a log found and did.
package struct RecoveryReport: Sendable, Equatable {
    /// A tail that was never acknowledged and now lies in the quarantine directory.
    package struct DiscardedTail: Sendable, Equatable {
        /// The file's name in `quarantine/`.
        package let name: String
        package let segment: UInt64
        package let offset: Int
        package let bytes: Int
    }

    /// True when the log did not exist before.
    package var created = false
    /// The last position found valid.
    package var recoveredThrough = LogPosition.zero
    /// How many positions were valid but unproven and were written anew.
    package var rewritten = 0
    /// Tails whose discarding is not yet on record; see `EventLog.acknowledgeDiscarded`.
    package var discarded: [DiscardedTail] = []
}
