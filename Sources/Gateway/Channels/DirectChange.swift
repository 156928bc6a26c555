import Projections

/// One element of an entry's `changes`. Mostly it is about posts and comments; but what else comes in `messaging` also comes as a
/// change, one item in each.
enum DirectChange {
    /// The names of subscriptions whose changes hold such an item.
    private static let fields: Set<String> = [
        "messages", "message_echoes", "message_edit", "message_edits", "message_reactions", "message_reads",
        "message_deliveries", "messaging_seen", "messaging_postbacks", "messaging_referral", "messaging_referrals",
        standby,
    ]
    private static let standby = "standby"

    static func events(_ platform: Platform, account: String, _ change: ProviderJSON) -> [ChannelEvent] {
        let asItCame = ChannelEvent.unrecognized(platform, account: account, customer: nil, change)
        guard let field = change["field"]?.text, fields.contains(field), let item = change["value"],
            isBetween(account, item)
        else { return [asItCame] }
        let events = DirectInbound.events(platform, account: account, item, isStandby: field == standby)
        // Whatever was not understood is kept with the name of its field.
        return events.map { event in
            guard event.action == .unrecognized else { return event }
            var whole = asItCame
            whole.customer = event.customer
            return whole
        }
    }

    /// The samples that Meta sends from an app's settings name an account that nobody has.
    private static func isBetween(_ account: String, _ item: ProviderJSON) -> Bool {
        ["sender", "recipient"].contains { party in DirectField.text(item[party], "id") == account }
    }
}
