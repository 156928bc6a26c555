import Log
import Testing

@Suite struct RecoveryDecisionTests {
    /// Every combination of facts, and what the design says about it.
    static let table: [(facts: TailFacts, action: TailAction)] = [
        (TailFacts(rest: .zeros, provenLost: false, unmarkedTail: false), .keep),
        (TailFacts(rest: .zeros, provenLost: false, unmarkedTail: true), .rewrite),
        (TailFacts(rest: .bytes, provenLost: false, unmarkedTail: false), .quarantineAndRewrite),
        (TailFacts(rest: .bytes, provenLost: false, unmarkedTail: true), .quarantineAndRewrite),
        (TailFacts(rest: .zeros, provenLost: true, unmarkedTail: false), .refuse),
        (TailFacts(rest: .zeros, provenLost: true, unmarkedTail: true), .refuse),
        (TailFacts(rest: .bytes, provenLost: true, unmarkedTail: false), .refuse),
        (TailFacts(rest: .bytes, provenLost: true, unmarkedTail: true), .refuse),
    ]

    @Test(arguments: table)
    func eachCombinationHasOneAnswer(_ row: (facts: TailFacts, action: TailAction)) {
        #expect(row.facts.action == row.action)
    }

    @Test func theTableNamesEveryCombination() {
        #expect(Set(Self.table.map(\.facts)).count == TailFacts.Rest.allCases.count * 2 * 2)
    }
}
