import Dispatch
package import Log
package import Projections

/// The part of a backup that only the writer can do: the keys, and the end of the log as of the same moment. The same whether
/// asked through the socket or on a closed data directory.
package struct BackupControl: Sendable {
    /// How often the moment is taken anew when the newest segment is sealed just then.
    private static let attemptsMax = 10

    private let ledger: Ledger

    package init(_ ledger: Ledger) { self.ledger = ledger }

    /// What the writer tells of the moment that it took.
    package struct Begun: Sendable {
        /// The last record of the backup.
        package let position: LogPosition
        package let logID: String
        /// The newest segment, which is written; those before it are to be copied.
        package let segment: UInt64
        package let keyEpoch: UInt32

        var json: [UInt8] {
            JSONWriter.object { json in
                json.number("position", position.rawValue)
                json.string("log_id", logID)
                json.number("segment", segment)
                json.number("key_epoch", keyEpoch)
            }
        }

        init(position: LogPosition, logID: String, segment: UInt64, keyEpoch: UInt32) {
            self.position = position
            self.logID = logID
            self.segment = segment
            self.keyEpoch = keyEpoch
        }

        package init(_ bytes: [UInt8]) throws {
            let fields = try JSONFields(bytes)
            func number(_ name: String, most: Int64 = .max) throws -> UInt64 {
                UInt64(try fields.integer(name, in: 0...most) ?? 0)
            }
            position = LogPosition(try number("position"))
            logID = try fields.require("log_id")
            segment = try number("segment")
            keyEpoch = UInt32(try number("key_epoch", most: Int64(UInt32.max)))
        }
    }

    /// Puts the backup on record, then writes keys and newest segment into an empty directory.
    package func begin(in directory: String, key: [UInt8], horizon: Timestamp) async throws -> [UInt8] {
        var event = LogBackedUp()
        event.horizon = horizon
        event.keyId = RawBytes(BackupKey.id(of: key))
        // First, so that nobody can have a backup that the history does not tell of.
        _ = try await ledger.commit(edge: false) { _, _ in ([NewEvent(.logBackedUp(event))], ()) }
        return try await withCheckedThrowingContinuation { continuation in
            // It waits for the disk, and threads that serve requests must not.
            DispatchQueue.global().async { continuation.resume(with: Result { try write(directory, key).json }) }
        }
    }

    private func write(_ directory: String, _ key: [UInt8]) throws -> Begun {
        for _ in 0..<BackupControl.attemptsMax {
            let (keys, position) = try ledger.keys.snapshot { ledger.log.durable }
            // Before the keys, which may take a while, in which the segment may be sealed.
            guard let segment = try ledger.log.reader.copyNewest(through: position, to: directory) else { continue }
            try keys.write(to: directory + "/" + BackupManifest.keysName, key: key)
            return Begun(
                position: position,
                logID: ledger.log.id.description,
                segment: segment,
                keyEpoch: keys.newest
            )
        }
        throw GatewayError(.unavailable, "the log is being sealed too fast to be copied; try again")
    }
}

/// What is made of a backup key.
enum BackupKey {
    /// Tells keys apart without telling anything of them.
    static func id(of key: [UInt8]) -> [UInt8] {
        Array(Crypto.sha256([UInt8]("waybill backup key id v1".utf8) + key).prefix(8))
    }

    /// The key of the manifest's MAC.
    static func manifestKey(of key: [UInt8]) -> [UInt8] {
        Crypto.sha256([UInt8]("waybill backup manifest v1".utf8) + key)
    }
}
