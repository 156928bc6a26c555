import Gateway
import Testing

@Suite struct JSONFieldsTests {
    private func fields(_ text: String) throws -> JSONFields { try JSONFields([UInt8](text.utf8)) }

    /// The field that an error names, or what it is when it names none.
    private func fault(_ body: () throws -> Void) -> String? {
        do {
            try body()
            return nil
        } catch let error as GatewayError {
            return error.field ?? error.code
        } catch {
            return "\(error)"
        }
    }

    @Test(arguments: ["", "null", "[]", "1", "\"a\"", "{", "{\"a\":}", "{\"a\":1} x", "{a:1}", "\u{1}"])
    func onlyOneObjectIsRead(_ text: String) {
        #expect(throws: GatewayError(.invalidJSON, "")) { try fields(text) }
    }

    /// Which of the two would count, another parser might see otherwise.
    @Test(arguments: [#"{"a":1,"a":1}"#, #"{"b":{"a":1,"\u0061":2}}"#])
    func noNameStandsTwice(_ text: String) {
        #expect(throws: GatewayError(.invalidJSON, "")) { try fields(text) }
    }

    @Test func bytesThatAreNotUTF8AreRefused() {
        let bytes = [UInt8]("{\"a\":\"".utf8) + [0xC3, 0x28] + [UInt8]("\"}".utf8)
        #expect(throws: GatewayError(.invalidJSON, "")) { try JSONFields(bytes) }
    }

    /// Deep nesting must be an error, not the end of the process.
    @Test(arguments: [1_000, 100_000])
    func deepNestingIsRefused(_ depth: Int) {
        let text = "{\"a\":" + String(repeating: "[", count: depth) + String(repeating: "]", count: depth) + "}"
        #expect(throws: GatewayError(.invalidJSON, "")) { try fields(text) }
    }

    @Test func absentAndNullAreTheSame() throws {
        for text in ["{}", #"{"a":null}"#] {
            let fields = try fields(text)
            #expect(!fields.has("a"))
            #expect(try fields.string("a") == nil)
            #expect(try fields.bool("a") == nil)
            #expect(try fields.integer("a", in: 0...1) == nil)
            #expect(try fields.object("a") == nil)
            #expect(try fields.strings("a") == nil)
            #expect(try fields.integers("a", in: 0...1) == nil)
            #expect(fault { _ = try fields.require("a") } == "a")
        }
    }

    @Test func valuesOfTheRightKind() throws {
        let fields = try fields(#"{"s":"é","b":true,"i":-3,"o":{"x":"y"},"l":["a","b"],"n":[1,2]}"#)
        #expect(try fields.require("s") == "é")
        #expect(try fields.bool("b") == true)
        #expect(try fields.integer("i", in: -3...0) == -3)
        #expect(try fields.object("o")?.string("x") == "y")
        #expect(try fields.strings("l") == ["a", "b"])
        #expect(try fields.integers("n", in: 1...2) == [1, 2])
        #expect(fields.names == ["b", "i", "l", "n", "o", "s"])
    }

    @Test(arguments: ["1", "true", "1.5", "[]", "{}", "\"\""])
    func whatIsNotARequiredString(_ value: String) throws {
        let fields = try fields(#"{"a":\#(value)}"#)
        #expect(fault { _ = try fields.require("a") } == "a")
    }

    @Test(arguments: ["\"1\"", "true", "1.5", "1e30", "-1", "11", "9223372036854775808"])
    func whatIsNotAnIntegerFromZeroToTen(_ value: String) throws {
        let fields = try fields(#"{"a":\#(value),"l":[1,\#(value)]}"#)
        #expect(fault { _ = try fields.integer("a", in: 0...10) } == "a")
        #expect(fault { _ = try fields.integers("l", in: 0...10) } == "l")
    }

    @Test(arguments: ["0", "1", "\"true\"", "[]"])
    func whatIsNotATruth(_ value: String) throws {
        let fields = try fields(#"{"a":\#(value)}"#)
        #expect(fault { _ = try fields.bool("a") } == "a")
    }

    @Test func listsHoldOneKind() throws {
        let fields = try fields(#"{"a":["x",1],"b":"x","c":["1"]}"#)
        #expect(fault { _ = try fields.strings("a") } == "a")
        #expect(fault { _ = try fields.strings("b") } == "b")
        #expect(fault { _ = try fields.integers("c", in: 0...9) } == "c")
        #expect(fault { _ = try fields.object("b") } == "b")
    }

    @Test func unknownFieldsAreNamedWithTheirPath() throws {
        let fields = try fields(#"{"a":{"x":1,"z":null},"b":1}"#)
        #expect(fault { try fields.allow(["a", "b"]) } == nil)
        #expect(fault { try fields.allow(["a"]) } == "b")
        #expect(throws: GatewayError(.unknownField, "")) { try fields.allow(["a"]) }
        let inner = try #require(try fields.object("a"))
        #expect(fault { try inner.allow(["x"]) } == "a.z")
        #expect(fault { _ = try inner.string("x") } == "a.x")
    }
}
