import Hummingbird
import Log
import Projections

/// `limit` and `cursor` of a list. A cursor is the opaque id of the last element shown.
struct Paging {
    static let parameters: QueryParameters = ["limit", "cursor"]
    static let limitMax = 200
    /// The length in bytes after which a page ends.
    static let bytesMax = 1 << 20
    let limit: Int
    let after: LogPosition?

    fileprivate static let everything = Paging(limit: .max, after: nil)

    private init(limit: Int, after: LogPosition?) {
        self.limit = limit
        self.after = after
    }

    init(_ request: Request, _ kind: OpaqueID.Kind, _ ids: OpaqueID) throws {
        let query = request.uri.queryParameters
        if let text = query["limit"] {
            guard let value = Int(text), (1...Paging.limitMax).contains(value) else {
                throw GatewayError(.invalidRequest, "limit must be a whole number from 1 to 200", field: "limit")
            }
            limit = value
        } else {
            limit = 50
        }
        guard let cursor = query["cursor"] else {
            after = nil
            return
        }
        guard let position = ids.decode(kind, cursor) else {
            throw GatewayError(.invalidRequest, "the cursor is not one that a list gave", field: "cursor")
        }
        after = position
    }

    /// What is found by walking a list step by step.
    struct Walk: Sendable {
        fileprivate(set) var page: [LogPosition] = []
        fileprivate var before: LogPosition?
        fileprivate(set) var isOver = false
    }

    /// How much of a list is walked in one step, for each of which the writer's lock is held.
    private static let step = 512

    var walk: Walk { Walk(before: after) }

    /// One step through `positions`, which rise, newest first. More may have come since the step before: only to their end.
    ///
    /// One more than the page has is found, and tells that there is a next page.
    func go(_ walk: inout Walk, through positions: [LogPosition], where keep: (LogPosition) -> Bool) {
        var high = positions.count
        if let before = walk.before {
            var low = 0
            while low < high {
                let middle = (low + high) / 2
                if positions[middle] < before { low = middle + 1 } else { high = middle }
            }
        }
        let low = max(0, high - Paging.step)
        for position in positions[low..<high].reversed() where keep(position) {
            walk.page.append(position)
            if walk.page.count > limit { break }
        }
        walk.isOver = low == 0 || walk.page.count > limit
        if high > 0 { walk.before = positions[low] }
    }

    /// Writes `{data:[…],next_cursor}`. A page ends after the element that makes it longer than `bytesMax`, or has as many as
    /// were asked for.
    func answer(
        _ page: [LogPosition],
        _ kind: OpaqueID.Kind,
        _ ids: OpaqueID,
        _ element: (LogPosition) throws -> [UInt8]
    ) rethrows -> Response {
        var elements: [[UInt8]] = []
        var size = 0
        for position in page.prefix(limit) where size < Paging.bytesMax {
            elements.append(try element(position))
            size += elements[elements.count - 1].count
        }
        return Answer.json { json in
            json.array("data") { json in for bytes in elements { json.element { $0.raw(bytes) } } }
            json.string("next_cursor", page.count > elements.count ? ids.encode(kind, page[elements.count - 1]) : nil)
        }
    }
}

extension Ledger {
    /// A page of a list. The writer's lock is let go between two steps, so that a long list holds up nobody.
    func page(
        _ paging: Paging,
        _ list: (borrowing LogState) -> [LogPosition],
        where keep: (LogPosition, borrowing LogState) -> Bool = { _, _ in true }
    ) async throws -> [LogPosition] {
        try await walk(paging, list, where: keep)
    }

    /// All of a list that is kept, the oldest first, walked like a page.
    func all(
        _ list: (borrowing LogState) -> [LogPosition],
        where keep: (LogPosition, borrowing LogState) -> Bool
    ) async throws -> [LogPosition] {
        try await walk(.everything, list, where: keep).reversed()
    }

    private func walk(
        _ paging: Paging,
        _ list: (borrowing LogState) -> [LogPosition],
        where keep: (LogPosition, borrowing LogState) -> Bool
    ) async throws -> [LogPosition] {
        var walk = paging.walk
        while !walk.isOver {
            walk = try await read { [walk] state in
                var walk = walk
                paging.go(&walk, through: list(state)) { keep($0, state) }
                return walk
            }
        }
        return walk.page
    }

    /// What is known now of the elements of a page.
    func rows<Row: Sendable>(
        of page: [LogPosition],
        _ row: (borrowing LogState, LogPosition) -> Row?
    ) async throws -> [LogPosition: Row] {
        try await read { state in
            var rows: [LogPosition: Row] = [:]
            for id in page { rows[id] = row(state, id) }
            return rows
        }
    }
}
