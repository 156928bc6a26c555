/// What is on disk after the last valid block of the newest segment, and what to do about it.
///
/// The facts are three; every combination has exactly one answer, and recovery and its test read the same function.
package struct TailFacts: Hashable, Sendable {
    package enum Rest: CaseIterable, Sendable {
        /// Nothing but zeros follows the last valid block.
        case zeros
        /// Something follows that is not a valid next block.
        case bytes
    }

    /// What follows the last valid block.
    var rest: Rest
    /// A block somewhere, or the segment's header, says that positions beyond the last valid one were durable.
    var provenLost: Bool
    /// Valid groups reach beyond what any block proves durable.
    var unmarkedTail: Bool

    package init(rest: Rest, provenLost: Bool, unmarkedTail: Bool) {
        self.rest = rest
        self.provenLost = provenLost
        self.unmarkedTail = unmarkedTail
    }
}

package enum TailAction: Hashable, Sendable {
    /// Everything valid is proven durable and nothing follows.
    case keep
    /// Copy the valid but unproven groups into the next file and sync them there.
    case rewrite
    /// As `rewrite` (which may copy nothing), after moving what follows into quarantine: it was never acknowledged.
    case quarantineAndRewrite
    /// Acknowledged records are missing: refuse to open.
    case refuse
}

extension TailFacts {
    /// | proven lost | rest | unmarked tail | action |
    /// |---|---|---|---|
    /// | yes | any | any | refuse |
    /// | no | bytes | any | quarantine, rewrite |
    /// | no | zeros | yes | rewrite |
    /// | no | zeros | no | keep |
    package var action: TailAction {
        if provenLost { return .refuse }
        if rest == .bytes { return .quarantineAndRewrite }
        return unmarkedTail ? .rewrite : .keep
    }
}
