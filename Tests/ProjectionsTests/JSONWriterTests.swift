import Foundation
import Projections
import TestSupport
import Testing

@Suite struct JSONWriterTests {
    /// What an independent parser reads back from a member named `v`.
    private func read(_ write: (inout JSONWriter) -> Void) throws -> Any {
        let bytes = JSONWriter.object { json in
            json.key("v")
            write(&json)
        }
        let parsed = try JSONSerialization.jsonObject(with: Data(bytes)) as? [String: Any]
        return try #require(parsed?["v"])
    }

    @Test(arguments: [
        "", "plain", "\"", "\\", "\\\"", "\n\r\t", "\u{0}", "\u{1}\u{1F}\u{7F}", "\u{8}\u{C}", "é ☕ 😀",
        "\u{2028}\u{2029}",
        "e\u{301}", "</script>", "a\u{FEFF}b", "{\"a\":1}",
    ])
    func stringsSurvive(_ text: String) throws {
        let value = try #require(try read { $0.string(text) } as? String)
        #expect([UInt8](value.utf8) == [UInt8](text.utf8))
        let dynamic = JSONWriter.object { json in
            json.key(dynamic: text)
            json.number(1)
        }
        let parsed = try JSONSerialization.jsonObject(with: Data(dynamic)) as? [String: Int]
        #expect(parsed?.keys.map { [UInt8]($0.utf8) } == [[UInt8](text.utf8)])
    }

    @Test func escapesAreTheShortOnes() {
        var json = JSONWriter()
        json.string("\"\\\n\r\t\u{1}/é")
        #expect(json.text == #""\"\\\n\r\t\u0001/é""#)
    }

    @Test func everyControlCharacterIsEscaped() {
        for value in UInt8(0)..<0x20 {
            var json = JSONWriter()
            json.string(String(UnicodeScalar(value)))
            #expect(json.bytes.allSatisfy { $0 >= 0x20 })
        }
    }

    @Test func randomStringsSurvive() throws {
        var random = SeededGenerator(seed: 8259)
        for _ in 0..<2000 {
            let text = String(decoding: random.bytes(Int.random(in: 0..<40, using: &random)), as: UTF8.self)
            let value = try #require(try read { $0.string(text) } as? String)
            #expect([UInt8](value.utf8) == [UInt8](text.utf8))
        }
    }

    /// The same content is the same bytes: members stand in the order in which they were written.
    @Test func everyShapeInOneDocument() {
        let bytes = JSONWriter.object { json in
            json.string("s", "x")
            json.string("none", nil)
            json.number("n", UInt64.max)
            json.number("m", Int64.min)
            json.bool("t", true)
            json.time("at", Timestamp(0))
            json.array("empty") { _ in }
            json.array("list") { json in
                json.element { $0.number(1) }
                json.element { json in json.object { $0.bool("f", false) } }
                json.element { json in json.array { json in json.element { $0.null() } } }
            }
            json.object("o") { json in
                json.key(dynamic: "k\"")
                json.string("v")
                json.key(dynamic: "l")
                json.number(2)
            }
            json.raw("raw", [UInt8]("{\"a\":1}".utf8))
            json.object("last") { _ in }
        }
        let expected =
            #"{"s":"x","none":null,"n":18446744073709551615,"m":-9223372036854775808,"t":true,"#
            + #""at":"1970-01-01T00:00:00.000Z","empty":[],"list":[1,{"f":false},[null]],"o":{"k\"":"v","l":2},"#
            + #""raw":{"a":1},"last":{}}"#
        #expect(String(decoding: bytes, as: UTF8.self) == expected)
    }
}
