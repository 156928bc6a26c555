import CCurl
import Glibc
import Log

/// What all exchanges of one driver have in common.
struct TransferSettings: Sendable {
    /// Nil permits every address.
    let policy: AddressPolicy?
    let bodyBytesMax: Int
    let usesHTTP2: Bool
    /// A file of trusted certificates in place of the system's.
    let certificateAuthorityFile: String?
    /// A socket in the file system to speak to in place of the URL's host.
    let unixSocket: String?
}

/// One exchange over one libcurl easy handle, and what its callbacks have seen.
///
/// A class, because libcurl's callbacks hold its address. The driver's thread owns it: it alone creates it, runs it and
/// lets it go, and it takes it out of the multi handle first, so that no callback can come afterwards.
final class CurlTransfer {
    /// When the exchange began; that of a repeat began with the first try.
    let startedAt: BootTime

    private let easy: EasyHandle
    private let headers: HeaderList
    private let policy: AddressPolicy?
    private let sockets: OpenSockets
    private let atMostOnce: Bool
    private let bodyWait: Duration?
    private let requestBytes: Int
    private let isRepeat: Bool
    /// Whether bytes of the request had left when this repeat began.
    private let leftBefore: Bool
    private let sink: (any BodySink)?
    private var sinkHasEnough = false
    private var capture: ResponseCapture
    /// When the last header of the response had come.
    private var answeredAt: BootTime?
    private var addressesTried = 0
    private var addressesRefused = 0
    /// How many sockets the system did not give.
    private var socketsDenied = 0
    private var hasTriedIPv6 = false
    private var socketsOpened: [CInt] = []
    /// Whether libcurl chose a connection that an earlier exchange had left.
    private var isReused = false
    /// Whether libcurl was about to write the request. While this is false, no byte of it can have left.
    private var requestBegun = false

    var handle: UnsafeMutableRawPointer { easy.pointer }

    /// - Parameter first: the try that this one repeats, on a connection of its own and in what is left of the time.
    init(
        _ request: OutgoingRequest,
        settings: TransferSettings,
        sockets: OpenSockets,
        repeating first: CurlTransfer? = nil
    ) throws(TransferError) {
        easy = try EasyHandle()
        headers = try Self.headerList(request)
        policy = settings.policy
        self.sockets = sockets
        atMostOnce = request.atMostOnce
        bodyWait = request.bodyWait
        requestBytes = request.body.count
        startedAt = first?.startedAt ?? BootTime.now
        isRepeat = first != nil
        leftBefore = first?.requestMayHaveLeft ?? false
        sink = request.sink
        capture = ResponseCapture(bodyBytesMax: settings.bodyBytesMax)
        try setRequest(request)
        try setTrust(settings)
        try setNetwork(settings)
        try setCallbacks()
    }

    /// The transfer that a finished easy handle belongs to. It is still owned by the driver's thread.
    static func owner(of handle: UnsafeMutableRawPointer) -> CurlTransfer? {
        var context: UnsafeMutableRawPointer?
        guard waybill_curl_get_pointer(handle, CURLINFO_PRIVATE, &context) == CURLE_OK else { return nil }
        return transfer(context)
    }
}

// MARK: - Options

extension CurlTransfer {
    private static func headerList(_ request: OutgoingRequest) throws(TransferError) -> HeaderList {
        var list = HeaderList()
        for header in request.headers {
            // To libcurl "Name:" means "leave it out"; an empty value is spelled with a semicolon.
            try list.append(header.value.isEmpty ? "\(header.name);" : "\(header.name): \(header.value)")
        }
        // Without this a longer body would wait for a 100 that many servers never send.
        try list.append("Expect:")
        if !request.headers.contains(where: { $0.name.lowercased() == "content-type" }) {
            // libcurl would claim that the body is a form.
            try list.append("Content-Type:")
        }
        return list
    }

    private func setRequest(_ request: OutgoingRequest) throws(TransferError) {
        try easy.set(CURLOPT_URL, request.url)
        try easy.set(CURLOPT_HTTPHEADER, pointer: headers.head)
        try easy.set(CURLOPT_TIMEOUT_MS, (request.timeout - duration).wholeMilliseconds)
        try easy.set(CURLOPT_CONNECTTIMEOUT_MS, request.connectTimeout.wholeMilliseconds)
        if isRepeat || request.usesFreshConnection { try easy.set(CURLOPT_FRESH_CONNECT, 1) }
        if request.method == "POST" {
            try easy.set(CURLOPT_POST, 1)
            try easy.setBody(request.body)
        } else {
            try easy.set(CURLOPT_HTTPGET, 1)
        }
        if request.sink != nil {
            // A server that trickles must not hold its place for as long as a large file may take.
            try easy.set(CURLOPT_LOW_SPEED_LIMIT, 1024)
            try easy.set(CURLOPT_LOW_SPEED_TIME, 30)
        }
        if request.atMostOnce {
            // Servers close connections that idle, and one that closes just as the request is written leaves the
            // outcome unknown. Common servers wait five seconds or longer. libcurl counts whole ones that have passed.
            try easy.set(CURLOPT_MAXAGE_CONN, 3)
        }
    }

    private func setTrust(_ settings: TransferSettings) throws(TransferError) {
        try easy.set(CURLOPT_SSL_VERIFYPEER, 1)
        try easy.set(CURLOPT_SSL_VERIFYHOST, 2)
        try easy.set(CURLOPT_SSLVERSION, Int(CURL_SSLVERSION_TLSv1_2))
        if let file = settings.certificateAuthorityFile {
            try easy.set(CURLOPT_CAINFO, file)
        }
    }

    private func setNetwork(_ settings: TransferSettings) throws(TransferError) {
        try easy.set(CURLOPT_PROTOCOLS_STR, "http,https")
        if let socket = settings.unixSocket { try easy.set(CURLOPT_UNIX_SOCKET_PATH, socket) }
        let version = settings.usesHTTP2 ? CURL_HTTP_VERSION_2TLS : CURL_HTTP_VERSION_1_1
        try easy.set(CURLOPT_HTTP_VERSION, Int(version))
        try easy.set(CURLOPT_FOLLOWLOCATION, 0)
        // An empty proxy, in contrast to none, keeps libcurl from reading the environment.
        try easy.set(CURLOPT_PROXY, "")
        try easy.set(CURLOPT_NOPROXY, "*")
        try easy.set(CURLOPT_NETRC, Int(CURL_NETRC_IGNORED.rawValue))
        try easy.set(CURLOPT_NOSIGNAL, 1)
        // Names are resolved on threads of libcurl's. Without this, an exchange that ends while its name is still being
        // resolved makes the whole multi handle wait for that thread, and a dead name server would stop all clients.
        try easy.set(CURLOPT_QUICK_EXIT, 1)
    }

    private func setCallbacks() throws(TransferError) {
        let context = UnsafeRawPointer(Unmanaged.passUnretained(self).toOpaque())
        for option in [CURLOPT_PRIVATE, CURLOPT_HEADERDATA, CURLOPT_WRITEDATA, CURLOPT_PREREQDATA] {
            try easy.set(option, pointer: context)
        }
        try easy.set(CURLOPT_OPENSOCKETDATA, pointer: context)
        try CurlLibrary.check(waybill_curl_set_write_callback(handle, CURLOPT_HEADERFUNCTION, receiveHeader))
        try CurlLibrary.check(waybill_curl_set_write_callback(handle, CURLOPT_WRITEFUNCTION, receiveBody))
        try CurlLibrary.check(waybill_curl_set_open_socket(handle, openCheckedSocket))
        try CurlLibrary.check(waybill_curl_set_prereq(handle, beginRequest))
    }
}

// MARK: - Callbacks

extension CurlTransfer {
    /// Whether libcurl may write the request now.
    ///
    /// When a re-used connection dies before any byte of the response, libcurl sends the same request again over another
    /// one, POST or not and without a word (`Curl_retry_request`): the connection may have been closed for idling, but the
    /// server may as well have read the request, sent the customer a message and crashed. HTTP/2 has more such paths. The
    /// other connection may be one that idled too. So libcurl repeats nothing: what is over another kept connection ends
    /// here, what needs a new one in `openSocket`, and `deservesRepeat` says what follows.
    fileprivate func permitsRequest(_ ends: OpenSockets.Ends) -> Bool {
        guard !requestBegun else { return false }
        isReused = addressesTried == 0
        if isReused {
            if sockets.isSpent(ends) { return false }
        } else {
            sockets.note(socketsOpened, ends)
        }
        requestBegun = true
        return true
    }

    /// Opens the socket for one address of the host, if the policy permits that address.
    fileprivate func openSocket(_ target: UnsafeMutablePointer<curl_sockaddr>) -> curl_socket_t {
        let (family, type, protocolNumber) = (target.pointee.family, target.pointee.socktype, target.pointee.protocol)
        // A connection for libcurl's own repeat.
        guard !requestBegun else { return CURL_SOCKET_BAD }
        addressesTried += 1
        guard permits(target) else {
            addressesRefused += 1
            return CURL_SOCKET_BAD
        }
        let opened = socket(family, type | Int32(SOCK_CLOEXEC.rawValue), protocolNumber)
        if family == AF_INET6 { hasTriedIPv6 = true }
        if opened >= 0 { socketsOpened.append(opened) } else if LocalShortage.isOne(errno) { socketsDenied += 1 }
        return opened
    }

    private func permits(_ target: UnsafeMutablePointer<curl_sockaddr>) -> Bool {
        guard let policy else { return true }
        // The address is longer than the field that is declared for it, so it is not copied but pointed at.
        guard let offset = MemoryLayout<curl_sockaddr>.offset(of: \.addr) else { return false }
        let field = UnsafeRawPointer(target).advanced(by: offset).assumingMemoryBound(to: sockaddr.self)
        guard let address = IPAddress(field, length: Int(target.pointee.addrlen)) else { return false }
        return policy.permits(address)
    }

    fileprivate func takeHeader(_ line: UnsafeRawBufferPointer) -> Bool {
        let isMoreWanted = capture.takeHeader(line: line)
        if answeredAt == nil, capture.hasHead { answeredAt = BootTime.now }
        return isMoreWanted
    }

    fileprivate func takeBody(_ bytes: UnsafeRawBufferPointer) -> Bool {
        guard let sink, (200..<300).contains(easy.number(CURLINFO_RESPONSE_CODE)) else {
            return capture.takeBody(bytes)
        }
        sinkHasEnough = !sink.take(bytes)
        return !sinkHasEnough
    }
}

private func transfer(_ context: UnsafeMutableRawPointer?) -> CurlTransfer? {
    context.map { Unmanaged<CurlTransfer>.fromOpaque($0).takeUnretainedValue() }
}

/// Returning less than was offered makes libcurl end the exchange.
private func receiveHeader(
    _ bytes: UnsafeMutablePointer<CChar>?,
    _ size: Int,
    _ count: Int,
    _ context: UnsafeMutableRawPointer?
) -> Int {
    let wanted = transfer(context)?.takeHeader(UnsafeRawBufferPointer(start: bytes, count: size * count)) ?? false
    return wanted ? size * count : 0
}

/// The same.
private func receiveBody(
    _ bytes: UnsafeMutablePointer<CChar>?,
    _ size: Int,
    _ count: Int,
    _ context: UnsafeMutableRawPointer?
) -> Int {
    let wanted = transfer(context)?.takeBody(UnsafeRawBufferPointer(start: bytes, count: size * count)) ?? false
    return wanted ? size * count : 0
}

private func openCheckedSocket(
    _ context: UnsafeMutableRawPointer?,
    _ purpose: curlsocktype,
    _ target: UnsafeMutablePointer<curl_sockaddr>?
) -> curl_socket_t {
    guard let transfer = transfer(context), let target else { return CURL_SOCKET_BAD }
    return transfer.openSocket(target)
}

private func beginRequest(
    _ context: UnsafeMutableRawPointer?,
    _ peer: UnsafeMutablePointer<CChar>?,
    _ local: UnsafeMutablePointer<CChar>?,
    _ peerPort: CInt,
    _ localPort: CInt
) -> CInt {
    let host = peer.map { String(cString: $0) } ?? ""
    let ends = OpenSockets.Ends(local: localPort, peer: peerPort, host: host)
    return transfer(context)?.permitsRequest(ends) == true ? CURL_PREREQFUNC_OK : CURL_PREREQFUNC_ABORT
}

// MARK: - Outcome

extension CurlTransfer {
    /// What came of the exchange, once libcurl is done with it.
    func outcome(_ code: CURLcode) -> Result<OutgoingResponse, TransferError> {
        // What was too long to read to its end is still a response.
        guard code == CURLE_OK || (code == CURLE_WRITE_ERROR && (capture.stoppedReading || sinkHasEnough)) else {
            return ended(failure(code), detail: detail(code))
        }
        // libcurl calls it a response when a connection ends behind the status line.
        guard capture.hasHead else {
            return ended(.connectionLost, detail: "the connection ended inside the headers of the response")
        }
        return .success(response(easy.number(CURLINFO_RESPONSE_CODE), isCut: false))
    }

    /// What came of an exchange that ends like this, now: an error, or the response as far as it came where its status is
    /// enough.
    func ended(_ failure: TransferFailure, detail: String) -> Result<OutgoingResponse, TransferError> {
        let isOurDoing = failure == .timedOut || failure == .shuttingDown
        if bodyWait != nil, capture.hasHead, let status = capture.status, !(isOurDoing && isStillSending) {
            return .success(response(status, isCut: true))
        }
        let left = requestMayHaveLeft
        // What has begun cannot be called back, whoever is to blame.
        let failure = left && failure == .localFailure ? .connectionLost : failure
        return .failure(TransferError(failure, requestBytesSent: left, detail: detail, duration: duration))
    }

    /// Whether the body was waited for as long as it is worth.
    func isAnswered(by now: BootTime) -> Bool {
        guard let bodyWait, let answeredAt, now.since(answeredAt) >= bodyWait else { return false }
        return !isStillSending
    }

    /// Whether the server told of success before it had the whole request: who hangs up then has sent half of it. After any
    /// other status libcurl sends no more by itself.
    private var isStillSending: Bool {
        (200..<300).contains(capture.status ?? 0) && easy.bytesUploaded < requestBytes
    }

    /// Whether an exchange that failed like this should be tried once more, on a fresh connection.
    func deservesRepeat(_ error: TransferError) -> Bool {
        guard error.failure == .connectionLost, isReused, !isRepeat, !capture.hasBegun else { return false }
        return !atMostOnce || !requestMayHaveLeft
    }

    /// False only if no byte of the request can have left. libcurl counts what the system, or a whole record of TLS, took.
    private var requestMayHaveLeft: Bool {
        leftBefore || (requestBegun && easy.number(CURLINFO_REQUEST_SIZE) > 0)
    }

    private func response(_ status: Int, isCut: Bool) -> OutgoingResponse {
        OutgoingResponse(
            status: status,
            headers: capture.headers,
            body: capture.body,
            bodyTruncated: capture.bodyTruncated || isCut,
            duration: duration
        )
    }

    private var duration: Duration { BootTime.now.since(startedAt) }

    private func failure(_ code: CURLcode) -> TransferFailure {
        let failure = Self.failures[code.rawValue] ?? .protocolError
        switch failure {
        case .nameNotResolved, .connectFailed, .tlsFailed, .localFailure:
            // After the request was begun, this was for a second connection. What counts is that the first is gone.
            if requestBegun || leftBefore { return .connectionLost }
            if isForLackHere(failure) { return .localFailure }
            // If any address was permitted, then that one failed, and that says more.
            return addressesRefused > 0 && addressesRefused == addressesTried ? .addressRefused : failure
        default:
            return failure
        }
    }

    /// Whether an exchange that did not begin failed for a lack on this host: no socket for any permitted address, no port to
    /// connect from, or no descriptor for what libcurl opens itself (name resolution, certificates).
    private func isForLackHere(_ failure: TransferFailure) -> Bool {
        if failure == .localFailure { return true }
        if socketsDenied > 0, socketsDenied == addressesTried - addressesRefused { return true }
        // Without IPv6 on this host its addresses are answered by the same number, whatever there is of ports.
        let reason = Int32(truncatingIfNeeded: easy.number(CURLINFO_OS_ERRNO))
        if failure == .connectFailed, reason == EADDRNOTAVAIL, !hasTriedIPv6, addressesTried > 0 { return true }
        return LocalShortage.isNow
    }

    /// libcurl's codes; all others are `.protocolError`.
    private static let failures: [UInt32: TransferFailure] = [
        CURLE_URL_MALFORMAT.rawValue: .invalidURL,
        CURLE_COULDNT_RESOLVE_HOST.rawValue: .nameNotResolved,
        CURLE_COULDNT_CONNECT.rawValue: .connectFailed,
        CURLE_OPERATION_TIMEDOUT.rawValue: .timedOut,
        CURLE_OUT_OF_MEMORY.rawValue: .localFailure,
        CURLE_SSL_CONNECT_ERROR.rawValue: .tlsFailed,
        CURLE_PEER_FAILED_VERIFICATION.rawValue: .tlsFailed,
        CURLE_SSL_CACERT_BADFILE.rawValue: .tlsFailed,
        CURLE_SSL_CERTPROBLEM.rawValue: .tlsFailed,
        CURLE_SSL_CIPHER.rawValue: .tlsFailed,
        CURLE_SSL_ISSUER_ERROR.rawValue: .tlsFailed,
        CURLE_SEND_ERROR.rawValue: .connectionLost,
        CURLE_RECV_ERROR.rawValue: .connectionLost,
        CURLE_GOT_NOTHING.rawValue: .connectionLost,
        CURLE_PARTIAL_FILE.rawValue: .connectionLost,
        CURLE_HTTP2_STREAM.rawValue: .connectionLost,
        // Only `permitsRequest` aborts.
        CURLE_ABORTED_BY_CALLBACK.rawValue: .connectionLost,
    ]

    private func detail(_ code: CURLcode) -> String {
        switch code {
        case CURLE_ABORTED_BY_CALLBACK,
            CURLE_COULDNT_CONNECT where requestBegun:
            return "a re-used connection ended without a response"
        case CURLE_COULDNT_CONNECT where addressesRefused > 0:
            return "\(CurlLibrary.text(code)); addresses refused: \(addressesRefused) of \(addressesTried)"
        case CURLE_COULDNT_CONNECT:
            let reason = Int32(truncatingIfNeeded: easy.number(CURLINFO_OS_ERRNO))
            guard reason != 0, let text = strerror(reason) else { return CurlLibrary.text(code) }
            return "\(CurlLibrary.text(code)): \(String(cString: text))"
        case CURLE_PEER_FAILED_VERIFICATION:
            // The numbers are OpenSSL's X509_V_ERR constants: 10 is expired, 18 self-signed, 20 unknown issuer.
            return "\(CurlLibrary.text(code)) (verify result \(easy.number(CURLINFO_SSL_VERIFYRESULT)))"
        default:
            return CurlLibrary.text(code)
        }
    }
}

extension Duration {
    /// Rounded up and at least 1, since libcurl takes 0 for "no limit"; at most a day, which any C `long` can hold.
    fileprivate var wholeMilliseconds: Int {
        let bounded = Swift.min(Swift.max(self, .milliseconds(1)), .seconds(86_400))
        let (seconds, attoseconds) = bounded.components
        return Int(seconds) * 1000 + Int((attoseconds + 999_999_999_999_999) / 1_000_000_000_000_000)
    }
}
