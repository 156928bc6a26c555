package import Log

// What happens to the log, its keys and the process.

/// The first record. `id_key` keys the permutation that makes API ids from positions.
package struct LogCreated: EventPayload {
    package var formatVersion = UInt64(0)
    package var idKey = RawBytes()
    package init() {}
    package mutating func visit(_ visitor: inout some FieldVisitor) {
        visitor.field(1, "format_version", &formatVersion)
        visitor.field(2, "id_key", &idKey)
    }
}

/// Opening found bytes that were never acknowledged and moved them to quarantine.
package struct TailDiscarded: EventPayload {
    package var name = ""
    package var segment = UInt64(0)
    package var offset = UInt64(0)
    package var bytes = UInt64(0)
    package init() {}
    package mutating func visit(_ visitor: inout some FieldVisitor) {
        visitor.field(1, "name", &name)
        visitor.field(2, "segment", &segment)
        visitor.field(3, "offset", &offset)
        visitor.field(4, "bytes", &bytes)
    }
}

/// The wall clock moved by more than 60 s against the boot clock. No timer follows it. `wall_before`: where it would have been.
package struct ClockJumped: EventPayload {
    package var wallBefore = Timestamp(0)
    package var wallAfter = Timestamp(0)
    package var bootNanoseconds = UInt64(0)
    package var bootId = RawBytes()
    package init() {}
    package mutating func visit(_ visitor: inout some FieldVisitor) {
        visitor.field(1, "wall_before", &wallBefore)
        visitor.field(2, "wall_after", &wallAfter)
        visitor.field(3, "boot_nanoseconds", &bootNanoseconds)
        visitor.field(4, "boot_id", &bootId)
    }
}

/// A process opened the log for writing. `boot_id`, `boot_nanoseconds`, `wall`: what the machine's clocks showed.
package struct ProcessStarted: EventPayload {
    package var version = ""
    package var keyEpoch = UInt64(0)
    package var sandbox = false
    package var bootId = RawBytes()
    package var bootNanoseconds = UInt64(0)
    package var wall = Timestamp(0)
    package init() {}
    package mutating func visit(_ visitor: inout some FieldVisitor) {
        visitor.field(1, "version", &version)
        visitor.field(2, "key_epoch", &keyEpoch)
        visitor.field(3, "sandbox", &sandbox)
        visitor.field(4, "boot_id", &bootId)
        visitor.field(5, "boot_nanoseconds", &bootNanoseconds)
        visitor.field(6, "wall", &wall)
    }
}

/// A process closed the log in order. The clocks as in `process.started`.
package struct ProcessStopped: EventPayload {
    package var reason = ""
    package var bootId = RawBytes()
    package var bootNanoseconds = UInt64(0)
    package var wall = Timestamp(0)
    package init() {}
    package mutating func visit(_ visitor: inout some FieldVisitor) {
        visitor.field(1, "reason", &reason)
        visitor.field(2, "boot_id", &bootId)
        visitor.field(3, "boot_nanoseconds", &bootNanoseconds)
        visitor.field(4, "wall", &wall)
    }
}

/// The key state was sealed under a new root key.
package struct RootKeyRotated: EventPayload {
    package var generationBefore = UInt64(0)
    package var generationAfter = UInt64(0)
    package init() {}
    package mutating func visit(_ visitor: inout some FieldVisitor) {
        visitor.field(1, "generation_before", &generationBefore)
        visitor.field(2, "generation_after", &generationAfter)
    }
}

/// Checkpoints are signed with a new key.
package struct LogKeyRotated: EventPayload {
    package var verifierKeyBefore = ""
    package var verifierKeyAfter = ""
    package init() {}
    package mutating func visit(_ visitor: inout some FieldVisitor) {
        visitor.field(1, "verifier_key_before", &verifierKeyBefore)
        visitor.field(2, "verifier_key_after", &verifierKeyAfter)
    }
}

/// The log, or only its keys, were restored from a backup. `log_id` is absent when the log kept its identity, because nothing of
/// its history was missing.
package struct LogRestored: EventPayload {
    package var backupPosition = LogPosition.zero
    package var lossAccepted = false
    package var logIdBefore = RawBytes()
    package var logId = RawBytes()
    package var bodiesLost = UInt64(0)
    package init() {}
    package mutating func visit(_ visitor: inout some FieldVisitor) {
        visitor.field(1, "backup_position", &backupPosition)
        visitor.field(2, "loss_accepted", &lossAccepted)
        visitor.field(3, "log_id_before", &logIdBefore)
        visitor.field(4, "log_id", &logId)
        visitor.field(5, "bodies_lost", &bodiesLost)
    }
}

extension LogRestored {
    /// How ids change with it: the tag is the first 4 bytes of the new identity.
    package func branch(at position: LogPosition) -> OpaqueID.Branch {
        OpaqueID.Branch(from: position, identity: logId.bytes)
    }
}

/// A backup was begun, which holds every key that was alive then. `key_id` tells the backup key apart from others.
package struct LogBackedUp: EventPayload {
    package var horizon = Timestamp(0)
    package var keyId = RawBytes()
    package init() {}
    package mutating func visit(_ visitor: inout some FieldVisitor) {
        visitor.field(1, "horizon", &horizon)
        visitor.field(2, "key_id", &keyId)
    }
}

/// The log went on from what was whole of a damaged one, which is another log from here on. `lost` holds the first and the last
/// position of each run, as far as one record can name them.
package struct LogSalvaged: EventPayload {
    package var logIdBefore = RawBytes()
    package var logId = RawBytes()
    package var through = LogPosition.zero
    package var checkpointSize = UInt64(0)
    package var checkpointRoot = Digest.zero
    package var lostCount = UInt64(0)
    package var lost = ListField<LogPosition>()
    package init() {}
    package mutating func visit(_ visitor: inout some FieldVisitor) {
        visitor.field(1, "log_id_before", &logIdBefore)
        visitor.field(2, "log_id", &logId)
        visitor.field(3, "through", &through)
        visitor.field(4, "checkpoint_size", &checkpointSize)
        visitor.field(5, "checkpoint_root", &checkpointRoot)
        visitor.field(6, "lost_count", &lostCount)
        visitor.field(7, "lost", &lost)
    }
}

extension LogSalvaged {
    /// How ids change with it, as with a restore.
    package func branch(at position: LogPosition) -> OpaqueID.Branch {
        OpaqueID.Branch(from: position, identity: logId.bytes)
    }

    /// The last position that is lost; the end where one record could not name all runs.
    package var lastLost: LogPosition {
        lost.values.count < 2 * LogSalvaged.runsMax ? lost.values.last ?? .zero : through
    }

    /// How many runs one record names.
    package static let runsMax = 4096

    /// The last position up to which the log before had the same records for certain.
    package var shared: LogPosition {
        lost.values.first.map { LogPosition($0.rawValue == 0 ? 0 : $0.rawValue - 1) } ?? through
    }
}

/// Stands at the position of a record that was damaged and is lost.
package struct RecordLost: EventPayload {
    package var first = LogPosition.zero
    package var last = LogPosition.zero
    package init() {}
    package mutating func visit(_ visitor: inout some FieldVisitor) {
        visitor.field(1, "first", &first)
        visitor.field(2, "last", &last)
    }
}

/// An operator or auditor token. `hash` is SHA-256 of the token. subject: none.
package struct TokenCreated: EventPayload {
    package var role = TokenRole.operator
    package var hash = Digest.zero
    package var label = ""
    /// 0: it does not expire.
    package var expiresAt = Timestamp(0)
    package var actor = ""
    package init() {}
    package mutating func visit(_ visitor: inout some FieldVisitor) {
        visitor.field(1, "role", &role)
        visitor.field(2, "hash", &hash)
        visitor.field(3, "label", &label)
        visitor.field(4, "expires_at", &expiresAt)
        visitor.field(5, "actor", &actor)
    }
}

/// subject: the record that created the token.
package struct TokenRevoked: EventPayload {
    package var actor = ""
    package init() {}
    package mutating func visit(_ visitor: inout some FieldVisitor) {
        visitor.field(1, "actor", &actor)
    }
}

/// Somebody came in with the token; at most one record an hour says so. subject: the record that created the token.
package struct TokenUsed: EventPayload {
    package init() {}
    package mutating func visit(_ visitor: inout some FieldVisitor) {}
}
