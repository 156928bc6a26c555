import Projections

/// What the hashes about accounts and events at Meta are made of. Whoever makes one and whoever looks for it must write the same.
enum MetaName {
    static func account(_ platform: Platform, _ id: String) -> String { "\(platform.name)/\(id)" }

    /// - Parameter key: a `ChannelEvent.duplicateKey`.
    static func event(_ platform: Platform, account id: String, _ key: String) -> String {
        account(platform, id) + "/" + key
    }

    /// The key of a message's own event.
    static func message(_ providerID: String) -> String { "message/" + providerID }
}
