import HTTPTypes
import Hummingbird
import Log
import NIOCore
import Projections
import ServiceLifecycle

/// The files of customers' messages, opened chunk by chunk as they leave.
struct MediaRoutes: Sendable {
    /// How long a request waits for a file that is being fetched.
    static let wait = Duration.seconds(10)

    let ledger: Ledger
    let shelf: MediaShelf

    func add(to group: Routes) {
        group.get("media/:media") { try await file($0, $1) }
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
        let found = try await ledger.wait(
            for: .message(message),
            try context.waitingCaller(),
            atMost: MediaRoutes.wait,
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
        case .fetched(let record): return try answer(request, context, message, index, record)
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
        _ context: GatewayContext,
        _ message: LogPosition,
        _ index: Int,
        _ record: LogPosition
    ) throws -> Response {
        guard case .mediaFetched(let event) = try ledger.event(at: record).event else { throw MediaRoutes.unknown }
        let tag = "\"\(Hex.encode(Array(event.digest.bytes.prefix(16))))\""
        if let known = request.headers[.ifNoneMatch], known == "*" || known.contains(tag) {
            return Response(status: .notModified, headers: [.eTag: tag])
        }
        let length = Int(event.bytes)
        let asked = MediaRoutes.range(request, tag: tag, length: length)
        guard let range = asked.range else {
            let problem = GatewayError(.rangeNotSatisfiable, "the file has \(length) bytes", field: "Range")
            var response = Answer.problem(problem, requestID: context.requestID)
            response.headers[.contentRange] = "bytes */\(length)"
            return response
        }
        var headers: HTTPFields = [
            .contentType: try ledger.mediaType(at: record), .cacheControl: "private, no-store",
            .acceptRanges: "bytes", .eTag: tag,
        ]
        headers[.xContentTypeOptions] = "nosniff"
        headers[.contentDisposition] = ContentDisposition.attachment(try shelf.source(message, index)?.filename ?? "")
        if asked.isPartial {
            headers[.contentRange] = "bytes \(range.lowerBound)-\(range.upperBound - 1)/\(length)"
        }
        let status = asked.isPartial ? HTTPResponse.Status.partialContent : .ok
        return Response(status: status, headers: headers, body: try body(context, message, index, range, length))
    }

    /// Only what is got has ranges (RFC 9110, section 14.2), and only of the file that the caller has begun with.
    private static func range(_ request: Request, tag: String, length: Int) -> ByteRange {
        let isOther = HTTPField.Name("If-Range").flatMap { request.headers[$0] }.map { $0 != tag } ?? false
        let asked = request.method == .get && !isOther ? request.headers[.range] : nil
        return ByteRange.parse(asked, length: length)
    }

    /// Reads what shows that the file is whole before the answer begins.
    private func body(
        _ context: GatewayContext,
        _ message: LogPosition,
        _ index: Int,
        _ range: Range<Int>,
        _ length: Int
    ) throws -> ResponseBody {
        let file = try shelf.open(message, index)
        guard try file.bytes() == UInt64(length) else {
            throw GatewayError(.internalError, "the file has not the length that is on record")
        }
        if !range.isEmpty { _ = try file.chunk(range.lowerBound / SealedFileWriter.chunkBytes) }
        let loop = context.channel.eventLoop
        return ResponseBody(contentLength: range.count) { writer in
            try await MediaRoutes.send(file, range, &writer, on: loop)
            try await writer.finish(nil)
        }
    }

    /// Ends the connection when the message is purged meanwhile, the gateway stops, or a chunk is damaged: a short answer is
    /// seen to be one.
    private static func send(
        _ file: OpenMediaFile,
        _ range: Range<Int>,
        _ writer: inout any ResponseBodyWriter,
        on loop: any EventLoop
    ) async throws {
        if range.isEmpty { return }
        let size = SealedFileWriter.chunkBytes
        for number in (range.lowerBound / size)...((range.upperBound - 1) / size) {
            if Task.isShuttingDownGracefully { throw CancellationError() }
            let chunk = try file.chunk(number)
            let offset = number * size
            let wanted = range.clamped(to: offset..<offset + chunk.count)
            try await writer.write(
                ByteBuffer(bytes: chunk[(wanted.lowerBound - offset)..<(wanted.upperBound - offset)])
            )
            // A writer learns from the event loop that the client takes nothing more. A loop that is behind has not said so
            // yet, and the whole file would wait in memory.
            try await loop.submit {}.get()
        }
    }
}
