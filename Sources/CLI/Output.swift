import Gateway
import Glibc
import Log
import Projections
import Synchronization

/// Standard output and error of the commands.
enum Output {
    static func line(_ text: String) { write(text + "\n", to: STDOUT_FILENO) }
    static func error(_ text: String) {
        guard let log = processLog.withLock({ $0 }) else { return write(text + "\n", to: STDERR_FILENO) }
        log.write(text + "\n")
    }

    /// What `serve` writes its log through: it must come to its end although nobody reads its standard error.
    private static let processLog = Mutex<LineWriter?>(nil)
    private static let leaveWait = Duration.seconds(1)

    /// From here on errors go through `writer`, and leaving waits for it, but not for ever.
    static func log(through writer: LineWriter) { processLog.withLock { $0 = writer } }

    /// Before the process ends.
    static func flushLog() { processLog.withLock { $0 }?.flush(within: leaveWait) }

    /// Writes all of it; a closed pipe ends the program quietly, as other tools do.
    static func write(_ text: String, to descriptor: Int32) {
        var bytes = [UInt8](text.utf8)[...]
        while !bytes.isEmpty {
            let count = bytes.withUnsafeBytes { Glibc.write(descriptor, $0.baseAddress, $0.count) }
            if count < 0, errno == EINTR { continue }
            if count <= 0 { leave(1) }
            bytes = bytes.dropFirst(count)
        }
    }

    static func object(_ body: (inout JSONWriter) -> Void) -> String {
        String(decoding: JSONWriter.object(body), as: UTF8.self)
    }

    static var showsProgress: Bool { isatty(STDERR_FILENO) == 1 }

    static func progress(_ text: String) {
        if showsProgress { write("\r\u{1B}[K" + text, to: STDERR_FILENO) }
    }

    static func leave(_ code: Int32) -> Never {
        flushLog()
        exit(code)
    }

    static func describe(_ error: any Error) -> String {
        switch error {
        case let error as LogError: "\(error.message) [\(error.code.rawValue)]"
        case let error as GatewayError: "\(error.detail) [\(error.code)]"
        case let error as Refusal: "\(error.detail) [\(error.code.rawValue)]"
        default: "\(error)"
        }
    }
}
