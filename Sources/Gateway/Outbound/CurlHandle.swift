import CCurl

// Owners of what libcurl hands out: each one frees its own exactly once, when it goes away.

/// One easy handle: the options of one exchange, and afterwards what is known about it.
struct EasyHandle: ~Copyable {
    let pointer: UnsafeMutableRawPointer

    init() throws(TransferError) {
        guard CurlLibrary.isReady, let pointer = curl_easy_init() else { throw CurlLibrary.noMemory }
        self.pointer = pointer
    }

    deinit { curl_easy_cleanup(pointer) }

    func set(_ option: CURLoption, _ value: Int) throws(TransferError) {
        try CurlLibrary.check(waybill_curl_set_long(pointer, option, value))
    }

    /// libcurl keeps a copy of the text.
    func set(_ option: CURLoption, _ value: String) throws(TransferError) {
        try CurlLibrary.check(waybill_curl_set_string(pointer, option, value))
    }

    /// What is pointed to must outlive the handle's use.
    func set(_ option: CURLoption, pointer value: UnsafeRawPointer?) throws(TransferError) {
        try CurlLibrary.check(waybill_curl_set_pointer(pointer, option, value))
    }

    /// libcurl keeps a copy of the bytes.
    func setBody(_ body: [UInt8]) throws(TransferError) {
        try CurlLibrary.check(waybill_curl_set_size(pointer, CURLOPT_POSTFIELDSIZE_LARGE, curl_off_t(body.count)))
        // An empty array may have no address, and without an address libcurl would read a body from standard input.
        guard !body.isEmpty else { return try set(CURLOPT_COPYPOSTFIELDS, "") }
        try CurlLibrary.check(
            body.withUnsafeBytes {
                waybill_curl_set_pointer(pointer, CURLOPT_COPYPOSTFIELDS, $0.baseAddress)
            }
        )
    }

    /// A number about the finished exchange; 0 if libcurl does not know it.
    func number(_ info: CURLINFO) -> Int {
        var value = 0
        return waybill_curl_get_long(pointer, info, &value) == CURLE_OK ? value : 0
    }

    /// How much of the request's body the system took so far.
    var bytesUploaded: Int {
        var value: curl_off_t = 0
        return waybill_curl_get_size(pointer, CURLINFO_SIZE_UPLOAD_T, &value) == CURLE_OK ? Int(value) : 0
    }
}

/// A request's header lines. libcurl reads the list while the exchange runs and never frees it.
struct HeaderList: ~Copyable {
    private(set) var head: UnsafeMutablePointer<curl_slist>?

    deinit { curl_slist_free_all(head) }

    mutating func append(_ line: String) throws(TransferError) {
        guard let longer = curl_slist_append(head, line) else { throw CurlLibrary.noMemory }
        head = longer
    }
}

/// One multi handle: the running exchanges of one thread, their connections and a cache of resolved names.
struct MultiHandle: ~Copyable {
    private let pointer: UnsafeMutableRawPointer

    init(connectionsMax: Int, connectionsPerHostMax: Int) throws(TransferError) {
        guard CurlLibrary.isReady, let pointer = curl_multi_init() else { throw CurlLibrary.noMemory }
        self.pointer = pointer
        // These cannot fail: the options exist and the values are only stored.
        waybill_curl_multi_set_long(pointer, CURLMOPT_PIPELINING, Int(CURLPIPE_MULTIPLEX))
        waybill_curl_multi_set_long(pointer, CURLMOPT_MAX_TOTAL_CONNECTIONS, connectionsMax)
        waybill_curl_multi_set_long(pointer, CURLMOPT_MAX_HOST_CONNECTIONS, connectionsPerHostMax)
        waybill_curl_multi_set_long(pointer, CURLMOPT_MAXCONNECTS, connectionsMax)
    }

    deinit { curl_multi_cleanup(pointer) }

    var waker: Waker { Waker(pointer: pointer) }

    func add(_ transfer: CurlTransfer) -> Bool {
        curl_multi_add_handle(pointer, transfer.handle) == CURLM_OK
    }

    /// Ends the exchange if it still runs. Afterwards libcurl calls back for it no more.
    func remove(_ transfer: CurlTransfer) {
        curl_multi_remove_handle(pointer, transfer.handle)
    }

    /// Does what can be done without waiting. False means trouble with all exchanges, such as want of memory.
    func perform() -> Bool {
        var running: Int32 = 0
        return curl_multi_perform(pointer, &running) == CURLM_OK
    }

    /// Waits until a socket is ready, a timer is due or somebody wakes it.
    func wait(milliseconds: Int32) -> Bool {
        curl_multi_poll(pointer, nil, 0, milliseconds, nil) == CURLM_OK
    }

    func nextFinished() -> (transfer: CurlTransfer, result: Result<OutgoingResponse, TransferError>)? {
        var remaining: Int32 = 0
        while let message = curl_multi_info_read(pointer, &remaining) {
            guard message.pointee.msg == CURLMSG_DONE, let handle = waybill_curl_message_handle(message) else {
                continue
            }
            let code = waybill_curl_message_result(message)
            guard let transfer = CurlTransfer.owner(of: handle) else { continue }
            return (transfer, transfer.outcome(code))
        }
        return nil
    }
}

/// Ends the wait of a multi handle from another thread.
///
/// Unchecked, because it holds a pointer: `curl_multi_wakeup` may be called from any thread as long as the handle
/// exists. `CurlMailbox` guarantees that: it wakes under its lock only, and forgets the waker before the handle goes.
struct Waker: @unchecked Sendable {
    fileprivate let pointer: UnsafeMutableRawPointer

    func wake() {
        curl_multi_wakeup(pointer)
    }
}

/// What concerns libcurl as a whole.
enum CurlLibrary {
    /// Initialises libcurl once, however many threads ask: Swift runs a static's initialiser exactly once.
    static let isReady = curl_global_init(Int(CURL_GLOBAL_DEFAULT)) == CURLE_OK

    static var noMemory: TransferError {
        TransferError(.localFailure, requestBytesSent: false, detail: text(CURLE_OUT_OF_MEMORY))
    }

    /// For calls that prepare a request, so that none of it has left.
    static func check(_ code: CURLcode) throws(TransferError) {
        guard code == CURLE_OK else {
            if code == CURLE_OUT_OF_MEMORY { throw noMemory }
            throw TransferError(.protocolError, requestBytesSent: false, detail: text(code))
        }
    }

    /// libcurl's fixed text for a code. Its error buffer says more, but it quotes host names and URLs.
    static func text(_ code: CURLcode) -> String {
        String(cString: curl_easy_strerror(code))
    }

    /// `host:port` of a URL as libcurl itself understands it, or nil if it is no absolute `http` or `https` URL.
    static func host(ofURL url: String) -> String? { origin(ofURL: url, flags: 0).map { "\($0.host):\($0.port)" } }

    /// The same with the scheme, for a URL that names no user.
    static func origin(ofURL url: String) -> (scheme: String, host: String, port: String)? {
        origin(ofURL: url, flags: CURLU_DISALLOW_USER)
    }

    private static func origin(ofURL url: String, flags: Int32) -> (scheme: String, host: String, port: String)? {
        guard let parsed = curl_url() else { return nil }
        defer { curl_url_cleanup(parsed) }
        guard curl_url_set(parsed, CURLUPART_URL, url, UInt32(flags)) == CURLUE_OK,
            let scheme = part(CURLUPART_SCHEME, of: parsed), ["http", "https"].contains(scheme),
            let host = part(CURLUPART_HOST, of: parsed), let port = part(CURLUPART_PORT, of: parsed)
        else { return nil }
        return (scheme, host.lowercased(), port)
    }

    /// Where a `Location` leads from the URL that gave it (RFC 3986, section 5); nil for nowhere.
    static func resolve(_ location: String, against url: String) -> String? {
        guard let parsed = curl_url() else { return nil }
        defer { curl_url_cleanup(parsed) }
        guard curl_url_set(parsed, CURLUPART_URL, url, 0) == CURLUE_OK,
            curl_url_set(parsed, CURLUPART_URL, location, 0) == CURLUE_OK
        else { return nil }
        return part(CURLUPART_URL, of: parsed, flags: 0)
    }

    private static func part(
        _ part: CURLUPart,
        of url: OpaquePointer,
        flags: Int32 = CURLU_DEFAULT_PORT
    ) -> String? {
        var text: UnsafeMutablePointer<CChar>?
        guard curl_url_get(url, part, &text, UInt32(flags)) == CURLUE_OK, let text else { return nil }
        defer { curl_free(text) }
        return String(cString: text)
    }
}
