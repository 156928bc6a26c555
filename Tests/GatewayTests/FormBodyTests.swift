import Gateway
import Testing

@Suite struct FormBodyTests {
    struct Row: Sendable, CustomTestStringConvertible {
        let text: String
        let fields: [[String]]

        init(_ text: String, _ fields: [[String]]) {
            self.text = text
            self.fields = fields
        }

        var testDescription: String { text.debugDescription }
    }

    static let rows = [
        Row("", []),
        Row("&", []),
        Row("&&a=1&&b=2&", [["a", "1"], ["b", "2"]]),
        Row("a", [["a", ""]]),
        Row("a=", [["a", ""]]),
        Row("=a", [["", "a"]]),
        Row("=", [["", ""]]),
        Row("a=b=c", [["a", "b=c"]]),
        Row("a=1&a=2&a=1", [["a", "1"], ["a", "2"], ["a", "1"]]),
        Row("a+b=c+d", [["a b", "c d"]]),
        Row("a%2Bb=%26%3d%2B", [["a+b", "&=+"]]),
        Row("a;b=1", [["a;b", "1"]]),
        Row("a=%", [["a", "%"]]),
        Row("a=%4", [["a", "%4"]]),
        Row("a=%zz%4g%g4", [["a", "%zz%4g%g4"]]),
        Row("a=%%41", [["a", "%A"]]),
        Row("a=%25%34%31", [["a", "%41"]]),
        Row("a=%4&1=b", [["a", "%4"], ["1", "b"]]),
        Row("a=%4=1", [["a", "%4=1"]]),
        Row("a=%e2%98%95", [["a", "☕"]]),
        Row("a=☕", [["a", "☕"]]),
        Row("a=%00", [["a", "\0"]]),
        Row("a=%EF%BB%BFb", [["a", "\u{FEFF}b"]]),
        Row("a=%FF", [["a", "\u{FFFD}"]]),
        Row("a=%E2%98", [["a", "\u{FFFD}"]]),
        Row("a=%E2%98b", [["a", "\u{FFFD}b"]]),
        Row("a=%C0%AF", [["a", "\u{FFFD}\u{FFFD}"]]),
        Row("a=%ED%A0%80", [["a", "\u{FFFD}\u{FFFD}\u{FFFD}"]]),
    ]

    @Test(arguments: rows)
    func parses(_ row: Row) throws {
        let body = try #require(FormBody([UInt8](row.text.utf8)))
        let bytes = body.fields.map { [[UInt8]($0.name.utf8), [UInt8]($0.value.utf8)] }
        #expect(bytes == row.fields.map { $0.map { [UInt8]($0.utf8) } })
    }

    @Test func rawInvalidBytesAreReplaced() throws {
        let body = try #require(FormBody([UInt8(ascii: "a"), UInt8(ascii: "="), 0x80, UInt8(ascii: "b")]))
        #expect(body["a"] == "\u{FFFD}b")
    }

    @Test func theFirstValueOfANameWins() throws {
        let body = try #require(FormBody([UInt8]("To=1&to=2&To=3&Empty=".utf8)))
        #expect(body["To"] == "1")
        #expect(body["to"] == "2")
        #expect(body["Empty"]?.isEmpty == true)
        #expect(body["TO"] == nil)
    }

    @Test func namesMatchByBytesNotByCanonicalEquivalence() throws {
        let body = try #require(FormBody([UInt8]("e%CC%81=decomposed".utf8)))
        #expect(body["\u{E9}"] == nil)
        #expect(body["e\u{301}"] == "decomposed")
    }

    @Test func onlyTooManyFieldsAreRefused() {
        #expect(FormBody([UInt8]("a&b".utf8), fieldsMax: 2)?.fields.count == 2)
        #expect(FormBody([UInt8]("&&a&&b&&".utf8), fieldsMax: 2)?.fields.count == 2)
        #expect(FormBody([UInt8]("a&b&c".utf8), fieldsMax: 2) == nil)
        #expect(FormBody([], fieldsMax: 0)?.fields.isEmpty == true)
        #expect(FormBody([UInt8]("a".utf8), fieldsMax: 0) == nil)
        let thousand = [UInt8](String(repeating: "a=1&", count: 1000).utf8)
        #expect(FormBody(thousand)?.fields.count == 1000)
        #expect(FormBody(thousand + [UInt8(ascii: "a")]) == nil)
    }

    @Test func encodesAsTheStandardSays() {
        let encoded = FormBody.encode([("To", "+15005550006"), ("Body", "Café ☕ & 100%\n*-._~"), ("", "")])
        let text = "To=%2B15005550006&Body=Caf%C3%A9+%E2%98%95+%26+100%25%0A*-._%7E&="
        #expect(String(decoding: encoded, as: UTF8.self) == text)
        #expect(FormBody.encode([]).isEmpty)
    }

    @Test func scalarsOfEveryLengthSurviveEncodingAndParsing() throws {
        let values = Array(UInt32(0)..<0x3000) + stride(from: 0x3000, through: 0x10_FFFF, by: 251)
        var text = ""
        text.unicodeScalars.append(contentsOf: values.compactMap(Unicode.Scalar.init))
        let body = try #require(FormBody(FormBody.encode([(text, text)])))
        let field = try #require(body.fields.first)
        #expect(body.fields.count == 1)
        #expect(field.name.utf8.elementsEqual(text.utf8))
        #expect(field.value.utf8.elementsEqual(text.utf8))
    }
}
