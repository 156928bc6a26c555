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

    /// What one step through a list finds.
    struct Step: Sendable {
        let found: [LogPosition]
        /// Where the next step begins; nil when there is none.
        let before: LogPosition?
    }

    /// How much of a list is looked at in one step, for each of which the writer's lock is held.
    private static let step = 512

    /// One step through `positions`, which rise, newest first. More may have come since the step before: only to their end.
    ///
    /// - Parameters:
    ///   - before: where the step begins; nil for the newest.
    ///   - most: how many are wanted.
    static func step(
        through positions: [LogPosition],
        before: LogPosition?,
        most: Int,
        where keep: (LogPosition) -> Bool
    ) -> Step {
        var high = positions.count
        if let before {
            var low = 0
            while low < high {
                let middle = (low + high) / 2
                if positions[middle] < before { low = middle + 1 } else { high = middle }
            }
        }
        let low = max(0, high - step)
        var found: [LogPosition] = []
        for position in positions[low..<high].reversed() where keep(position) {
            found.append(position)
            if found.count == most { break }
        }
        return Step(found: found, before: low == 0 || found.count == most ? nil : positions[low])
    }

    /// The entries of a page, rendered: as many as there are, up to the one that makes the page longer than `bytesMax`.
    ///
    /// Between two of them whoever waits for the thread has it: a page takes as long as hundreds of other requests.
    static func filled<Entry>(
        _ entries: some Sequence<Entry>,
        _ render: (Entry) throws -> [UInt8]
    ) async rethrows -> [[UInt8]] {
        var rendered: [[UInt8]] = []
        var size = 0
        for entry in entries where size < Paging.bytesMax {
            let bytes = try render(entry)
            rendered.append(bytes)
            size += bytes.count
            await Task.yield()
        }
        return rendered
    }

    /// Writes `{data:[…],next_cursor}`.
    ///
    /// - Parameter page: one more than asked tells that there is a next page.
    func answer(
        _ page: [LogPosition],
        _ kind: OpaqueID.Kind,
        _ ids: OpaqueID,
        _ element: (LogPosition) throws -> [UInt8]
    ) async rethrows -> Response {
        let elements = try await Paging.filled(page.prefix(limit), element)
        return Answer.json { json in
            json.list("data", elements)
            json.string("next_cursor", page.count > elements.count ? ids.encode(kind, page[elements.count - 1]) : nil)
        }
    }
}

extension JSONWriter {
    /// An array of what is rendered already.
    mutating func list(_ name: StaticString, _ elements: [[UInt8]]) {
        array(name) { json in for bytes in elements { json.element { $0.raw(bytes) } } }
    }
}

extension Ledger {
    /// A page of a list, and one more where there is one.
    func page(
        _ paging: Paging,
        _ list: (borrowing LogState) -> [LogPosition],
        where keep: (LogPosition, borrowing LogState) -> Bool = { _, _ in true }
    ) async throws -> [LogPosition] {
        try await walk(list, before: paging.after, most: paging.limit + 1, where: keep)
    }

    /// All of a list that is kept, the oldest first.
    func all(
        _ list: (borrowing LogState) -> [LogPosition],
        where keep: (LogPosition, borrowing LogState) -> Bool
    ) async throws -> [LogPosition] {
        try await walk(list, before: nil, most: .max, where: keep).reversed()
    }

    /// The writer's lock and the thread are let go between two steps, so that a long list holds up nobody.
    private func walk(
        _ list: (borrowing LogState) -> [LogPosition],
        before: LogPosition?,
        most: Int,
        where keep: (LogPosition, borrowing LogState) -> Bool
    ) async throws -> [LogPosition] {
        var found: [LogPosition] = []
        var before = before
        repeat {
            let step = try await read { [before, left = most - found.count] state in
                Paging.step(through: list(state), before: before, most: left) { keep($0, state) }
            }
            found += step.found
            before = step.before
            await Task.yield()
        } while before != nil
        return found
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
