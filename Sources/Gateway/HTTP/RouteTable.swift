package import HTTPTypes
import Hummingbird

/// Which methods a path takes, for requests that fit no route.
package struct RouteTable: Sendable {
    private struct Entry {
        let parts: [Substring]
        var methods: [HTTPRequest.Method]

        /// What is spelled out goes before what is captured, and that before what takes the rest of a path.
        var rank: [Int] { parts.map { $0 == "**" ? 2 : $0.hasPrefix(":") ? 1 : 0 } }
    }

    private let entries: [Entry]

    package init(_ routes: [Route]) {
        var entries: [String: Entry] = [:]
        for route in routes {
            let entry = Entry(parts: route.path.split(separator: "/"), methods: [])
            entries[route.path, default: entry].methods.append(route.method)
        }
        self.entries = entries.values.sorted { $0.rank.lexicographicallyPrecedes($1.rank) }
    }

    /// Empty for a path that is not known.
    package func methods(of path: String) -> [HTTPRequest.Method] {
        let parts = path.split(separator: "/")
        let known = entries.first { RouteTable.fits(parts, $0.parts) }
        return (known?.methods ?? []).sorted { $0.rawValue < $1.rawValue }
    }

    private static func fits(_ parts: [Substring], _ pattern: [Substring]) -> Bool {
        if pattern.last == "**" {
            let fixed = pattern.dropLast()
            return parts.count > fixed.count && fits(Array(parts.prefix(fixed.count)), Array(fixed))
        }
        return parts.count == pattern.count && zip(parts, pattern).allSatisfy { $1.hasPrefix(":") || $0 == $1 }
    }
}

/// Tells a known path with another method from a path that is not known.
struct KnownPaths: RouterMiddleware {
    let table: RouteTable

    func handle(
        _ request: Request,
        context: GatewayContext,
        next: (Request, GatewayContext) async throws -> Response
    ) async throws -> Response {
        let methods = table.methods(of: request.uri.path)
        guard !methods.isEmpty, !methods.contains(request.method) else { return try await next(request, context) }
        let allowed = methods.map(\.rawValue).joined(separator: ", ")
        let problem = GatewayError(.methodNotAllowed, "this path takes \(allowed)")
        var response = Answer.problem(problem, requestID: context.requestID)
        response.headers[.allow] = allowed
        return response
    }
}
