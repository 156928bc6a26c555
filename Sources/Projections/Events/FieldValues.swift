package import Log

extension UInt64: FieldValue {
    package static var kind: FieldKind { .integer }
    package var isAbsent: Bool { self == 0 }
    package func encode(into output: inout [UInt8]) { VariableInteger.append(self, to: &output) }
    package init?(decoding bytes: UnsafeRawBufferPointer) {
        guard let value = VariableInteger.whole(bytes) else { return nil }
        self = value
    }
    package func describe(into json: inout JSONWriter) { json.number(self) }
}

extension Bool: FieldValue {
    package static var kind: FieldKind { .boolean }
    package var isAbsent: Bool { !self }
    package func encode(into output: inout [UInt8]) { output.append(1) }
    package init?(decoding bytes: UnsafeRawBufferPointer) {
        guard bytes.count == 1, bytes[0] == 1 else { return nil }
        self = true
    }
    package func describe(into json: inout JSONWriter) { json.bool(self) }
}

extension String: FieldValue {
    package static var kind: FieldKind { .text }
    package var isAbsent: Bool { isEmpty }
    package func encode(into output: inout [UInt8]) { output.append(contentsOf: utf8) }
    package init?(decoding bytes: UnsafeRawBufferPointer) { self.init(validating: bytes, as: UTF8.self) }
    package func describe(into json: inout JSONWriter) { json.string(self) }
}

extension LogPosition: FieldValue {
    package static var kind: FieldKind { .position }
    package var isAbsent: Bool { self == .zero }
    package func encode(into output: inout [UInt8]) { VariableInteger.append(rawValue, to: &output) }
    package init?(decoding bytes: UnsafeRawBufferPointer) {
        guard let value = VariableInteger.whole(bytes) else { return nil }
        self.init(value)
    }
    package func describe(into json: inout JSONWriter) { json.number(rawValue) }
}

extension Timestamp: FieldValue {
    package static var kind: FieldKind { .time }
    package var isAbsent: Bool { nanoseconds == 0 }
    package func encode(into output: inout [UInt8]) { VariableInteger.append(nanoseconds, to: &output) }
    package init?(decoding bytes: UnsafeRawBufferPointer) {
        guard let value = VariableInteger.whole(bytes) else { return nil }
        self.init(value)
    }
    package func describe(into json: inout JSONWriter) { json.time(self) }
}

extension LookupHash: FieldValue {
    package static var kind: FieldKind { .bytes }
    package var isAbsent: Bool { high == 0 && low == 0 }
    package static let absent = LookupHash(high: 0, low: 0)
    package func encode(into output: inout [UInt8]) { output += bytes }
    package init?(decoding bytes: UnsafeRawBufferPointer) {
        guard bytes.count == 16 else { return nil }
        self.init(bytes)
    }
    package func describe(into json: inout JSONWriter) { json.string(Hex.encode(bytes)) }
}

extension Digest: FieldValue {
    package static var kind: FieldKind { .bytes }
    package var isAbsent: Bool { self == .zero }
    package func encode(into output: inout [UInt8]) { output += bytes }
    package init?(decoding bytes: UnsafeRawBufferPointer) {
        guard bytes.count == Digest.size else { return nil }
        self.init(bytes)
    }
    package func describe(into json: inout JSONWriter) { json.string(Hex.encode(bytes)) }
}

/// Bytes that a describer shows as hexadecimal.
package struct RawBytes: FieldValue, Equatable {
    package var bytes: [UInt8]
    package init(_ bytes: [UInt8] = []) { self.bytes = bytes }
    package static var kind: FieldKind { .bytes }
    package var isAbsent: Bool { bytes.isEmpty }
    package func encode(into output: inout [UInt8]) { output += bytes }
    package init?(decoding bytes: UnsafeRawBufferPointer) { self.bytes = [UInt8](bytes) }
    package func describe(into json: inout JSONWriter) { json.string(Hex.encode(bytes)) }
}

/// Several values of one kind, each with its length.
package struct ListField<Element: FieldValue & Equatable>: FieldValue, Equatable {
    package var values: [Element]
    package init(_ values: [Element] = []) { self.values = values }
    package static var kind: FieldKind { .list }
    package var isAbsent: Bool { values.isEmpty }

    package func encode(into output: inout [UInt8]) {
        var scratch: [UInt8] = []
        for value in values {
            scratch.removeAll(keepingCapacity: true)
            value.encode(into: &scratch)
            VariableInteger.append(UInt64(scratch.count), to: &output)
            output += scratch
        }
    }

    package init?(decoding bytes: UnsafeRawBufferPointer) {
        var offset = 0
        var values: [Element] = []
        while offset < bytes.count {
            guard let length = VariableInteger.read(bytes, &offset), length <= UInt64(bytes.count - offset),
                let value = Element(decoding: UnsafeRawBufferPointer(rebasing: bytes[offset..<(offset + Int(length))]))
            else { return nil }
            values.append(value)
            offset += Int(length)
        }
        self.values = values
    }

    package func describe(into json: inout JSONWriter) {
        json.array { json in
            for value in values { json.element { value.describe(into: &$0) } }
        }
    }
}

/// Names with stable numbers: stored as the number, shown as the name.
package protocol NamedField: FieldValue, RawRepresentable, CaseIterable, Equatable where RawValue == UInt8 {
    var name: String { get }
}

extension NamedField {
    package static var kind: FieldKind { .name }
    package var isAbsent: Bool { false }
    package func encode(into output: inout [UInt8]) { output.append(rawValue) }
    package init?(decoding bytes: UnsafeRawBufferPointer) {
        guard bytes.count == 1 else { return nil }
        self.init(rawValue: bytes[0])
    }
    package func describe(into json: inout JSONWriter) { json.string(name) }
    package init?(name: String) {
        guard let match = Self.allCases.first(where: { $0.name == name }) else { return nil }
        self = match
    }
}

extension Platform: NamedField {}
extension Plan: NamedField {}
extension AddonStatus: NamedField {}
extension TokenRole: NamedField {}
extension MessageStatus: NamedField {}
extension SendOutcome: NamedField {}
extension ConversationStatus: NamedField {}
