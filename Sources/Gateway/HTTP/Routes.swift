package import HTTPTypes
package import Hummingbird

/// One route as it was declared.
package struct Route: Sendable {
    package let method: HTTPRequest.Method
    /// Like `/v1/messages/:id`.
    package let path: String
    package let query: QueryParameters

    package init(method: HTTPRequest.Method, path: String, query: QueryParameters) {
        self.method = method
        self.path = path
        self.query = query
    }
}

/// A server's routes. Each is declared through `Routes`, so that HEAD goes wherever GET does, no route takes a query parameter
/// that it does not name, and a known path with another method is told from an unknown path.
package final class GatewayRoutes: HTTPResponderBuilder {
    private let router = Router(context: GatewayContext.self)
    package private(set) var declared: [Route] = []

    /// - Parameter memory: what the bodies of requests may hold; nil where only the machine's own people ask.
    package init(metrics: GatewayMetrics, memory: RequestMemory? = nil, trustedProxies: [IPNetwork] = []) {
        router.add(middleware: ProblemMiddleware(metrics: metrics))
        router.add(middleware: SingleHeaders())
        router.add(middleware: ExpectContinue())
        // Inside of the one before: who has no room for a body does not ask for it.
        if let memory { router.add(middleware: CountedBodies(memory: memory, trustedProxies: trustedProxies)) }
    }

    package func group(_ path: String = "") -> Routes { Routes(root: self, target: router, path: "").group(path) }

    fileprivate func declare(_ route: Route) { declared.append(route) }

    package func buildResponder() -> RouterResponder<GatewayContext> {
        // Added behind all routes, so it sees only what fits none of them.
        router.add(middleware: KnownPaths(table: RouteTable(declared)))
        return router.buildResponder()
    }
}

/// Where routes with a common beginning, and a common way in, are declared.
package struct Routes {
    package typealias Handler = @Sendable (Request, GatewayContext) async throws -> Response

    fileprivate let root: GatewayRoutes
    fileprivate let target: any RouterMethods<GatewayContext>
    fileprivate let path: String

    package func group(_ path: String) -> Routes {
        Routes(root: root, target: target.group(RouterPath(path)), path: Routes.join(self.path, path))
    }

    /// For the routes that are declared after it.
    @discardableResult
    func add(middleware: any MiddlewareProtocol<Request, Response, GatewayContext>) -> Routes {
        _ = target.add(middleware: middleware)
        return self
    }

    package func on(
        _ method: HTTPRequest.Method,
        _ path: String,
        query: QueryParameters = [],
        use handler: @escaping Handler
    ) {
        let checked: Handler = { request, context in
            try query.check(request)
            return try await handler(request, context)
        }
        for method in method == .get ? [.get, .head] : [method] {
            target.on(RouterPath(path), method: method, use: checked)
            root.declare(Route(method: method, path: Routes.join(self.path, path), query: query))
        }
    }

    private static func join(_ base: String, _ path: String) -> String {
        path.split(separator: "/").reduce(base) { $0 + "/" + $1 }
    }
}

extension Routes {
    /// Also for HEAD: the body is left out of the answer.
    package func get(_ path: String, query: QueryParameters = [], use handler: @escaping Handler) {
        on(.get, path, query: query, use: handler)
    }

    package func post(_ path: String, query: QueryParameters = [], use handler: @escaping Handler) {
        on(.post, path, query: query, use: handler)
    }

    package func put(_ path: String, query: QueryParameters = [], use handler: @escaping Handler) {
        on(.put, path, query: query, use: handler)
    }

    package func patch(_ path: String, query: QueryParameters = [], use handler: @escaping Handler) {
        on(.patch, path, query: query, use: handler)
    }

    package func delete(_ path: String, query: QueryParameters = [], use handler: @escaping Handler) {
        on(.delete, path, query: query, use: handler)
    }
}
