package import Log

/// The ids of the API: prefix, underscore, 26 letters and digits.
///
/// An id is one AES-256 block over position (8 bytes), kind (1), tag (4), part (1) and zeros (2), in Base32. Nobody without the
/// key can make or relate ids; tag, part and zeros make a guess fail with all but 2^-56 probability (2^-51 for files, which are
/// parts of a message); looking one up needs no index.
///
/// The tag is zero but in a log that went on from a backup: that gives positions out a second time, and receivers who know an
/// id already would take what is new for a repeat.
package struct OpaqueID: Sendable {
    package enum Kind: UInt8, Sendable, CaseIterable {
        case client = 1
        case conversation = 2
        case message = 3
        case event = 4
        case delivery = 5
        case media = 6
        case token = 7
        case secret = 8
        case request = 9
        case apiKey = 16

        package var prefix: String {
            switch self {
            case .client: "cl_"
            case .conversation: "conv_"
            case .message: "msg_"
            case .event: "evt_"
            case .delivery: "dlv_"
            case .media: "med_"
            case .token: "tok_"
            case .secret: "sec_"
            case .request: "req_"
            case .apiKey: "key_"
            }
        }
    }

    /// Bytes of the key.
    package static let keySize = 32

    /// From a position on ids have this tag.
    package struct Branch: Sendable, Equatable {
        let from: LogPosition
        let tag: UInt32

        package init(from: LogPosition, tag: UInt32) {
            self.from = from
            self.tag = tag
        }

        /// The branch of a log that took an identity there.
        package init(from: LogPosition, identity: [UInt8]) {
            self.init(from: from, tag: identity.prefix(4).reversed().reduce(UInt32(0)) { $0 << 8 | UInt32($1) })
        }
    }

    private let permutation: BlockPermutation
    private let branches: [Branch]

    /// - Parameter branches: in the order of their positions.
    package init(key: [UInt8], branches: [Branch] = []) {
        permutation = BlockPermutation(key: key)
        self.branches = branches
    }

    private func tag(_ position: LogPosition) -> UInt32 { branches.last { $0.from <= position }?.tag ?? 0 }

    /// - Parameter part: which of several things of one record, as the files of a message.
    package func encode(_ kind: Kind, _ position: LogPosition, part: UInt8 = 0) -> String {
        var block = withUnsafeBytes(of: position.rawValue.littleEndian) { [UInt8]($0) }
        block.append(kind.rawValue)
        withUnsafeBytes(of: tag(position).littleEndian) { block += $0 }
        block += [part, 0, 0]
        return kind.prefix + Base32.encode(permutation.encrypt(block))
    }

    /// Nil for anything that `encode` did not make for this kind.
    package func decode(_ kind: Kind, _ text: some StringProtocol) -> LogPosition? {
        decodePart(kind, text).flatMap { $0.part == 0 ? $0.position : nil }
    }

    /// The same for ids of parts.
    package func decodePart(_ kind: Kind, _ text: some StringProtocol) -> (position: LogPosition, part: UInt8)? {
        guard text.hasPrefix(kind.prefix),
            let sealed = Base32.decode(text.dropFirst(kind.prefix.count), count: 16)
        else { return nil }
        let block = permutation.decrypt(sealed)
        guard block[8] == kind.rawValue, block[14...].allSatisfy({ $0 == 0 }) else { return nil }
        let position = LogPosition(block[..<8].reversed().reduce(UInt64(0)) { $0 << 8 | UInt64($1) })
        let tag = block[9..<13].reversed().reduce(UInt32(0)) { $0 << 8 | UInt32($1) }
        return tag == self.tag(position) ? (position, block[13]) : nil
    }
}
