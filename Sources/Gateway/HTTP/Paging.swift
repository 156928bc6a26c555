import Hummingbird
import Log
import Projections

/// `limit` and `cursor` of a list. A cursor is the opaque id of the last element shown.
struct Paging {
    static let parameters: QueryParameters = ["limit", "cursor"]
    static let limitMax = 200
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

    /// The page of `positions`, which rise, newest first.
    func newestFirst(_ positions: [LogPosition], where keep: (LogPosition) -> Bool) -> [LogPosition] {
        var low = 0
        var high = positions.count
        if let after {
            while low < high {
                let middle = (low + high) / 2
                if positions[middle] < after { low = middle + 1 } else { high = middle }
            }
        } else {
            low = high
        }
        var page: [LogPosition] = []
        for position in positions[..<low].reversed() where keep(position) {
            page.append(position)
            // One more than asked tells whether there is a next page.
            if page.count > limit { break }
        }
        return page
    }

    /// Writes `{data:[…],next_cursor}`.
    func answer(
        _ page: [LogPosition],
        _ kind: OpaqueID.Kind,
        _ ids: OpaqueID,
        _ element: (inout JSONWriter, LogPosition) -> Void
    ) -> Response {
        Answer.json { json in
            json.array("data") { json in
                for position in page.prefix(limit) { json.element { element(&$0, position) } }
            }
            json.string("next_cursor", page.count > limit ? ids.encode(kind, page[limit - 1]) : nil)
        }
    }
}
