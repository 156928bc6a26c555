import Projections

/// The credentials of one account at Meta, as the operator entered them or Embedded Signup gave them.
package struct MetaCredentials: Sendable, Equatable {
    /// Page id, Instagram account id or `phone_number_id`: what events are routed by.
    package var accountID = ""
    /// WhatsApp only.
    package var businessAccountID = ""
    package var accessToken = ""
    /// WhatsApp only: the six digits that Waybill registered the number with; empty where it did not.
    package var pin = ""
    /// Instagram only: connected by Instagram Login, and so served by Instagram's own host.
    package var usesInstagramLogin = false

    package init() {}

    /// RFC 6750.
    var bearer: String { "Bearer \(accessToken)" }

    var json: [UInt8] {
        JSONWriter.object { json in
            json.string("account_id", accountID)
            json.string("business_account_id", businessAccountID)
            json.string("access_token", accessToken)
            json.bool("instagram_login", usesInstagramLogin)
            if !pin.isEmpty { json.string("pin", pin) }
        }
    }

    init(_ json: [UInt8]) throws {
        let fields = try JSONFields(json)
        accountID = try fields.string("account_id") ?? ""
        businessAccountID = try fields.string("business_account_id") ?? ""
        accessToken = try fields.string("access_token") ?? ""
        usesInstagramLogin = try fields.bool("instagram_login") ?? false
        pin = try fields.string("pin") ?? ""
    }
}
