import Hummingbird
import Log
import Projections

/// The filters of the conversation list.
struct ConversationFilter {
    /// With those of the list itself.
    static let parameters: QueryParameters = [
        "limit", "cursor", "platform", "status", "updated_since", "phone", "platform_user_id",
    ]
    private let platform: Platform?
    private let status: ConversationStatus?
    private let updatedSince: Timestamp?
    /// The keyed hashes that a customer may be known by; nil for any customer.
    private let customers: Set<LookupHash>?
    /// The customer's conversations that only hashes of earlier versions find.
    private let earlier: Set<LogPosition>

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
        let phone = query["phone"].map { (String($0), [Platform.sms, .whatsapp]) }
        let user = query["platform_user_id"].map { (String($0), [Platform.facebook, .instagram, .whatsapp]) }
        if phone != nil, user != nil { throw ConversationFilter.wrong("platform_user_id") }
        customers = try (phone ?? user).map { (id, platforms) in
            Set(try platforms.map { try ledger.customerHash(client, $0, id) })
        }
        let found = try (phone ?? user).map { (id, platforms) in
            try platforms.compactMap { try ledger.earlier(client, $0, [id]).conversation }
        }
        earlier = Set(found ?? [])
    }

    func matches(_ row: Inbox.ConversationRow) -> Bool {
        (platform == nil || row.platform == platform) && (status == nil || row.status == status)
            && (updatedSince.map { row.lastActivity >= $0 } ?? true) && matchesCustomer(row)
    }

    /// Whose conversation was erased is not found by it any more.
    private func matchesCustomer(_ row: Inbox.ConversationRow) -> Bool {
        guard let customers else { return true }
        return row.status != .erased
            && (row.addresses.contains { customers.contains($0.hash) } || earlier.contains(row.id))
    }

    private static func wrong(_ field: String) -> GatewayError {
        GatewayError(.invalidRequest, "the filter \(field) has no such value", field: field)
    }
}
