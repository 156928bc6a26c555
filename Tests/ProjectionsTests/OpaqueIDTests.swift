import Log
import Projections
import TestSupport
import Testing

@Suite struct OpaqueIDTests {
    private let ids = OpaqueID(key: [UInt8](repeating: 1, count: 32))
    private let others = OpaqueID(key: [UInt8](repeating: 2, count: 32))

    @Test(arguments: OpaqueID.Kind.allCases)
    func roundTrip(_ kind: OpaqueID.Kind) {
        for raw in [0, 1, 255, 256, 1 << 40, UInt64.max] {
            let text = ids.encode(kind, LogPosition(raw))
            #expect(text.hasPrefix(kind.prefix))
            #expect(text.count == kind.prefix.count + 26)
            #expect(ids.decode(kind, text) == LogPosition(raw))
        }
    }

    @Test(arguments: OpaqueID.Kind.allCases)
    func anIdOfAnotherKindIsNone(_ kind: OpaqueID.Kind) {
        let text = ids.encode(kind, LogPosition(42))
        for other in OpaqueID.Kind.allCases where other != kind {
            #expect(ids.decode(other, text) == nil)
            #expect(ids.decode(other, other.prefix + text.dropFirst(kind.prefix.count)) == nil)
        }
    }

    @Test func anIdOfAnotherKeyIsNone() {
        #expect(others.decode(.message, ids.encode(.message, LogPosition(42))) == nil)
        #expect(others.encode(.message, LogPosition(42)) != ids.encode(.message, LogPosition(42)))
    }

    /// A log that went on from a backup gives positions out again, and never an id.
    @Test func fromABranchOnIdsAreOthers() {
        let key = [UInt8](repeating: 1, count: 32)
        let branches = [OpaqueID.Branch(from: LogPosition(40), tag: 7), OpaqueID.Branch(from: LogPosition(60), tag: 9)]
        let branched = OpaqueID(key: key, branches: branches)
        for raw in UInt64(35)...65 {
            let position = LogPosition(raw)
            let old = ids.encode(.event, position)
            let new = branched.encode(.event, position)
            #expect((old == new) == (raw < 40))
            #expect(branched.decode(.event, new) == position)
            #expect(branched.decode(.event, old) == (raw < 40 ? position : nil))
            #expect(ids.decode(.event, new) == (raw < 40 ? position : nil))
        }
    }

    @Test func everyChangedSymbolIsNoticed() {
        let text = Array(ids.encode(.message, LogPosition(42)))
        for index in text.indices {
            for symbol in "0123456789abcdefghjkmnpqrstvwxyz" where symbol != text[index] {
                var changed = text
                changed[index] = symbol
                #expect(ids.decode(.message, String(changed)) == nil)
            }
        }
    }

    /// Neighbours in the log share nothing that a stranger could see.
    @Test func neighboursLookUnrelated() {
        let bodies = (1...500).map { ids.encode(.message, LogPosition($0)).dropFirst(4) }
        #expect(Set(bodies).count == 500)
        #expect(Set(bodies.map { $0.prefix(4) }).count > 490)
    }

    @Test(arguments: [
        "", "msg_", "msg", "msg_0", "msg_00000000000000000000000000", "msg_zzzzzzzzzzzzzzzzzzzzzzzzzz",
        "msg_0000000000000000000000000l", "msg_000000000000000000000000000000", "MSG_00000000000000000000000000",
        "msg_0000000000000000000000000é", "msg_0000000000000000000000000\u{0301}", "\u{0}",
    ])
    func garbageIsNone(_ text: String) {
        #expect(ids.decode(.message, text) == nil)
    }

    @Test func randomTextIsNone() {
        var random = SeededGenerator(seed: 32)
        for _ in 0..<10_000 {
            #expect(ids.decode(.message, "msg_" + Base32.encode(random.bytes(16))) == nil)
        }
    }
}
