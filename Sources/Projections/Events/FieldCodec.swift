/// The kinds of values that event payloads hold.
package enum FieldKind: String, Sendable {
    case integer, boolean, text, bytes, position, time, name, list
}

/// A value that can stand in an event payload.
///
/// A payload is a sequence of fields: number (LEB128), length (LEB128), bytes. Absent means the default of its kind. A
/// reader skips numbers it does not know, so fields can be added without a new schema version.
package protocol FieldValue: Sendable {
    static var kind: FieldKind { get }
    /// Absent values are not written.
    var isAbsent: Bool { get }
    func encode(into output: inout [UInt8])
    init?(decoding bytes: UnsafeRawBufferPointer)
    func describe(into json: inout JSONWriter)
}

/// Walks the fields of a payload. One `visit` method per event serves writing, reading, rendering and the written schema,
/// so that they cannot disagree.
package protocol FieldVisitor {
    mutating func field<Value: FieldValue>(_ number: Int, _ name: StaticString, _ value: inout Value)
}

package protocol EventPayload: Sendable, Equatable {
    init()
    mutating func visit(_ visitor: inout some FieldVisitor)
}

extension EventPayload {
    package var encoded: [UInt8] {
        var copy = self
        var writer = FieldWriter()
        copy.visit(&writer)
        return writer.bytes
    }

    /// Nil when the bytes are not a sequence of fields or a known field has the wrong shape.
    package init?(decoding bytes: UnsafeRawBufferPointer) {
        guard var reader = FieldReader(bytes) else { return nil }
        self.init()
        visit(&reader)
        if reader.failed { return nil }
    }
}

struct FieldWriter: FieldVisitor {
    private(set) var bytes: [UInt8] = []
    private var scratch: [UInt8] = []

    mutating func field<Value: FieldValue>(_ number: Int, _ name: StaticString, _ value: inout Value) {
        if value.isAbsent { return }
        scratch.removeAll(keepingCapacity: true)
        value.encode(into: &scratch)
        VariableInteger.append(UInt64(number), to: &bytes)
        VariableInteger.append(UInt64(scratch.count), to: &bytes)
        bytes += scratch
    }
}

/// Finds fields by number in a small table on the stack: no allocation for the reader itself.
struct FieldReader: FieldVisitor {
    static let fieldsMax = 32
    private let bytes: UnsafeRawBufferPointer
    private var places: InlineArray<32, Range<Int>> = InlineArray(repeating: 0..<0)
    private(set) var failed = false

    init?(_ bytes: UnsafeRawBufferPointer) {
        self.bytes = bytes
        var offset = 0
        while offset < bytes.count {
            guard let number = VariableInteger.read(bytes, &offset), let length = VariableInteger.read(bytes, &offset),
                length <= UInt64(bytes.count - offset)
            else { return nil }
            if number < UInt64(FieldReader.fieldsMax) { places[Int(number)] = offset..<(offset + Int(length)) }
            offset += Int(length)
        }
    }

    mutating func field<Value: FieldValue>(_ number: Int, _ name: StaticString, _ value: inout Value) {
        let place = places[number]
        if place.isEmpty { return }
        guard let decoded = Value(decoding: UnsafeRawBufferPointer(rebasing: bytes[place])) else {
            failed = true
            return
        }
        value = decoded
    }
}

/// Renders a payload as the members of a JSON object, for `replay`.
struct FieldDescriber: FieldVisitor {
    var json: JSONWriter

    mutating func field<Value: FieldValue>(_ number: Int, _ name: StaticString, _ value: inout Value) {
        if value.isAbsent { return }
        json.key(name)
        value.describe(into: &json)
    }
}

/// Collects the written schema.
struct SchemaCollector: FieldVisitor {
    private(set) var fields: [(number: Int, name: String, kind: FieldKind)] = []

    mutating func field<Value: FieldValue>(_ number: Int, _ name: StaticString, _ value: inout Value) {
        fields.append((number, "\(name)", Value.kind))
    }
}

/// Unsigned LEB128 (DWARF 4, section 7.6).
enum VariableInteger {
    static func append(_ value: UInt64, to output: inout [UInt8]) {
        var rest = value
        while rest >= 0x80 {
            output.append(UInt8(truncatingIfNeeded: rest) | 0x80)
            rest >>= 7
        }
        output.append(UInt8(rest))
    }

    static func read(_ bytes: UnsafeRawBufferPointer, _ offset: inout Int) -> UInt64? {
        var value: UInt64 = 0
        var shift: UInt64 = 0
        while offset < bytes.count, shift < 64 {
            let byte = bytes[offset]
            offset += 1
            value |= UInt64(byte & 0x7F) << shift
            if byte & 0x80 == 0 { return value }
            shift += 7
        }
        return nil
    }

    /// A field that holds exactly one integer.
    static func whole(_ bytes: UnsafeRawBufferPointer) -> UInt64? {
        var offset = 0
        guard let value = read(bytes, &offset), offset == bytes.count else { return nil }
        return value
    }
}
