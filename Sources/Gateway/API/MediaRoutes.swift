import HTTPTypes
import Hummingbird
import Log
import NIOCore
import Projections

/// The files of customers' messages, opened chunk by chunk as they leave.
struct MediaRoutes: Sendable {
    /// How long a request waits for a file that is being fetched.
    static let wait = Duration.seconds(10)

    let ledger: Ledger
    let shelf: MediaShelf

    func add(to group: RouterGroup<GatewayContext>) {
        group.get("media/:media") { try await file($0, $1) }
        group.head("media/:media") { try await file($0, $1) }
    }

    private enum Found: Sendable, Equatable {
        case missing
        case purged
        case pending
        case failed(LogPosition)
        case fetched(LogPosition)
    }

    private func file(_ request: Request, _ context: GatewayContext) async throws -> Response {
        try await ledger.reach(request)
        let client = try context.requireClient()
        guard let (message, part) = ledger.ids.decodePart(.media, try context.parameter("media")) else {
            throw MediaRoutes.unknown
        }
        let index = Int(part)
        let found = try await ledger.poll(
            for: MediaRoutes.wait,
            every: .milliseconds(50),
            { MediaRoutes.find(message, index, client.id, $0) },
            until: { $0 != .pending }
        )
        switch found {
        case .missing: throw MediaRoutes.unknown
        case .purged: throw GatewayError.purged
        case .pending:
            throw GatewayError(.mediaPending, "the provider has not given the file yet; try again", retryAfter: 5)
        case .failed(let record):
            var code = ""
            if case .mediaFailed(let event) = try ledger.event(at: record).event { code = event.code }
            throw GatewayError(.mediaUnavailable, "the provider did not give the file: \(code)")
        case .fetched(let record): return try answer(request, message, index, record)
        }
    }

    private static let unknown = GatewayError(.notFound, "there is no such file")

    private static func find(
        _ message: LogPosition,
        _ index: Int,
        _ client: LogPosition,
        _ state: borrowing LogState
    ) -> Found {
        guard state.inbox.messages[message]?.client == client else { return .missing }
        if state.isPurged(message) { return .purged }
        guard let row = state.media.rows[message], row.items.indices.contains(index) else { return .missing }
        let item = row.items[index]
        switch item.state {
        case .pending: return .pending
        case .failed: return .failed(item.record)
        case .fetched: return .fetched(item.record)
        }
    }

    private func answer(
        _ request: Request,
        _ message: LogPosition,
        _ index: Int,
        _ record: LogPosition
    ) throws -> Response {
        guard case .mediaFetched(let event) = try ledger.event(at: record).event else { throw MediaRoutes.unknown }
        let reader = try shelf.reader(message, index)
        let length = Int(reader.bytes)
        var headers: HTTPFields = [
            .contentType: event.mimeType, .cacheControl: "private, no-store", .acceptRanges: "bytes",
            .eTag: "\"\(Hex.encode(Array(event.digest.bytes.prefix(16))))\"",
        ]
        headers[.xContentTypeOptions] = "nosniff"
        headers[.contentDisposition] = ContentDisposition.attachment(try shelf.source(message, index)?.filename ?? "")
        let asked = ByteRange.parse(request.headers[.range], length: length)
        guard let range = asked.range else {
            headers[.contentRange] = "bytes */\(length)"
            return Response(status: .rangeNotSatisfiable, headers: headers)
        }
        if asked.isPartial {
            headers[.contentRange] = "bytes \(range.lowerBound)-\(range.upperBound - 1)/\(length)"
        }
        let status = asked.isPartial ? HTTPResponse.Status.partialContent : .ok
        if request.method == .head {
            headers[.contentLength] = String(range.count)
            return Response(status: status, headers: headers)
        }
        // A damaged file shows before the answer begins, where one chunk is all of it.
        let first = range.isEmpty ? [] : try reader.chunk(range.lowerBound / SealedFileWriter.chunkBytes)
        let body = ResponseBody(contentLength: range.count) { writer in
            try await send(reader, range, first: first, of: message, &writer)
            try await writer.finish(nil)
        }
        return Response(status: status, headers: headers, body: body)
    }

    /// Ends the connection when the message is purged meanwhile, or a chunk is damaged: a short answer is seen to be one.
    private func send(
        _ reader: SealedFileReader,
        _ range: Range<Int>,
        first: [UInt8],
        of message: LogPosition,
        _ writer: inout any ResponseBodyWriter
    ) async throws {
        if range.isEmpty { return }
        let size = SealedFileWriter.chunkBytes
        let begin = range.lowerBound / size
        for number in begin...((range.upperBound - 1) / size) {
            if ledger.plan({ $0.isPurged(message) }) { throw GatewayError.purged }
            let chunk = number == begin ? first : try reader.chunk(number)
            let wanted = range.clamped(to: number * size..<number * size + chunk.count)
            let offset = number * size
            let slice = chunk[(wanted.lowerBound - offset)..<(wanted.upperBound - offset)]
            try await writer.write(ByteBuffer(bytes: slice))
        }
    }
}
