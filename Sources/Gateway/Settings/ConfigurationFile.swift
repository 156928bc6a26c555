import Log
import Yams

/// A settings file in YAML, of which JSON is a subset.
struct ConfigurationFile {
    struct Value: Equatable {
        let text: String
        let line: Int?
    }

    let path: String

    /// Nested maps as dotted keys, lists as comma-separated text.
    func flattened() throws -> [String: Value] {
        let text: String
        do {
            text = String(decoding: try PosixStorage().readAll(path, limit: 1 << 20), as: UTF8.self)
        } catch {
            throw GatewayError(.configuration, "could not read the settings file: \(error.message)")
        }
        guard let root = try compose(text) else { return [:] }
        var values: [String: Value] = [:]
        try collect(root, prefix: "", into: &values)
        return values
    }

    /// The parser's own descriptions quote the file, which holds secrets; its problems do not.
    private func compose(_ text: String) throws -> Node? {
        do {
            return try Yams.compose(yaml: text)
        } catch {
            var place = ""
            switch error as? YamlError {
            case .scanner(_, let problem, let mark, _), .parser(_, let problem, let mark, _),
                .composer(_, let problem, let mark, _):
                place = ": \(problem), line \(mark.line), column \(mark.column)"
            case .reader(let problem, let offset, _, _):
                place = ": \(problem)" + (offset.map { ", at byte \($0)" } ?? "")
            case .duplicatedKeysInMapping(_, let context):
                place = ": a key comes twice, the first time in line \(context.mark.line)"
            default: break
            }
            throw GatewayError(.configuration, "\(path) is neither YAML nor JSON\(place)")
        }
    }

    private func collect(_ node: Node, prefix: String, into values: inout [String: Value]) throws {
        switch node {
        case .mapping(let mapping):
            for (key, value) in mapping {
                let name = prefix + (key.string ?? "")
                if case .mapping = value {
                    try collect(value, prefix: name + ".", into: &values)
                    continue
                }
                let line = key.mark?.line
                if let other = values.updateValue(Value(text: try scalar(value, name), line: line), forKey: name) {
                    let lines = [other.line, line].compactMap { $0.map(String.init) }.joined(separator: " and ")
                    throw GatewayError(.configuration, "\(path) has the setting \(name) twice, in lines \(lines)")
                }
            }
        case .scalar(let scalar) where prefix.isEmpty && scalar.string.isEmpty: return
        default: throw GatewayError(.configuration, "\(path) must hold settings by name")
        }
    }

    /// As text it would be a secret that anybody guesses.
    private static func isNull(_ scalar: Node.Scalar) -> Bool {
        scalar.style == .plain && ["~", "null", "Null", "NULL"].contains(scalar.string)
    }

    private func scalar(_ node: Node, _ name: String) throws -> String {
        switch node {
        case .scalar(let scalar):
            guard !ConfigurationFile.isNull(scalar) else {
                let line = node.mark.map { ", line \($0.line)," } ?? ""
                throw GatewayError(
                    .configuration,
                    "the setting \(name) in \(path)\(line) is null, which is no value: leave it out, or put it in quotes"
                )
            }
            return scalar.string
        case .sequence(let sequence): return try sequence.map { try scalar($0, name) }.joined(separator: ",")
        default:
            let line = node.mark.map { ", line \($0.line)," } ?? ""
            throw GatewayError(.configuration, "the setting \(name) in \(path)\(line) must be text or a list")
        }
    }
}
