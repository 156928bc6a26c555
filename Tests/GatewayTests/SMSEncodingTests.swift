import Gateway
import Testing

@Suite struct SMSEncodingTests {
    struct Row: Sendable, CustomTestStringConvertible {
        let text: String
        let alphabet: SMSEncoding.Alphabet
        let units: Int
        let segments: Int
        let testDescription: String

        init(_ name: String, _ text: String, _ alphabet: SMSEncoding.Alphabet, units: Int, segments: Int) {
            self.text = text
            self.alphabet = alphabet
            self.units = units
            self.segments = segments
            testDescription = name
        }
    }

    static func times(_ count: Int, _ text: String) -> String {
        String(repeating: text, count: count)
    }

    /// Every check printed in the channel reference, section A.8.
    static let referenceRows = [
        Row("empty", "", .gsm7, units: 0, segments: 1),
        Row("160 a", times(160, "a"), .gsm7, units: 160, segments: 1),
        Row("161 a", times(161, "a"), .gsm7, units: 161, segments: 2),
        Row("306 a", times(306, "a"), .gsm7, units: 306, segments: 2),
        Row("307 a", times(307, "a"), .gsm7, units: 307, segments: 3),
        Row("80 €", times(80, "€"), .gsm7, units: 160, segments: 1),
        Row("81 €", times(81, "€"), .gsm7, units: 162, segments: 2),
        Row("€ across a boundary", times(152, "a") + "€" + times(152, "a"), .gsm7, units: 306, segments: 3),
        Row("€ moved, still fits", times(152, "a") + "€" + times(151, "a"), .gsm7, units: 305, segments: 2),
        Row("160 Ç", times(160, "Ç"), .gsm7, units: 160, segments: 1),
        Row("70 ç", times(70, "ç"), .ucs2, units: 70, segments: 1),
        Row("71 ç", times(71, "ç"), .ucs2, units: 71, segments: 2),
        Row("134 я", times(134, "я"), .ucs2, units: 134, segments: 2),
        Row("135 я", times(135, "я"), .ucs2, units: 135, segments: 3),
        Row("35 😀", times(35, "😀"), .ucs2, units: 70, segments: 1),
        Row("36 😀", times(36, "😀"), .ucs2, units: 72, segments: 2),
        Row("😀 across a boundary", times(66, "я") + "😀" + times(66, "я"), .ucs2, units: 134, segments: 3),
        Row("66 😀", times(66, "😀"), .ucs2, units: 132, segments: 2),
        Row("67 😀", times(67, "😀"), .ucs2, units: 134, segments: 3),
    ]

    /// Texts that Swift's own idea of a character, or an early decision, would miscount.
    static let trapRows = [
        Row("CR LF is two characters", "\r\n", .gsm7, units: 2, segments: 1),
        Row("UCS-2 makes everything cost code units", "€[é😀", .ucs2, units: 5, segments: 1),
        Row("the last character decides", times(160, "a") + "`", .ucs2, units: 161, segments: 3),
        Row("composed é", "\u{E9}", .gsm7, units: 1, segments: 1),
        Row("decomposed é", "e\u{301}", .ucs2, units: 2, segments: 1),
        Row("capital omega", "\u{3A9}", .gsm7, units: 1, segments: 1),
        Row("ohm sign", "\u{2126}", .ucs2, units: 1, segments: 1),
        Row("angstrom sign", "\u{212B}", .ucs2, units: 1, segments: 1),
        Row("escape is no character", "\u{1B}", .ucs2, units: 1, segments: 1),
        Row("NUL", "\0", .ucs2, units: 1, segments: 1),
        Row("last code point", "\u{10FFFF}", .ucs2, units: 2, segments: 1),
        Row("family of four", "👨‍👩‍👧‍👦", .ucs2, units: 11, segments: 1),
        Row("T7 of section A.2", "Café ☕ & 100%\nline 2", .ucs2, units: 20, segments: 1),
    ]

    @Test(arguments: referenceRows + trapRows)
    func measures(_ row: Row) {
        let encoding = SMSEncoding(of: row.text)
        #expect(encoding.alphabet == row.alphabet)
        #expect(encoding.units == row.units)
        #expect(encoding.segments == row.segments)
    }

    @Test func alphabetsAreSpelledAsTheAPIReportsThem() {
        #expect(SMSEncoding.Alphabet.gsm7.rawValue == "GSM-7")
        #expect(SMSEncoding.Alphabet.ucs2.rawValue == "UCS-2")
    }

    /// Septet codes 0x00 to 0x7F as code points, written as numbers so that no literal is shared with the source.
    /// The escape code is given as nil.
    static let septets: [UInt32?] = [
        0x40, 0xA3, 0x24, 0xA5, 0xE8, 0xE9, 0xF9, 0xEC, 0xF2, 0xC7, 0x0A, 0xD8, 0xF8, 0x0D, 0xC5, 0xE5,
        0x394, 0x5F, 0x3A6, 0x393, 0x39B, 0x3A9, 0x3A0, 0x3A8, 0x3A3, 0x398, 0x39E, nil, 0xC6, 0xE6, 0xDF, 0xC9,
        0x20, 0x21, 0x22, 0x23, 0xA4, 0x25, 0x26, 0x27, 0x28, 0x29, 0x2A, 0x2B, 0x2C, 0x2D, 0x2E, 0x2F,
        0x30, 0x31, 0x32, 0x33, 0x34, 0x35, 0x36, 0x37, 0x38, 0x39, 0x3A, 0x3B, 0x3C, 0x3D, 0x3E, 0x3F,
        0xA1, 0x41, 0x42, 0x43, 0x44, 0x45, 0x46, 0x47, 0x48, 0x49, 0x4A, 0x4B, 0x4C, 0x4D, 0x4E, 0x4F,
        0x50, 0x51, 0x52, 0x53, 0x54, 0x55, 0x56, 0x57, 0x58, 0x59, 0x5A, 0xC4, 0xD6, 0xD1, 0xDC, 0xA7,
        0xBF, 0x61, 0x62, 0x63, 0x64, 0x65, 0x66, 0x67, 0x68, 0x69, 0x6A, 0x6B, 0x6C, 0x6D, 0x6E, 0x6F,
        0x70, 0x71, 0x72, 0x73, 0x74, 0x75, 0x76, 0x77, 0x78, 0x79, 0x7A, 0xE4, 0xF6, 0xF1, 0xFC, 0xE0,
    ]

    static let extensions: [UInt32] = [0x0C, 0x5E, 0x7B, 0x7D, 0x5C, 0x5B, 0x7E, 0x5D, 0x7C, 0x20AC]

    @Test func everyScalarOfTheBasicPlaneIsClassified() {
        let basic = Set(Self.septets.compactMap { $0 })
        let extended = Set(Self.extensions)
        #expect(Self.septets.count == 128)
        #expect(basic.count == 127)
        #expect(basic.isDisjoint(with: extended))
        // One expectation over the collected mismatches, because sixty thousand of them would be slow to record.
        let wrong = (UInt32(0)...0xFFFF).compactMap(Unicode.Scalar.init).filter { scalar in
            let units = basic.contains(scalar.value) ? 1 : extended.contains(scalar.value) ? 2 : nil
            let encoding = SMSEncoding(of: String(Character(scalar)))
            return encoding.alphabet != (units == nil ? .ucs2 : .gsm7)
                || encoding.units != units ?? 1
                || encoding.segments != 1
        }
        #expect(wrong.isEmpty)
    }
}
