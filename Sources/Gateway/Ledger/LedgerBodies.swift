package import Log
package import Projections
import Synchronization

/// Opened secrets that are needed on every request: look-up keys and webhook secrets, by the record that holds them.
final class SecretCache: Sendable {
    private static let countMax = 4096

    private struct State {
        var secrets: [LogPosition: [UInt8]] = [:]
        /// Counts removals.
        var version = 0
    }

    private let state = Mutex(State())

    func remove(_ position: LogPosition) { change { $0[position] = nil } }

    func removeAll() { change { $0.removeAll() } }

    private func change(_ body: (inout [LogPosition: [UInt8]]) -> Void) {
        state.withLock { state in
            state.version += 1
            body(&state.secrets)
        }
    }

    func get(_ position: LogPosition, _ open: () throws -> [UInt8]) rethrows -> [UInt8] {
        let (known, version) = state.withLock { ($0.secrets[position], $0.version) }
        if let known { return known }
        let secret = try open()
        state.withLock { state in
            // Destroyed while it was opened: it must not stay behind.
            guard state.version == version else { return }
            // What was replaced or has ended is not worth telling apart: whatever is needed is opened again.
            if state.secrets.count >= SecretCache.countMax { state.secrets.removeAll() }
            state.secrets[position] = secret
        }
        return secret
    }
}

extension Ledger {
    /// The plaintext of one sealed part of a durable record.
    ///
    /// - Throws: `bodyPurged` when the key is destroyed.
    package func body(at position: LogPosition, _ purpose: SealedPurpose) throws -> [UInt8]? {
        let record = try log.reader.record(at: position)
        let place = record.withView { ($0.client, $0.conversation, $0.message) }
        let isBarred = plan { state in
            state.purges.bars(recordAt: position, client: place.0, conversation: place.1, message: place.2)
        }
        if isBarred { throw GatewayError.purged }
        defer { Crypto.eraseStack() }
        return try LedgerBody.open(record, purpose, keys)
    }

    /// What can be read of something, or nil when it is purged.
    func unpurged<T>(_ read: () throws -> T?) throws -> T? {
        do {
            return try read()
        } catch let error as GatewayError where error == .purged {
            return nil
        }
    }

    /// The key under which a durable record is sealed.
    package func keyReference(at position: LogPosition) throws -> KeyReference {
        let reference = try log.reader.record(at: position).withView { SealedSection($0.sealed)?.reference }
        guard let reference else { throw GatewayError(.internalError, "position \(position) has no sealed section") }
        return reference
    }

    /// The same, or nil when the record is damaged: what happened must be put on record all the same.
    func readableKeyReference(at position: LogPosition) -> KeyReference? { try? keyReference(at: position) }

    package func event(at position: LogPosition) throws -> EventRecord {
        try log.reader.record(at: position).withView { try EventRecord($0) }
    }

    /// The client's look-up key, which turns identifiers into hashes that folds can hold.
    func lookupKey(_ client: LogPosition) throws -> [UInt8] {
        try secrets.get(client) {
            let content = try JSONFields(try body(at: client, .content) ?? [])
            guard let key = Base64.decode(try content.string("lookup_key") ?? "") else {
                throw GatewayError(.internalError, "the client's look-up key is damaged")
            }
            return key
        }
    }

    func secret(_ position: LogPosition) throws -> [UInt8] {
        try secrets.get(position) { try body(at: position, .content) ?? [] }
    }

    /// A part of the state as it is now, with the secret that its record holds; nil when there is none. One that is replaced
    /// between the two is destroyed, and then the new one is looked for.
    ///
    /// - Parameter position: the record; zero for a part that holds no secret yet.
    /// - Throws: `bodyPurged` when the secret is destroyed and nothing took its place.
    func current<Row: Sendable>(
        _ find: (borrowing LogState) -> Row?,
        secretAt position: (Row) -> LogPosition
    ) async throws -> (row: Row, secret: [UInt8])? {
        var tried: LogPosition?
        while let row = try await read(find) {
            let position = position(row)
            if position == .zero { return (row, []) }
            if position == tried { throw GatewayError.purged }
            if let secret = try unpurged({ try secret(position) }) { return (row, secret) }
            tried = position
        }
        return nil
    }

    /// `HMAC-SHA-256(look-up key, domain ‖ 0 ‖ value)`, first 16 bytes.
    func hash(_ client: LogPosition, _ domain: LookupDomain, _ value: String) throws -> LookupHash {
        try hash(client, domain, [UInt8](value.utf8))
    }

    func hash(_ client: LogPosition, _ domain: LookupDomain, _ value: [UInt8]) throws -> LookupHash {
        try lookup(client)(domain, value)
    }

    /// The same for whoever must not fail later.
    func lookup(_ client: LogPosition) throws -> @Sendable (LookupDomain, [UInt8]) -> LookupHash {
        let key = try lookupKey(client)
        return { domain, value in
            LookupHash(Crypto.hmacSHA256(key: key, message: [UInt8](domain.rawValue.utf8) + [0] + value)) ?? .absent
        }
    }

    /// Who a conversation is with. Earlier versions took the scheme of a channel over Twilio for a part of the number.
    func identifiers(_ conversation: LogPosition) throws -> ConversationIdentifiers {
        let row = plan { $0.inbox.current(conversation) }
        let newest = row?.identifiersAt ?? conversation
        let position = newest <= log.durable ? newest : conversation
        let fields = try JSONFields(try body(at: position, .identifiers) ?? [])
        var identifiers = ConversationIdentifiers()
        // A number that is somebody else's by now is nothing to call the customer by.
        let phone = row?.hasLostNumber == true ? "" : try fields.string("phone") ?? ""
        identifiers.phone = TwilioAddress(phone).address
        identifiers.platformUserID = try fields.string("platform_user_id") ?? ""
        identifiers.name = try fields.string("name") ?? ""
        identifiers.accountID = try fields.string("account_id") ?? ""
        identifiers.accountPhone = TwilioAddress(try fields.string("account_phone") ?? "").address
        return identifiers
    }
}

/// What a hash stands for; hashes of different things never meet.
enum LookupDomain: String {
    case smsCustomer = "customer/sms"
    case smsAccount = "account/sms"
    case twilioMessage = "message/twilio"
    /// What Meta told: platform, account and the event's own key.
    case metaEvent = "event/meta"
    case facebookCustomer = "customer/facebook"
    case instagramCustomer = "customer/instagram"
    case whatsappCustomer = "customer/whatsapp"
    case metaAccount = "account/meta"
    /// Never stored as a hash: what a number of the client's is registered with at WhatsApp is made of it.
    case whatsAppPIN = "pin/whatsapp"
    case idempotencyKey = "idempotency-key"
    case requestFingerprint = "request"
}

package enum LedgerBody {
    package static func open(_ record: StoredRecord, _ purpose: SealedPurpose, _ keys: KeyStore) throws -> [UInt8]? {
        try record.withView { view in
            guard let section = SealedSection(view.sealed),
                section.boxes.contains(where: { $0.purpose == purpose })
            else { return nil }
            guard let key = try keys.find(section.reference),
                let plaintext = section.open(purpose, leaf: key, position: view.position)
            else { throw GatewayError.purged }
            return plaintext
        }
    }
}
