/// A party as Twilio writes it. What comes by another channel than SMS has that channel's scheme before the number, as
/// `rcs:+15551234567`; the scheme is no part of the number.
package struct TwilioAddress: Sendable, Equatable {
    /// `rcs`, `whatsapp`, …; empty for SMS.
    package let channel: String
    /// E.164, a short code or a name. Where what follows the scheme is no number it belongs to that channel alone, and keeps
    /// its scheme.
    package let address: String

    private static let schemeBytesMax = 16

    package init(_ text: String) {
        let parts = text.split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false)
        guard parts.count == 2, TwilioAddress.isScheme(parts[0]) else {
            (channel, address) = ("", text)
            return
        }
        let (scheme, rest) = (parts[0].lowercased(), String(parts[1]))
        let isSMS = scheme == "sms"
        channel = isSMS ? "" : scheme
        address = PhoneNumber.isE164(rest) || (isSMS && PhoneNumber.isSender(rest)) ? rest : text
    }

    private static func isScheme(_ text: Substring) -> Bool {
        (1...schemeBytesMax).contains(text.utf8.count)
            && text.utf8.allSatisfy { (UInt8(ascii: "a")...UInt8(ascii: "z")).contains($0 | 0x20) }
    }
}
