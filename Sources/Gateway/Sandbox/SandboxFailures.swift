package import HTTPTypes
import Hummingbird
package import Projections
import Synchronization

/// What a simulated provider answers to a send instead of taking it.
package struct SandboxFailure: Sendable, Equatable {
    package let status: HTTPResponse.Status
    /// The provider's own.
    package let code: Int
    /// How many calls are still to fail; none ends it.
    package fileprivate(set) var count: Int

    /// The rest of a body that names a platform.
    package init(_ fields: JSONFields) throws {
        try fields.allow(["platform", "status", "code", "count"])
        count = Int(try fields.integer("count", in: 0...100) ?? 1)
        let status = try fields.integer("status", in: 400...599)
        let code = try fields.integer("code", in: 0...9_999_999)
        if count > 0 {
            guard status != nil else { throw fields.wrong("status", "given: a whole number from 400 to 599") }
            guard code != nil else { throw fields.wrong("code", "given: an error code of the provider") }
        }
        self.status = HTTPResponse.Status(code: Int(status ?? 400))
        self.code = Int(code ?? 0)
    }
}

/// Failures that were asked for: one kind at a time for each platform.
package final class SandboxFailures: Sendable {
    private let pending = Mutex<[Platform: SandboxFailure]>([:])

    package init() {}

    package func add(to router: Routes) {
        router.post("/sandbox/failures") { request, _ in try await self.plan(request) }
        router.get("/sandbox/failures") { _, _ in self.list() }
    }

    private func plan(_ request: Request) async throws -> Response {
        try plan(try await request.fields())
        return list()
    }

    /// Replaces what was asked for before.
    package func plan(_ fields: JSONFields) throws {
        let failure = try SandboxFailure(fields)
        let platform = try Platform(in: fields)
        pending.withLock { $0[platform] = failure.count > 0 ? failure : nil }
    }

    /// The failure of the call that asks, which is one fewer after it; nil when the call is to be taken.
    package func take(_ platform: Platform) -> SandboxFailure? {
        pending.withLock { pending in
            guard var failure = pending[platform] else { return nil }
            failure.count -= 1
            pending[platform] = failure.count > 0 ? failure : nil
            return failure
        }
    }

    private func list() -> Response {
        let failures = pending.withLock { $0 }
        return Answer.json { json in
            json.array("data") { json in
                for platform in Platform.allCases {
                    guard let failure = failures[platform] else { continue }
                    json.element { json in
                        json.object { json in
                            json.string("platform", platform.name)
                            json.number("status", failure.status.code)
                            json.number("code", failure.code)
                            json.number("count", failure.count)
                        }
                    }
                }
            }
        }
    }
}
