/// What an address of a customer is, as far as it tells one person from another.
package enum AddressKind: UInt64, Sendable {
    /// Nobody said, or it does not matter.
    case unknown = 0
    /// A phone number, which may belong to somebody else later.
    case number = 1
    /// WhatsApp's business-scoped id, which belongs to one person for ever.
    case scopedID = 2

    /// What a record says; a kind that is new to this build is as good as none.
    package init(recorded value: UInt64) { self = AddressKind(rawValue: value) ?? .unknown }
}

/// An address by which a conversation is found, as a keyed hash.
package struct KnownAddress: Sendable, Equatable {
    package let hash: LookupHash
    package var kind: AddressKind
    /// Our account that the provider said it to: business-scoped ids of different businesses are not comparable.
    package var account: LookupHash
    /// Replaced by another since: what comes late is still found by it, but it does not tell one person from another any more.
    package var isRetired = false

    package init(_ hash: LookupHash, _ kind: AddressKind = .unknown, account: LookupHash = .absent) {
        self.hash = hash
        self.kind = kind
        self.account = account
    }
}
