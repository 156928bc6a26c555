import Log
import Projections

/// How customers are told apart on each platform.
enum CustomerAddress {
    /// The keyed hash by which a customer is found.
    static func hash(_ platform: Platform, _ id: String, _ lookup: (LookupDomain, [UInt8]) -> LookupHash) -> LookupHash
    {
        lookup(domain(platform), [UInt8](canonical(platform, id).utf8))
    }

    private static func domain(_ platform: Platform) -> LookupDomain {
        switch platform {
        case .facebook: .facebookCustomer
        case .instagram: .instagramCustomer
        case .sms: .smsCustomer
        case .whatsapp: .whatsappCustomer
        }
    }

    /// The form under which a customer is found again. WhatsApp's number of a person may differ from the dialled one in Brazil
    /// (the mobile's ninth digit), Mexico (`521`) and Argentina (`549`); both forms are one person.
    private static func canonical(_ platform: Platform, _ id: String) -> String {
        guard platform == .whatsapp else { return id }
        let digits = id.hasPrefix("+") ? String(id.dropFirst()) : id
        guard digits.utf8.allSatisfy({ (48...57).contains($0) }) else { return id }
        let count = digits.utf8.count
        if count == 13, digits.hasPrefix("55"), digits.dropFirst(4).first == "9" {
            return String(digits.prefix(4) + digits.dropFirst(5))
        }
        if count == 13, digits.hasPrefix("521") || digits.hasPrefix("549") {
            return String(digits.prefix(2) + digits.dropFirst(3))
        }
        return digits
    }
}

extension Ledger {
    func customerHash(_ client: LogPosition, _ platform: Platform, _ id: String) throws -> LookupHash {
        CustomerAddress.hash(platform, id, try lookup(client))
    }
}
