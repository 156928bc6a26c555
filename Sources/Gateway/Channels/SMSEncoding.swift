/// How a text travels as SMS: the alphabet it needs, its length in that alphabet's units, and the parts it is cut into.
///
/// One part carries 140 octets. A text whose every code point is in the GSM 03.38 default alphabet or its extension
/// table goes out as septets; a single code point outside both makes the whole text UTF-16 code units. Counting is by
/// code point, so composed and decomposed spellings of a letter cost differently, as they do on the air.
package struct SMSEncoding: Equatable, Sendable {
    /// The two alphabets, spelled as the API reports them.
    package enum Alphabet: String, Sendable {
        case gsm7 = "GSM-7"
        case ucs2 = "UCS-2"
    }

    /// The alphabet the whole text is sent in.
    package let alphabet: Alphabet

    /// Septets for GSM-7 (an extension character is two), UTF-16 code units for UCS-2. Space left unused at the end
    /// of a part is not counted.
    package let units: Int

    /// The number of parts sent and billed. Empty text is one part.
    package let segments: Int

    /// Measures `text`; every string has an answer.
    package init(of text: String) {
        if let septets = Self.septets(of: text) {
            self.init(alphabet: .gsm7, count: septets, unitsMax: 160)
        } else {
            self.init(alphabet: .ucs2, count: Self.codeUnits(of: text), unitsMax: 70)
        }
    }

    private init(alphabet: Alphabet, count: PartCount, unitsMax: Int) {
        self.alphabet = alphabet
        units = count.units
        segments = count.units <= unitsMax ? 1 : count.parts
    }

    /// Returns nil at the first code point that GSM-7 cannot carry.
    private static func septets(of text: String) -> PartCount? {
        let costs = septetCosts
        var count = PartCount(unitsPerPart: 153)
        for scalar in text.unicodeScalars {
            guard scalar.value < UInt32(costs.count) else { return nil }
            let cost = Int(costs[Int(scalar.value)])
            guard cost > 0 else { return nil }
            count.add(cost)
        }
        return count
    }

    private static func codeUnits(of text: String) -> PartCount {
        var count = PartCount(unitsPerPart: 67)
        for scalar in text.unicodeScalars {
            count.add(scalar.value > 0xFFFF ? 2 : 1)
        }
        return count
    }

    /// The cost in septets of each code point up to the highest one GSM-7 has (the euro sign); 0 means not in GSM-7.
    private static let septetCosts: [UInt8] = {
        var costs = [UInt8](repeating: 0, count: 0x20AD)
        for scalar in basicTable.unicodeScalars { costs[Int(scalar.value)] = 1 }
        for scalar in extensionTable.unicodeScalars { costs[Int(scalar.value)] = 2 }
        return costs
    }()

    /// The GSM 03.38 default alphabet, sixteen codes to a line. Code 0x1B is the escape itself and no character.
    private static let basicTable =
        "@£$¥èéùìòÇ\nØø\rÅå"
        + "Δ_ΦΓΛΩΠΨΣΘΞÆæßÉ"
        + " !\"#¤%&'()*+,-./"
        + "0123456789:;<=>?"
        + "¡ABCDEFGHIJKLMNO"
        + "PQRSTUVWXYZÄÖÑÜ§"
        + "¿abcdefghijklmno"
        + "pqrstuvwxyzäöñüà"

    /// The characters sent as the escape code followed by a second code.
    private static let extensionTable = "\u{0C}^{}\\[~]|€"
}

/// Fills parts of a concatenated message in order. A character that does not fit whole starts the next part, so an
/// escape pair or surrogate pair is never cut and the unit it leaves behind stays unused.
private struct PartCount {
    let unitsPerPart: Int
    var units = 0
    var parts = 1
    private var unitsInLastPart = 0

    init(unitsPerPart: Int) {
        self.unitsPerPart = unitsPerPart
    }

    mutating func add(_ cost: Int) {
        if unitsInLastPart + cost > unitsPerPart {
            parts += 1
            unitsInLastPart = 0
        }
        unitsInLastPart += cost
        units += cost
    }
}
