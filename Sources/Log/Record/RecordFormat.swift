/// The byte layout of a record. All integers are little-endian; `docs/log-format.md` is the reference.
///
/// | offset | size | field |
/// |---|---|---|
/// | 0 | 4 | length of the whole record, a multiple of 8 |
/// | 4 | 2 | event type |
/// | 6 | 1 | schema version of the payload |
/// | 7 | 1 | flags: bit 0, a sealed section follows the payload |
/// | 8 | 8 | position |
/// | 16 | 8 | time, UTC nanoseconds since 1970, strictly increasing |
/// | 24 | 8 | client: position of the record that created it, 0 for none |
/// | 32 | 8 | conversation, likewise |
/// | 40 | 8 | message, likewise |
/// | 48 | 8 | subject: one more position whose meaning the type fixes |
/// | 56 | 4 | payload length |
/// | 60 | 4 | sealed length |
/// | 64 | 32 | entry digest |
/// | 96 | … | payload, sealed section, zeros to the next multiple of 8 |
enum RecordFormat {
    static let headerSize = 96
    /// What the entry digest covers of the header.
    static let digestedHeaderSize = 64
    static let digestOffset = 64
    static let sealedFlag: UInt8 = 1
    /// Times lie before this: in the year 2262, so that nobody has to fear to overflow one.
    static let timeEnd: UInt64 = 1 << 63

    static func recordSize(payload: Int, sealed: Int) -> Int {
        (headerSize + payload + sealed + 7) & ~7
    }
}

/// What a caller hands to the log: everything of a record but its position, time and digest.
package struct RecordDraft: Sendable {
    package var type: UInt16
    package var schemaVersion: UInt8
    package var client: LogPosition
    package var conversation: LogPosition
    package var message: LogPosition
    package var subject: LogPosition
    /// Fields that folds read, in clear: no personal data, no content.
    package var payload: [UInt8]
    package var section: Section

    /// What follows the payload.
    package enum Section: Sendable {
        case none
        /// A `SealedSection` that is ready.
        case sealed([UInt8])
        /// One that is sealed when the record has its position.
        case unsealed(UnsealedSection)

        var count: Int {
            switch self {
            case .none: 0
            case .sealed(let bytes): bytes.count
            case .unsealed(let section): section.sealedCount
            }
        }
    }

    package init(
        type: UInt16,
        schemaVersion: UInt8 = 1,
        client: LogPosition = .zero,
        conversation: LogPosition = .zero,
        message: LogPosition = .zero,
        subject: LogPosition = .zero,
        payload: [UInt8] = [],
        section: Section = .none
    ) {
        self.type = type
        self.schemaVersion = schemaVersion
        self.client = client
        self.conversation = conversation
        self.message = message
        self.subject = subject
        self.payload = payload
        self.section = section
    }

    package var encodedSize: Int { RecordFormat.recordSize(payload: payload.count, sealed: section.count) }
}
