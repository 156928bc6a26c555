import Hummingbird
import Log
import Projections

/// The filters of the conversation list.
struct ConversationFilter {
    private let platform: Platform?
    private let status: ConversationStatus?
    private let updatedSince: Timestamp?
    private let customer: LookupHash?

    init(_ request: Request, _ client: LogPosition, _ ledger: Ledger) throws {
        let query = request.uri.queryParameters
        platform = try query["platform"].map { name in
            guard let platform = Platform(name: String(name)) else { throw ConversationFilter.wrong("platform") }
            return platform
        }
        status = try query["status"].map { name in
            guard let status = ConversationStatus(name: String(name)) else { throw ConversationFilter.wrong("status") }
            return status
        }
        updatedSince = try query["updated_since"].map { text in
            guard let time = RFC3339.parse(String(text)) else { throw ConversationFilter.wrong("updated_since") }
            return time
        }
        let phone = try query["phone"].map { try ledger.hash(client, .smsCustomer, String($0)) }
        let user = try query["platform_user_id"].map { try ledger.hash(client, .platformUser, String($0)) }
        if phone != nil, user != nil { throw ConversationFilter.wrong("platform_user_id") }
        customer = phone ?? user
    }

    func matches(_ row: Inbox.ConversationRow) -> Bool {
        (platform == nil || row.platform == platform) && (status == nil || row.status == status)
            && (updatedSince.map { row.lastActivity >= $0 } ?? true) && matchesCustomer(row)
    }

    /// Whose conversation was erased is not found by it any more.
    private func matchesCustomer(_ row: Inbox.ConversationRow) -> Bool {
        customer == nil || (row.customer == customer && row.status != .erased)
    }

    private static func wrong(_ field: String) -> GatewayError {
        GatewayError(.invalidRequest, "the filter \(field) has no such value", field: field)
    }
}
