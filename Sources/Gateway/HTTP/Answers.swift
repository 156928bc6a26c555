import HTTPTypes
import Hummingbird
import Log
import NIOCore
import NIOHTTP1
import Projections

/// Makes the answers of the API, so that headers and shapes are the same everywhere.
enum Answer {
    static let position = HTTPField.Name("Waybill-Position")
    static let minPosition = HTTPField.Name("Waybill-Min-Position")
    static let replayed = HTTPField.Name("Idempotency-Replayed")
    static let requestID = HTTPField.Name("X-Request-Id")

    static func json(
        _ status: HTTPResponse.Status = .ok,
        position: LogPosition? = nil,
        _ body: (inout JSONWriter) -> Void
    ) -> Response {
        json(status, position: position, bytes: JSONWriter.object(body))
    }

    static func json(_ status: HTTPResponse.Status, position: LogPosition? = nil, bytes: [UInt8]) -> Response {
        var headers: HTTPFields = [.contentType: "application/json"]
        if let position, let name = Answer.position { headers[name] = position.description }
        return Response(status: status, headers: headers, body: ResponseBody(byteBuffer: ByteBuffer(bytes: bytes)))
    }

    static func text(_ status: HTTPResponse.Status, _ type: String, _ text: String) -> Response {
        Response(
            status: status,
            headers: [.contentType: type],
            body: ResponseBody(byteBuffer: ByteBuffer(string: text))
        )
    }

    static func empty(position: LogPosition? = nil) -> Response {
        var headers = HTTPFields()
        if let position, let name = Answer.position { headers[name] = position.description }
        return Response(status: .noContent, headers: headers)
    }

    /// RFC 9457 problem details.
    static func problem(_ error: GatewayError, requestID: String) -> Response {
        var headers: HTTPFields = [.contentType: "application/problem+json"]
        if let retryAfter = error.retryAfter { headers[.retryAfter] = String(retryAfter) }
        if error.status == 401 { headers[.wwwAuthenticate] = "Bearer" }
        return Response(
            status: HTTPResponse.Status(code: error.status),
            headers: headers,
            body: ResponseBody(byteBuffer: ByteBuffer(bytes: problemBytes(error, requestID: requestID)))
        )
    }

    /// The body of a problem.
    static func problemBytes(_ error: GatewayError, requestID: String) -> [UInt8] {
        JSONWriter.object { json in
            json.string("type", "https://waybill.dev/problems/\(error.code)")
            json.string("title", error.title)
            json.number("status", error.status)
            json.string("detail", error.detail)
            json.string("code", error.code)
            json.string("request_id", requestID)
            if let field = error.field { json.string("field", field) }
            if let retryAfter = error.retryAfter { json.number("retry_after", retryAfter) }
        }
    }
}

extension HTTPFields {
    /// The announced length of a body in bytes, read without the string that a subscript makes by joining fields.
    var contentLength: Int? { first { $0.name == .contentLength }.flatMap { Int($0.value) } }
}

extension Request {
    /// The whole body, bounded.
    func bytes(limit: Int) async throws -> [UInt8] { [UInt8](buffer: try await buffer(limit: limit)) }

    func buffer(limit: Int) async throws -> ByteBuffer {
        try refuseLonger(than: limit)
        do {
            let bytes = try await body.collect(upTo: limit)
            // Some of the ways in which a body breaks off look like its end.
            guard headers.contentLength.map({ $0 == bytes.readableBytes }) ?? true else { throw Request.cut }
            return bytes
        } catch let error {
            throw Request.unreadable(error, limit: limit)
        }
    }

    /// Whatever is wrong with a body is the caller's doing: nothing else is read while it comes.
    private static func unreadable(_ error: any Error, limit: Int) -> any Error {
        switch error {
        case is GatewayError, is CancellationError: error
        case is NIOTooManyBytesError: tooLarge(limit)
        case HTTPParserError.invalidEOFState: cut
        case is HTTPParserError:
            GatewayError(.invalidRequest, "the body is malformed: its length or one of its chunks")
        default: cut
        }
    }

    /// A body that is announced too long is not begun with.
    func refuseLonger(than limit: Int) throws(GatewayError) {
        if let length = headers.contentLength, length > limit { throw Request.tooLarge(limit) }
    }

    private static func tooLarge(_ limit: Int) -> GatewayError {
        GatewayError(.payloadTooLarge, "the body is larger than \(limit) bytes")
    }

    private static let cut = GatewayError(.invalidRequest, "the body broke off before its end")

    func fields(limit: Int = 256 << 10) async throws -> JSONFields { try JSONFields(try await bytes(limit: limit)) }

    /// As `fields`, where no body at all counts as an empty object.
    func optionalFields() async throws -> JSONFields {
        let bytes = try await bytes(limit: 256 << 10)
        return bytes.isEmpty ? JSONFields(members: [:], path: "") : try JSONFields(bytes)
    }
}
