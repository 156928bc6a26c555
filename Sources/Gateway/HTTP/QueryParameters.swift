package import Hummingbird

/// The query parameters of a route. What it does not name is refused: a misspelt filter must not answer everything.
package enum QueryParameters: Sendable, ExpressibleByArrayLiteral {
    case named(Set<String>)
    /// Whoever calls may add what he likes.
    case any

    package init(arrayLiteral names: String...) { self = .named(Set(names)) }

    /// Compares names as they stand, which is also how they are looked up: one that is escaped is one that is not known.
    package func check(_ request: Request) throws {
        guard case .named(let known) = self, let query = request.uri.query else { return }
        var seen: Set<String> = []
        for pair in query.split(separator: "&") {
            let name = String(pair.prefix { $0 != "=" })
            guard known.contains(name) else {
                throw GatewayError(.unknownParameter, "the query parameter \(name) is not known", field: name)
            }
            guard seen.insert(name).inserted else {
                throw GatewayError(.invalidRequest, "the query parameter \(name) may be given once only", field: name)
            }
        }
    }
}
