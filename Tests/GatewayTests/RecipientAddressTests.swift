import Gateway
import Projections
import Testing

/// To which address of a customer a message goes.
@Suite struct RecipientAddressTests {
    struct Row: Sendable, CustomTestStringConvertible {
        let testDescription: String
        let platform: Platform
        let named: String
        let phone: String
        let userID: String
        let recipient: String

        init(_ name: String, _ platform: Platform, _ named: String, phone: String, userID: String, _ recipient: String)
        {
            testDescription = name
            self.platform = platform
            self.named = named
            self.phone = phone
            self.userID = userID
            self.recipient = recipient
        }
    }

    private static let phone = "+573001234567"
    private static let scoped = "CO.1349"

    static let rows: [Row] = [
        Row("the number, of both", .whatsapp, phone, phone: phone, userID: scoped, phone),
        Row("the id, of both", .whatsapp, scoped, phone: phone, userID: scoped, scoped),
        Row("the wa_id, of both", .whatsapp, "573001234567", phone: phone, userID: scoped, phone),
        Row("by conversation the number", .whatsapp, "", phone: phone, userID: scoped, phone),
        Row("by conversation the id, where there is no number", .whatsapp, "", phone: "", userID: scoped, scoped),
        Row("by conversation a wa_id that is no number", .whatsapp, "", phone: "", userID: "ana.b", "ana.b"),
        Row(
            "another number than the one that is known",
            .whatsapp,
            "+573009999999",
            phone: phone,
            userID: scoped,
            "+573009999999"
        ),
        Row(
            "in the provider's form",
            .whatsapp,
            "+5511987654321",
            phone: "+551187654321",
            userID: "551187654321",
            "+551187654321"
        ),
        Row("as it was dialled", .whatsapp, "+5511987654321", phone: "+5511987654321", userID: "", "+5511987654321"),
        Row(
            "a landline is not the mobile",
            .whatsapp,
            "+551133221705",
            phone: "+5511933221705",
            userID: "5511933221705",
            "+551133221705"
        ),
        Row("Messenger, by id", .facebook, "9001", phone: "", userID: "9001", "9001"),
        Row("Instagram, by conversation", .instagram, "", phone: "", userID: "9001", "9001"),
        Row("SMS, by number", .sms, phone, phone: phone, userID: "", phone),
        Row("SMS, by conversation", .sms, "", phone: phone, userID: "", phone),
    ]

    @Test(arguments: rows)
    func recipient(_ row: Row) {
        var identifiers = ConversationIdentifiers()
        identifiers.phone = row.phone
        identifiers.platformUserID = row.userID
        #expect(RecipientAddress.of(row.named, row.platform, identifiers) == row.recipient)
    }

    /// It waited in the queue while the customer's number changed.
    @Test func anAddressThatWasReplacedIsNotUsed() {
        var identifiers = ConversationIdentifiers()
        let old = "+573009999999"
        #expect(RecipientAddress.of(old, .whatsapp, identifiers, isReplaced: true) == old, "there is no other")
        identifiers.platformUserID = Self.scoped
        #expect(RecipientAddress.of(old, .whatsapp, identifiers, isReplaced: true) == Self.scoped)
        identifiers.phone = Self.phone
        #expect(RecipientAddress.of(old, .whatsapp, identifiers, isReplaced: true) == Self.phone)
    }
}
