import Log
import TestSupport
import Testing

/// The decision table over bytes: every combination of what may be on disk of the last three groups and of the mark behind
/// them, and whether opening does what `docs/log-format.md` says of it.
@Suite(.timeLimit(.minutes(30))) struct RecoveryPatternTests {
    /// What is on disk in the place of a group.
    enum State: CaseIterable {
        case intact
        /// The head of the block is there, the rest is not; where the head is missing it is as for `stale`.
        case torn
        case zero
        /// A whole block of an earlier file that lay on the same disk blocks.
        case stale
        case flipped

        /// Whether the head of the block can be read, and with it what it says of groups before it.
        var hasHead: Bool { [.intact, .torn, .flipped].contains(self) }
    }

    enum Mark: CaseIterable {
        case none
        case intact
        case flipped
    }

    /// Which of the last groups were written in one flight: then the later ones do not say that the earlier are durable.
    /// The number of groups that each of the three, and so every combination of flights, says are durable.
    static let claims = [[3, 3, 3], [3, 3, 5], [3, 4, 4], [3, 4, 5]]

    struct Pattern: CustomStringConvertible {
        let states: [State]
        let mark: Mark
        let claims: [Int]
        var description: String { "\(states) mark \(mark) claims \(claims)" }
    }

    enum Action: Equatable {
        case refuse
        /// How many groups are there, how many of them are written anew, and whether something went to quarantine.
        case open(groups: Int, rewritten: Int, quarantined: Bool)
    }

    /// The document's table, in terms of the pattern: groups are counted from 1, the last is 6.
    static func expected(_ pattern: Pattern) -> Action {
        let valid = 3 + (pattern.states.firstIndex { $0 != .intact } ?? 3)
        let said = zip(pattern.states, pattern.claims).map { $0.hasHead ? $1 : 0 }
        // Of the third group itself only what lies behind it can say that.
        let proven = max(2, said.max() ?? 0, pattern.mark == .intact ? 6 : 0)
        if proven > valid { return .refuse }
        let isMarkThere = pattern.mark == .flipped || (pattern.mark == .intact && valid < 6)
        let rest = isMarkThere || pattern.states[(valid - 3)...].contains { $0 != .zero }
        return .open(groups: valid, rewritten: valid - proven, quarantined: rest)
    }

    @Test(arguments: State.allCases) func openingDoesWhatTheTableSays(_ first: State) async throws {
        let sample = try await SampleLog.make(groups: 6, isClosed: true)
        var actions: [Action] = []
        for second in State.allCases {
            for third in State.allCases {
                for mark in Mark.allCases {
                    // A mark that cannot be read says nothing, whatever was said before it.
                    for claims in mark == .flipped ? Self.claims.suffix(1) : Self.claims[...] {
                        let pattern = Pattern(states: [first, second, third], mark: mark, claims: claims)
                        try check(pattern, sample)
                        actions.append(Self.expected(pattern))
                    }
                }
            }
        }
        #expect(actions.contains(.refuse) && actions.contains { $0 != .refuse })
    }

    private func check(_ pattern: Pattern, _ sample: SampleLog) throws {
        let disk = try make(pattern, sample)
        let found: Action
        do throws(LogError) {
            let log = try disk.open()
            defer { log.close() }
            let count = Int(log.durable.rawValue)
            found = .open(
                groups: count / 2,
                rewritten: log.recovery.rewritten / 2,
                quarantined: !log.recovery.discarded.isEmpty
            )
            #expect((try? log.reader.digests()) == Array(disk.ledger.digests.prefix(count)), "\(pattern)")
        } catch {
            #expect(error.code == .corrupt)
            #expect(try disk.storage.contents == make(pattern, sample).storage.contents, "\(pattern)")
            found = .refuse
        }
        #expect(found == Self.expected(pattern), "\(pattern)")
    }

    // MARK: Disks

    private func make(_ pattern: Pattern, _ sample: SampleLog) throws -> SampleLog {
        let disk = sample.copy()
        let blocks = try disk.blocks(in: disk.newest)
        for (index, block) in blocks[3..<6].enumerated() {
            claim(LogPosition(UInt64(2 * pattern.claims[index])), block, disk)
            put(pattern.states[index], block, disk)
        }
        switch pattern.mark {
        case .intact: break
        case .none: disk.erase(blocks[6])
        case .flipped: disk.flip(blocks[6].path, at: blocks[6].offset + 30)
        }
        return disk
    }

    private func put(_ state: State, _ block: SampleLog.Place, _ disk: SampleLog) {
        switch state {
        case .intact: break
        case .torn: zero(512..<4096, block, disk)
        case .zero: disk.erase(block)
        case .stale: rewriteHead(block, disk) { $0[8] ^= 1 }
        case .flipped: disk.flip(block.path, at: block.offset + 64 + 96 + 200)
        }
    }

    private func zero(_ range: Range<Int>, _ block: SampleLog.Place, _ disk: SampleLog) {
        disk.storage.damage(block.path, at: block.offset) { bytes in
            UnsafeMutableRawBufferPointer(rebasing: bytes[range]).initializeMemory(as: UInt8.self, repeating: 0)
        }
    }

    private func claim(_ position: LogPosition, _ block: SampleLog.Place, _ disk: SampleLog) {
        rewriteHead(block, disk) {
            $0.storeBytes(of: position.rawValue.littleEndian, toByteOffset: 24, as: UInt64.self)
        }
    }

    /// Changes the head of a block, with the checksum.
    private func rewriteHead(
        _ block: SampleLog.Place,
        _ disk: SampleLog,
        _ body: (UnsafeMutableRawBufferPointer) -> Void
    ) {
        disk.storage.damage(block.path, at: block.offset) { bytes in
            body(bytes)
            let checksum = Checksum.crc32c(UnsafeRawBufferPointer(bytes), 8..<64)
            bytes.storeBytes(of: checksum.littleEndian, toByteOffset: 4, as: UInt32.self)
        }
    }
}
