import Gateway
import Testing

@Suite struct TwilioAddressTests {
    struct Row: Sendable, CustomTestStringConvertible {
        let text: String
        let channel: String
        let address: String

        init(_ text: String, _ channel: String, _ address: String) {
            self.text = text
            self.channel = channel
            self.address = address
        }

        var testDescription: String { text }
    }

    static let rows: [Row] = [
        Row("+14155552671", "", "+14155552671"), Row("22395", "", "22395"), Row("MYPARCEL", "", "MYPARCEL"),
        Row("", "", ""), Row(":", "", ":"), Row(":+14155552671", "", ":+14155552671"),
        Row("rcs:+14155552671", "rcs", "+14155552671"), Row("whatsapp:+14155552671", "whatsapp", "+14155552671"),
        Row("WhatsApp:+14155552671", "whatsapp", "+14155552671"), Row("sms:+14155552671", "", "+14155552671"),
        Row("sms:22395", "", "22395"),
        // These are addresses of their channel only.
        Row("rcs:acme_agent", "rcs", "rcs:acme_agent"), Row("rcs:22395", "rcs", "rcs:22395"),
        Row("rcs:", "rcs", "rcs:"),
        Row("messenger:10002345", "messenger", "messenger:10002345"),
        Row("whatsapp:US.1349", "whatsapp", "whatsapp:US.1349"),
        Row("rcs:rcs:+14155552671", "rcs", "rcs:rcs:+14155552671"),
        // No scheme.
        Row("a b:+14155552671", "", "a b:+14155552671"), Row("é:+14155552671", "", "é:+14155552671"),
        Row("aVeryLongSchemeThatIsNone:+14155552671", "", "aVeryLongSchemeThatIsNone:+14155552671"),
    ]

    @Test(arguments: rows)
    func address(_ row: Row) {
        let read = TwilioAddress(row.text)
        #expect(read.channel == row.channel)
        #expect(read.address == row.address)
    }

    @Test func anInboundFormOfAnotherChannel() throws {
        let text = "MessageSid=SM1&From=rcs%3A%2B14155552671&To=rcs%3A%2B15005550006&Body=Hi"
        let inbound = try #require(FormBody([UInt8](text.utf8)).flatMap { TwilioChannel.inbound($0) })
        #expect(inbound.from == "+14155552671")
        #expect(inbound.to == "+15005550006")
        #expect(inbound.via == "rcs")
    }
}
