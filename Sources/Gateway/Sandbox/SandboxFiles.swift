import HTTPTypes
import Hummingbird
import NIOCore
import Synchronization

/// What the simulated providers keep of customers' files: the newest ones, in memory.
package final class SandboxFiles: Sendable {
    package static let countMax = 32

    private struct Kept: Sendable {
        let path: String
        let file: SandboxFile
    }

    private let kept = Mutex<[Kept]>([])

    package init() {}

    /// - Parameter path: of the sandbox's server, under which the file is served.
    func keep(_ file: SandboxFile, at path: String) {
        let entry = Kept(path: path, file: file)
        kept.withLock { $0 = Array(($0 + [entry]).suffix(SandboxFiles.countMax)) }
    }

    /// Nil for what was never there, and for what newer files have displaced.
    func file(at path: String) -> SandboxFile? {
        let entries = kept.withLock { $0 }
        return entries.last { $0.path == path }?.file
    }
}

extension SandboxFile {
    /// The bytes, as a provider serves them.
    var response: Response {
        Response(
            status: .ok,
            headers: [.contentType: mimeType],
            body: ResponseBody(byteBuffer: ByteBuffer(bytes: content))
        )
    }
}
