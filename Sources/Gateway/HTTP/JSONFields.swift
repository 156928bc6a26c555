/// Any JSON value. Numbers that are whole stay whole; ids must come as strings.
package enum JSONValue: Sendable, Equatable {
    case null
    case bool(Bool)
    case integer(Int64)
    case number(Double)
    case string(String)
    case array([JSONValue])
    case object([String: JSONValue])
}

/// The members of a JSON object, taken out by name. What nobody asked for is an unknown field.
package struct JSONFields: Sendable {
    private let members: [String: JSONValue]
    private let path: String

    /// - Throws: `invalidJSON` unless the bytes are one JSON object.
    package init(_ bytes: [UInt8]) throws {
        switch JSONParser.read(bytes) {
        case .success(.object(let members)): self.members = members
        case .success: throw GatewayError(.invalidJSON, "the body is JSON, and not an object in braces")
        case .failure(let fault):
            throw GatewayError(.invalidJSON, "the body must be one JSON object in UTF-8: \(fault)")
        }
        path = ""
    }

    init(members: [String: JSONValue], path: String) {
        self.members = members
        self.path = path
    }

    /// Refuses members that are not in `known`.
    package func allow(_ known: Set<String>) throws {

        if let unknown = members.keys.filter({ !known.contains($0) }).min() {
            throw GatewayError(.unknownField, "the field \(path + unknown) is not known", field: path + unknown)
        }
    }

    /// A member that is given and named in `set`; of several the first by name.
    package func first(in set: Set<String>) -> String? {
        members.keys.filter { set.contains($0) && has($0) }.min()
    }

    package func has(_ name: String) -> Bool { members[name].map { $0 != .null } ?? false }
    package var names: [String] { members.keys.sorted() }

    package func string(_ name: String) throws -> String? {
        switch members[name] {
        case nil, .null: return nil
        case .string(let value): return value
        default: throw wrong(name, "a string")
        }
    }

    package func bool(_ name: String) throws -> Bool? {
        switch members[name] {
        case nil, .null: return nil
        case .bool(let value): return value
        default: throw wrong(name, "true or false")
        }
    }

    package func integer(_ name: String, in range: ClosedRange<Int64>) throws -> Int64? {
        switch members[name] {
        case nil, .null: return nil
        case .integer(let value) where range.contains(value): return value
        default: throw wrong(name, "a whole number from \(range.lowerBound) to \(range.upperBound)")
        }
    }

    package func object(_ name: String) throws -> JSONFields? {
        switch members[name] {
        case nil, .null: return nil
        case .object(let value): return JSONFields(members: value, path: path + name + ".")
        default: throw wrong(name, "an object")
        }
    }

    package func strings(_ name: String) throws -> [String]? {
        switch members[name] {
        case nil, .null: return nil
        case .array(let values):
            return try values.map { value in
                guard case .string(let text) = value else { throw wrong(name, "a list of strings") }
                return text
            }
        default: throw wrong(name, "a list of strings")
        }
    }

    package func objects(_ name: String) throws -> [JSONFields]? {
        switch members[name] {
        case nil, .null: return nil
        case .array(let values):
            return try values.map { value in
                guard case .object(let members) = value else { throw wrong(name, "a list of objects") }
                return JSONFields(members: members, path: path + name + ".")
            }
        default: throw wrong(name, "a list of objects")
        }
    }

    package func integers(_ name: String, in range: ClosedRange<Int64>) throws -> [Int64]? {
        switch members[name] {
        case nil, .null: return nil
        case .array(let values):
            return try values.map { value in
                guard case .integer(let number) = value, range.contains(number) else {
                    throw wrong(name, "a list of whole numbers from \(range.lowerBound) to \(range.upperBound)")
                }
                return number
            }
        default: throw wrong(name, "a list of whole numbers")
        }
    }

    /// A required string.
    package func require(_ name: String) throws -> String {
        guard let value = try string(name), !value.isEmpty else { throw wrong(name, "given") }
        return value
    }

    package func wrong(_ name: String, _ wanted: String) -> GatewayError {
        GatewayError(.invalidRequest, "\(path + name) must be \(wanted)", field: path + name)
    }
}
